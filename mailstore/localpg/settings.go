package localpg

import (
	"fmt"
	"strings"
)

// arguments are postgres's. What matters stands here and not in
// postgresql.conf, so that no file and no ALTER SYSTEM can weaken it; an
// operator's files still decide what is not named.
func (c *Cluster) arguments() []string {
	args := []string{"-D", c.data}
	// A list of folders in PostgreSQL's grammar: quoted, for spaces.
	socket := `"` + strings.ReplaceAll(c.socket, `"`, `""`) + `"`
	set := append([]string{"unix_socket_directories=" + socket}, settings(Memory())...)
	if c.install.Major >= 18 {
		// Reads come from the system's cache: handing them to other processes
		// costs more than it saves, and three idle processes.
		set = append(set, "io_method=sync")
	}
	for _, s := range append(set, c.settings...) {
		args = append(args, "-c", s)
	}
	return args
}

// settings are those of a mail server on a machine with that many octets of
// memory.
func settings(memory int64) []string {
	const mib = 1 << 20
	// The system's cache does the rest. Even unused buffers cost: their headers
	// are 4% of them. Measured on 24 GB: with 375 MB, ten 25 MB mails in flight
	// take server and PostgreSQL to 309 MB, with 128 MB to 274, and a mailbox of
	// 100,000 is read no slower.
	buffers := min(max(memory/64, 64*mib), 128*mib) / mib
	cache := max(memory/2, 256*mib) / mib
	return []string{
		"listen_addresses=", "port=5432", "unix_socket_permissions=0700",
		"fsync=on", "full_page_writes=on", "synchronous_commit=on",
		fmt.Sprintf("shared_buffers=%dMB", buffers),
		fmt.Sprintf("effective_cache_size=%dMB", cache),
		"wal_buffers=8MB", "max_connections=100", "work_mem=8MB", "maintenance_work_mem=64MB",
		// Recovery reads at most this much log: it bounds the time to come back.
		"max_wal_size=1GB", "min_wal_size=128MB", "checkpoint_timeout=5min", "wal_compression=off",
		// Short statements on many connections: planning for parallel workers and
		// compiling costs more than it gives.
		"jit=off", "max_parallel_workers_per_gather=0", "random_page_cost=1.1",
		"max_logical_replication_workers=0",
		"timezone=UTC", "log_timezone=UTC", "lc_messages=C", "cluster_name=posthouse",
		// The log goes to ours, by standard error, without statements and their
		// values: they hold mail and secrets.
		"logging_collector=off", "log_destination=stderr", "log_line_prefix=", "log_checkpoints=off",
		"log_min_messages=warning", "log_min_error_statement=panic", "log_error_verbosity=terse",
		"log_statement=none", "log_min_duration_statement=-1",
	}
}
