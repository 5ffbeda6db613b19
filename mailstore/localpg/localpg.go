// Package localpg runs the private PostgreSQL of a site that brings no database
// of its own: bundled in the binary (build tag bundlepg), or the one installed
// on the machine.
//
// Below the data folder DATA it keeps
//
//	postgres/            the cluster; made aside as postgres.init/, then renamed
//	postgres-15/         one that Migrate has replaced; postgres.migrate/ and postgres.next/ while it works
//	postgres.lock        locked while a server or a command runs the cluster
//	run/                 the socket; a path too long for one moves to a runtime folder
//	postgresql-VERSION/  the programs, unpacked from the binary
//
// A cluster listens on a Unix socket in a 0700 folder, never on TCP, and knows
// its users by the kernel's word (peer). fsync, full_page_writes and
// synchronous_commit are on whatever its files say. PostgreSQL is a child of
// this process and dies with it; when PostgreSQL dies alone it is started again
// at once, with pauses growing to 2 s while it dies again and again. Data is never deleted.
package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Options say which cluster to run, and how.
type Options struct {
	Data string // data folder of the site; made when missing
	Log  *slog.Logger
	// Settings are further settings of PostgreSQL, "name=value". They win over
	// Posthouse's, durability included: CheckDurability sees what came of them.
	Settings []string

	install *Install // tests choose the programs
}

// Cluster is a running private PostgreSQL. Stop it when done.
type Cluster struct {
	log      *slog.Logger
	install  Install
	account  Account
	home     string // DATA
	data     string // DATA/postgres
	socket   string // folder
	settings []string
	lock     *lock

	pid      atomic.Int64
	restarts atomic.Int64

	stopOnce, hurryOnce sync.Once
	stop, hurry         chan struct{} // closed to stop; to stop without a checkpoint
	done                chan struct{} // closed when the supervisor has ended
}

// Start runs the cluster in o.Data, making it first if need be, and returns
// when it accepts connections; a recovery after a crash may take its time, which
// only ctx bounds. After that ctx has no meaning for the cluster.
//
// Errors to match: *InUseError, *PathError, *VersionError, ErrNotInstalled,
// ErrNoAccount, and syscall.ENOSPC when the disk is full.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{
		log: o.Log, settings: o.Settings,
		stop: make(chan struct{}), hurry: make(chan struct{}), done: make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.settle(o.Data); err != nil {
		return nil, err
	}
	var err error
	if c.lock, err = takeLock(ctx, c.home, c.account, c.URL()); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx, o.install); err != nil {
		c.removeSocketFolder()
		c.lock.release()
		return nil, err
	}
	ready := make(chan error, 1)
	go c.supervise(ctx, ready)
	if err := <-ready; err != nil {
		<-c.done
		return nil, err
	}
	return c, nil
}

// settle fixes the folders and the account, and makes the folders.
func (c *Cluster) settle(home string) error {
	if home == "" {
		return errors.New("no data folder given")
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	account, _, err := Unprivileged()
	if err != nil {
		return err
	}
	if err := makeFolder(home, account); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	// The postmaster knows its folder by its real name, and so do we.
	if c.home, err = filepath.EvalSymlinks(home); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	c.data = clusterFolder(c.home)
	// Files that exist keep their owner: the account may have been made since.
	if c.account, err = ownerOf(c.data, account); err != nil {
		return err
	}
	for _, dir := range []string{c.home, filepath.Dir(c.data)} {
		if err := reachable(dir, c.account); err != nil {
			return err
		}
	}
	c.socket, err = socketFolder(c.home, c.account)
	return err
}

// prepare leaves everything ready for postgres to start. It holds the lock.
func (c *Cluster) prepare(ctx context.Context, install *Install) error {
	if err := finishMigration(c.data); err != nil {
		return err
	}
	major, err := dataVersion(c.data)
	if err != nil {
		return err
	}
	if install == nil {
		i, err := choose(ctx, c.home, major)
		if err != nil {
			return err
		}
		install = &i
	}
	c.install = *install
	if err := reachable(c.install.Bin, c.account); err != nil {
		return err
	}
	if err := c.stopLeftover(ctx); err != nil {
		return err
	}
	if major == 0 {
		if err := c.initialise(ctx); err != nil {
			return err
		}
	} else if major != c.install.Major {
		return &VersionError{Data: c.data, Have: major, Programs: c.install}
	}
	return c.writeAuth()
}

// URL is the address of the database, the same over restarts of PostgreSQL and
// for as long as the data folder keeps its place.
func (c *Cluster) URL() string {
	// A "+" stays one in this kind of address, so a space must not become one.
	host := strings.ReplaceAll(url.QueryEscape(c.socket), "+", "%20")
	// initdb's own database serves: the cluster has no other purpose.
	// The port is part of the socket's name, and PGPORT must not change it.
	return "postgres:///postgres?host=" + host + "&port=5432&user=" + Superuser
}

// PID is the process number of the postmaster, 0 while it is down.
func (c *Cluster) PID() int { return int(c.pid.Load()) }

// Restarts counts how often PostgreSQL was started again after it had ended
// by itself.
func (c *Cluster) Restarts() int { return int(c.restarts.Load()) }

// Install is the PostgreSQL that runs.
func (c *Cluster) Install() Install { return c.install }

// Account is the system user that owns the data. A server started as root
// should go on as this user.
func (c *Cluster) Account() Account { return c.account }

// Done is closed when the cluster has stopped for good, which only Stop causes:
// until then a PostgreSQL that ended is started again.
func (c *Cluster) Done() <-chan struct{} { return c.done }

// Stop ends PostgreSQL cleanly (SIGINT: sessions are cut, a checkpoint is
// written), after 30 s or when ctx ends at once (SIGQUIT: the next start
// recovers from the log). Either way nothing committed is lost. It returns when
// PostgreSQL is gone.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stopOnce.Do(func() { close(c.stop) })
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.hurryOnce.Do(func() { close(c.hurry) })
	<-c.done
	return fmt.Errorf("stop PostgreSQL: %w: stopped without a checkpoint", ctx.Err())
}

// makeFolder makes a private folder; parents belong to the account too when
// they have to be made.
func makeFolder(dir string, account Account) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeFolder(parent, account); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return account.own(dir)
}
