// Package harm does to a running server what the world does to servers, under
// load, and reports from a ledger what became of the mail.
//
// What it shows: a killed server, and a Postgres stopped without a chance to
// write, lose nothing that was accepted and double nothing whose reply was
// lost. What it cannot show: that fsync reaches the disk, because the kernel's
// cache survives a killed process. A kill of the server alone can never lose a
// commit either, for Postgres holds it; so Control makes commits lossy, and
// proves that the ledger sees loss where there is some.
package harm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/e2e/ledger"
	"posthouse/e2e/node"
	"posthouse/mailstore"
)

// Connections is how many clients send at once.
const Connections = 8

// floor is how many messages must be accepted between two strikes: a harness
// that did no work proves nothing.
const floor = 20

// Options of an experiment.
type Options struct {
	Binary string
	Folder string        // empty, for data and logs
	For    time.Duration // strikes go on for as long
	Rounds int           // and until there were so many
}

// Result of an experiment.
type Result struct {
	Rounds int
	ledger.Report
}

func (r Result) String() string { return fmt.Sprintf("%d rounds: %s", r.Rounds, r.Report) }

// experiment is one server under load.
type experiment struct {
	Options
	node    *node.Node
	address atomic.Value // string: of the SMTP listener now
	ledger  *ledger.Ledger
	load    *ledger.Load
	args    []string
}

func begin(o Options, args ...string) (*experiment, error) {
	x := &experiment{Options: o, ledger: ledger.New(), args: append([]string{"--data", filepath.Join(o.Folder, "data")}, args...)}
	if err := x.start(); err != nil {
		return nil, err
	}
	return x, nil
}

// start starts the server, again.
func (x *experiment) start() error {
	n, err := node.Start(x.Binary, x.Folder, nil, x.args...)
	if err != nil {
		return err
	}
	x.node = n
	x.address.Store(n.Listen["smtp"])
	return nil
}

// fire begins the load.
func (x *experiment) fire(ctx context.Context, name string) {
	x.load = &ledger.Load{
		Ledger: x.ledger, Name: name, Connections: Connections,
		Address:    func() string { return x.address.Load().(string) },
		Recipients: []string{"alice@localhost", "bob@localhost"},
	}
	x.load.Start(ctx)
}

// rounds strikes again and again, each time after some work was done and then
// at a random moment.
func (x *experiment) rounds(ctx context.Context, strike func() error) (int, error) {
	end := time.Now().Add(x.For)
	n := 0
	for n < x.Rounds || time.Now().Before(end) {
		if err := x.work(ctx, floor); err != nil {
			return n, err
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
		}
		if err := strike(); err != nil {
			return n, err
		}
		n++
	}
	return n, x.work(ctx, floor)
}

// work waits until n more messages were accepted.
func (x *experiment) work(ctx context.Context, n int) error {
	return x.until(ctx, "accepted", x.ledger.Count, n)
}

// refused waits until n more attempts were refused.
func (x *experiment) refused(ctx context.Context, n int) error {
	return x.until(ctx, "refused", x.ledger.Refusals, n)
}

