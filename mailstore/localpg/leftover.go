package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is what a postmaster notes in its data folder.
type pidFile struct {
	pid   int
	ready bool // takes connections
}

func readPIDFile(data string) (pidFile, error) {
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	// pid, folder, start, port, socket, address, shared memory, status
	lines := strings.Split(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 0 {
		return pidFile{}, fmt.Errorf("postmaster.pid begins with %q", lines[0])
	}
	return pidFile{pid: pid, ready: len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"}, nil
}

// stopLeftover ends what still works in the data folder of a dead server: its
// postmaster, which got the parent-death signal and may be busy with its last
// checkpoint, or backends that outlived a killed postmaster. We hold the lock, so
// nobody has a right to them. It removes a pid file whose number another program
// has now; PostgreSQL could not tell and would refuse to start.
func (c *Cluster) stopLeftover(ctx context.Context) error {
	began := time.Now()
	asked := syscall.Signal(0)
	for {
		pids := processesIn(c.data, c.account)
		if len(pids) == 0 {
			return c.removeStale()
		}
		// First politely, then without a checkpoint, then (a stopped process) for good.
		signal := syscall.SIGINT
		switch waited := time.Since(began); {
		case waited > cleanStop+quickStop+quickStop:
			return fmt.Errorf("PostgreSQL of an earlier run (pid %d) does not end", pids[0])
		case waited > cleanStop+quickStop:
			signal = syscall.SIGKILL
		case waited > cleanStop:
			signal = syscall.SIGQUIT
		}
		if f, err := readPIDFile(c.data); err != nil || !slices.Contains(pids, f.pid) {
			signal = syscall.SIGKILL // backends without a postmaster serve nobody
		}
		if signal != asked {
			asked = signal
			c.log.WarnContext(ctx, "ending PostgreSQL of an earlier run", "event", "postgres_leftover", "pid", pids[0], "signal", signal.String())
			c.signal(pids, signal)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for PostgreSQL of an earlier run (pid %d): %w", pids[0], ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// signal goes to the postmaster, which tells its children; to all of them when
// it is gone or would not listen.
func (c *Cluster) signal(pids []int, signal syscall.Signal) {
	if f, err := readPIDFile(c.data); err == nil && signal != syscall.SIGKILL && slices.Contains(pids, f.pid) {
		pids = []int{f.pid}
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			c.log.Warn("signal PostgreSQL of an earlier run", "event", "postgres_leftover", "pid", pid, "error", err)
		}
	}
}

// removeStale removes the lock files of PostgreSQL. Nothing works in the data
// folder any more.
func (c *Cluster) removeStale() error {
	for _, path := range []string{
		filepath.Join(c.data, "postmaster.pid"),
		filepath.Join(c.socket, socketName+".lock"),
		filepath.Join(c.socket, socketName),
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a stale file: %w", err)
		}
	}
	return nil
}
