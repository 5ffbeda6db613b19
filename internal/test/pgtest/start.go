package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/mailstore/localpg"
)

// prefix names the folders of clusters, so that the next process can find what
// a killed one left.
const prefix = "posthouse-pgtest-"

// keep runs PostgreSQL ($2…) until standard input ends, then stops it at once
// and removes the folder $1.
const keep = `dir=$1; shift; "$@" & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid; cd /; rm -rf "$dir"`

// settings are PostgreSQL's beside its defaults. synchronous_commit stays on:
// with fsync off it costs little, and commits behave as on a site.
var settings = []string{
	"listen_addresses=", "port=5432", "fsync=off", "full_page_writes=off", "synchronous_commit=on",
	"max_connections=200", "shared_buffers=64MB", "max_wal_size=256MB", "jit=off",
	"timezone=UTC", "log_timezone=UTC", "log_min_messages=warning", "unix_socket_permissions=0700",
}

// held keeps the pipe and the lock of this process's cluster from being
// collected: the cluster lives until the kernel closes them.
var held []*os.File

func start() (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	install, err := programs(ctx)
	if err != nil {
		return nil, err
	}
	account, _, err := localpg.Unprivileged()
	if err != nil {
		return nil, err
	}
	sweep()
	folder, err := makeFolder(account)
	if err != nil {
		return nil, fmt.Errorf("folder for the cluster: %w", err)
	}
	data := filepath.Join(folder, "data")
	if err := initialise(ctx, install, account, data); err != nil {
		os.RemoveAll(folder)
		return nil, err
	}
	if err := launch(install, account, folder, data); err != nil {
		os.RemoveAll(folder)
		return nil, err
	}
	c := &cluster{folder: folder, user: localpg.Superuser}
	return c, c.await(ctx)
}

// programs are those of the bundle, when the tests are built with it (build tag
// bundlepg), else the machine's.
func programs(ctx context.Context) (localpg.Install, error) {
	if !localpg.Bundled() {
		return localpg.System(ctx, 0)
	}
	dir, err := cache()
	if err != nil {
		return localpg.Install{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return localpg.Install{}, err
	}
	// Packages are tested side by side, and one of them unpacks.
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return localpg.Install{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return localpg.Install{}, err
	}
	return localpg.Unpack(dir)
}

// cache is where clusters and programs wait for the next process. That of root
// must be open to the account that runs PostgreSQL.
func cache() (string, error) {
	dir, err := os.UserCacheDir()
	if os.Geteuid() == 0 {
		dir, err = "/var/cache", nil
	}
	return filepath.Join(dir, "posthouse", "pgtest"), err
}

// makeFolder makes the cluster's folder, owned by the account, and locks it for
// the life of this process. Its path is short: a socket's has 107 octets.
func makeFolder(account localpg.Account) (string, error) {
	folder, err := os.MkdirTemp(parents()[0], prefix)
	if err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(folder, "owner"))
	if err != nil {
		return "", err
	}
	held = append(held, lock)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", err
	}
	return folder, os.Chown(folder, account.UID, account.GID)
}

// initialise fills data from the cache of this user, or runs initdb and leaves
// its result there for the next process. Without a cache folder it works too.
func initialise(ctx context.Context, install localpg.Install, account localpg.Account, data string) error {
	args := append(install.InitdbArgs(), "--auth=trust", "--no-sync", "--no-instructions")
	key := sha256.Sum256([]byte(install.Bin + "\n" + install.Version + "\n" + strings.Join(args, "\n")))
	cached := ""
	if dir, err := cache(); err == nil {
		cached = filepath.Join(dir, fmt.Sprintf("pg%s-%s", install.Version, hex.EncodeToString(key[:6])))
		if _, err := os.Stat(filepath.Join(cached, "PG_VERSION")); err == nil {
			return copyTree(cached, data, account)
		}
	}
	cmd := exec.CommandContext(ctx, install.Program("initdb"), append(args, "--pgdata="+data)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.Credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if cached != "" {
		// Another process may be as far; the first rename wins.
		aside := fmt.Sprintf("%s.%d", cached, os.Getpid())
		if err := copyTree(data, aside, localpg.Account{UID: os.Geteuid(), GID: os.Getegid()}); err != nil {
			return fmt.Errorf("fill the cache: %w", err)
		}
		if err := os.Rename(aside, cached); err != nil {
			return os.RemoveAll(aside)
		}
	}
	return nil
}

func launch(install localpg.Install, account localpg.Account, folder, data string) error {
	args := []string{"-c", keep, "posthouse-pgtest", folder, install.Program("postgres"), "-D", data, "-k", folder}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", r, log, log
	// A session of its own: an interrupt at the terminal reaches the tests, and
	// the shell still cleans up after them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: account.Credential()}
	if err := cmd.Start(); err != nil {
		return err
	}
	held = append(held, w)
	return cmd.Process.Release()
}

// await polls until the cluster answers; it has no other way to tell.
func (c *cluster) await(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		conn, err := pgx.Connect(ctx, c.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil || time.Since(began) > 30*time.Second {
			log, _ := os.ReadFile(filepath.Join(c.folder, "log")) // best effort: err tells the rest
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, log)
		}
		<-tick.C
	}
}