func (x *experiment) until(ctx context.Context, what string, count func() int, n int) error {
	target := count() + n
	deadline := time.Now().Add(node.Patience)
	for count() < target {
		if time.Now().After(deadline) {
			return fmt.Errorf("no %d messages were %s within %s\n%s", n, what, node.Patience, x.node.Log())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-x.node.Exited():
			return fmt.Errorf("the server ended by itself\n%s", x.node.Log())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// end lets the clients finish, compares, checks the store's invariants and
// stops the server.
func (x *experiment) end(ctx context.Context, rounds int, invariants bool) (Result, error) {
	x.load.Finish()
	found := x.ledger.Compare()
	for _, l := range x.node.Accounts {
		if err := found.Read(x.node.Listen["imap"], l.Address, l.Password); err != nil {
			return Result{}, fmt.Errorf("%w\n%s", err, x.node.Log())
		}
	}
	result := Result{rounds, found.Report()}
	if invariants {
		pool, err := pgxpool.New(ctx, x.node.Database)
		if err != nil {
			return result, err
		}
		defer pool.Close()
		if err := mailstore.CheckInvariants(ctx, pool); err != nil {
			return result, fmt.Errorf("invariants after the experiment: %w", err)
		}
	}
	return result, x.node.Stop()
}

// KillServer ends the server with SIGKILL, again and again, and starts it anew
// (TRUST.md row 22).
func KillServer(ctx context.Context, o Options) (Result, error) {
	x, err := begin(o)
	if err != nil {
		return Result{}, err
	}
	defer func() { x.node.Kill() }()
	x.fire(ctx, "kill")
	n, err := x.rounds(ctx, func() error {
		x.node.Kill()
		return x.start()
	})
	if err != nil {
		return Result{}, err
	}
	return x.end(ctx, n, true)
}

// StopPostgres stops the private Postgres in immediate mode, again and again;
// the server starts it anew by itself (row 23).
func StopPostgres(ctx context.Context, o Options) (Result, error) {
	x, err := begin(o)
	if err != nil {
		return Result{}, err
	}
	defer func() { x.node.Kill() }()
	x.fire(ctx, "stop")
	n, err := x.rounds(ctx, x.stopPostgres)
	if err != nil {
		return Result{}, err
	}
	return x.end(ctx, n, true)
}

// Control is StopPostgres on a database that reports commits before they are
// written: it must lose some.
func Control(ctx context.Context, o Options) (Result, error) {
	file := filepath.Join(o.Folder, "unsafe.toml")
	if err := os.WriteFile(file, []byte("unsafe_database = true\n"), 0o644); err != nil {
		return Result{}, err
	}
	x, err := begin(o, "--config", file)
	if err != nil {
		return Result{}, err
	}
	defer func() { x.node.Kill() }()
	if err := makeUnsafe(ctx, x.node.Database); err != nil {
		return Result{}, fmt.Errorf("switch synchronous_commit off: %w", err)
	}
	if err := x.node.Stop(); err != nil {
		return Result{}, err
	}
	if err := x.start(); err != nil {
		return Result{}, err
	}
	x.fire(ctx, "control")
	n, err := x.rounds(ctx, func() error { return x.loseLog(ctx) })
	if err != nil {
		return Result{}, err
	}
	return x.end(ctx, n, false)
}

// makeUnsafe lets commits return before their log is written.
func makeUnsafe(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	name := pgx.Identifier{conn.Config().Database}.Sanitize()
	for _, sql := range []string{
		"ALTER DATABASE " + name + " SET synchronous_commit = off",
		// What writes pages writes the log first.
		"ALTER SYSTEM SET bgwriter_lru_maxpages = 0",
		"ALTER SYSTEM SET autovacuum = off",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// stopPostgres sends SIGQUIT to the server's Postgres, whichever it is by now.
func (x *experiment) stopPostgres() error {
	// The first is the postmaster: the tree is listed from its root.
	pid, err := x.find("postgres")
	if err != nil {
		return err
	}
	return signal(pid, syscall.SIGQUIT)
}

// loseLog is stopPostgres with the process held that writes the log behind
// commits which do not wait for it: what was accepted meanwhile is nowhere but
// in memory, as after a cut of power.
func (x *experiment) loseLog(ctx context.Context) error {
	writer, err := x.find("walwriter")
	if err != nil {
		return err
	}
	if err := signal(writer, syscall.SIGSTOP); err != nil {
		return err
	}
	worked := x.work(ctx, floor)
	err = x.stopPostgres()
	return errors.Join(worked, err, signal(writer, syscall.SIGKILL)) // it shall not write any more
}

// find gives the first process of the server's with a word in its command line.
func (x *experiment) find(word string) (int, error) {
	for _, pid := range x.node.Tree()[1:] {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), word) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("the server has no process %s", word)
}

// signal sends a signal to a process that may have ended.
func signal(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
