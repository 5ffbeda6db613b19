package localpg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgreSQL comes back by itself, quickly, each time, with what was committed.
func TestPostgresKilled(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"kill": syscall.SIGKILL, "immediate": syscall.SIGQUIT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := run(t, filepath.Join(open(t), "data"))
			for round := 1; round <= 3; round++ {
				remember(t, c)
				pid := c.PID()
				if err := syscall.Kill(pid, signal); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				until(t, "another postmaster", func() bool { p := c.PID(); return p != 0 && p != pid })
				t.Logf("down for %v", time.Since(began).Round(time.Millisecond))
				if n := recall(t, c); n != strconv.Itoa(round) {
					t.Errorf("round %d: %s rows", round, n)
				}
				if c.Restarts() != round {
					t.Errorf("Restarts = %d in round %d", c.Restarts(), round)
				}
			}
			select {
			case <-c.Done():
				t.Error("Done while the cluster runs")
			default:
			}
		})
	}
}

// A backend that is busy does not notice that its postmaster was killed, and a
// new postmaster would not start beside it.
func TestBusyBackendOutlivesPostmaster(t *testing.T) {
	c := run(t, filepath.Join(open(t), "data"))
	remember(t, c)
	ctx := testContext(t)
	conn, err := pgx.Connect(ctx, c.URL())
	if err != nil {
		t.Fatal(err)
	}
	backend := int(conn.PgConn().PID())
	busy := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b")
		busy <- errors.Join(err, conn.Close(ctx))
	}()
	until(t, "the backend to be busy", func() bool {
		state, err := query(c.URL(), "SELECT state FROM pg_stat_activity WHERE pid = "+strconv.Itoa(backend))
		return err == nil && state == "active"
	})
	pid := c.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "another postmaster", func() bool { p := c.PID(); return p != 0 && p != pid })
	if err := <-busy; err == nil {
		t.Error("the statement came to its end")
	}
	// Its number may still be taken: init has to collect it.
	if slices.Contains(processesIn(c.data, c.account), backend) {
		t.Error("the backend is still there")
	}
	if n := recall(t, c); n != "1" {
		t.Errorf("%s rows, want 1", n)
	}
}

// A fault that stays makes pauses, not a storm; Stop ends them.
func TestStopWhileItCannotStart(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	control := filepath.Join(home, "postgres", "global", "pg_control")
	if err := os.Rename(control, control+".away"); err != nil {
		t.Fatal(err)
	}
	pid := c.PID()
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	until(t, "PostgreSQL to be down", func() bool { return !alive(pid) && c.PID() == 0 })
	stop(t, c)
	if c.Restarts() != 0 {
		t.Errorf("Restarts = %d", c.Restarts())
	}
	if err := os.Rename(control+".away", control); err != nil {
		t.Fatal(err)
	}
	remember(t, run(t, home))
}

// The server is killed with -9; the next start finds PostgreSQL still at work,
// or just gone, and takes over.
func TestServerKilled(t *testing.T) {
	home := filepath.Join(open(t), "data")
	for round := 1; round <= 3; round++ {
		cmd, _ := server(t, home)
		url, pid, ok := Running(home)
		if !ok || pid != cmd.Process.Pid {
			t.Fatalf("Running = %d, %v", pid, ok)
		}
		if _, err := query(url, "SELECT 'up'"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c := run(t, home)
		t.Logf("taken over in %v", time.Since(began).Round(time.Millisecond))
		remember(t, c)
		if n := recall(t, c); n != strconv.Itoa(round) {
			t.Errorf("round %d: %s rows", round, n)
		}
		stop(t, c)
	}
}

// Without any next start, PostgreSQL does not outlive the server.
func TestPostgresDiesWithServer(t *testing.T) {
	home := filepath.Join(open(t), "data")
	cmd, postmaster := server(t, home)
	working := func() bool {
		return slices.Contains(processesIn(filepath.Join(home, "postgres"), Account{UID: os.Getuid()}), postmaster)
	}
	if !working() {
		t.Fatal("no PostgreSQL")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "PostgreSQL to end", func() bool { return !working() })
}

// A postmaster that nobody told to stop, as after a crash on a system without
// a parent-death signal.
func TestLeftoverPostmaster(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	remember(t, c)
	stop(t, c)

	orphan := exec.Command(c.install.Program("postgres"), c.arguments()...)
	orphan.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.account.Credential()}
	orphan.Dir = "/"
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	until(t, "the orphan to be ready", func() bool {
		f, err := readPIDFile(c.data)
		return err == nil && f.ready
	})
	c = run(t, home)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the orphan still runs")
	}
	if n := recall(t, c); n != "1" {
		t.Errorf("%s rows, want 1", n)
	}
}

// The number in a stale pid file belongs to somebody else now.
func TestStalePIDFile(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	pid := c.PID()
	content, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, c)
	other := exec.Command("sleep", "60")
	// Of the same user, so that PostgreSQL itself would refuse.
	other.SysProcAttr = &syscall.SysProcAttr{Credential: c.account.Credential()}
	other.Dir = "/"
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	stale := strconv.Itoa(other.Process.Pid) + string(content[len(strconv.Itoa(pid)):])
	if err := os.WriteFile(filepath.Join(c.data, "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.account.own(filepath.Join(c.data, "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	remember(t, run(t, home))
	if !alive(other.Process.Pid) {
		t.Error("an innocent process was killed")
	}
}

// A deadline on Stop cuts the checkpoint short and loses nothing.
func TestStopInAHurry(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	remember(t, c)
	// A process that is stopped cannot answer SIGINT; SIGQUIT neither, until it goes on.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	if n := recall(t, run(t, home)); n != "1" {
		t.Errorf("%s rows, want 1", n)
	}
}
