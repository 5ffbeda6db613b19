package localpg

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// cleanStop is how long PostgreSQL has for its checkpoint when it stops.
	cleanStop = 30 * time.Second
	// quickStop is how long it has after SIGQUIT; it gives its children 5 s.
	quickStop = 15 * time.Second
	// stable is how long a PostgreSQL must have run for its end to be bad luck
	// and not a fault that comes again.
	stable = time.Second
	// Pauses before a start after a fault, doubling.
	firstPause, lastPause = 50 * time.Millisecond, 2 * time.Second
)

// errStopped says that Stop came while PostgreSQL was starting.
var errStopped = errors.New("stopped while starting")

// process is one life of the postmaster.
type process struct {
	cmd    *exec.Cmd
	exited chan error // gets what Wait says, once
	tail   *tail      // last lines of its log
	born   time.Time
}

// supervise runs PostgreSQL until Stop. The first start reports to ready, and
// its failure ends everything; later ones are tried for ever: a full disk, for
// example, passes.
//
// The goroutine keeps its thread for life. The kernel sends the parent-death
// signal when the thread that forked ends, not the process.
func (c *Cluster) supervise(ctx context.Context, ready chan<- error) {
	runtime.LockOSThread()
	defer close(c.done)
	defer c.lock.release()
	defer c.removeSocketFolder()

	p, err := c.start(ctx)
	ready <- err
	if err != nil {
		return
	}
	pause := time.Duration(0)
	for {
		if p != nil {
			select {
			case <-c.stop:
				c.end(p)
				return
			case err := <-p.exited:
				c.pid.Store(0)
				c.log.Error("PostgreSQL ended by itself", "event", "postgres_died", "pid", p.cmd.Process.Pid, "error", died(err, p.tail))
				if time.Since(p.born) > stable {
					pause = 0
				}
			}
		}
		if !c.sleep(pause) {
			return
		}
		pause = min(max(2*pause, firstPause), lastPause)
		if p, err = c.restart(); errors.Is(err, errStopped) {
			return
		} else if err != nil {
			c.log.Error("PostgreSQL does not start", "event", "postgres_died", "error", err, "retry", pause)
		}
	}
}

// sleep waits, unless Stop comes first.
func (c *Cluster) sleep(d time.Duration) bool {
	select {
	case <-c.stop:
		return false
	case <-time.After(d):
		return true
	}
}

func (c *Cluster) restart() (*process, error) {
	ctx := context.Background()
	// A backend may outlive a killed postmaster by some moments, and a new
	// postmaster refuses to start beside it.
	if err := c.stopLeftover(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	c.restarts.Add(1)
	c.log.Warn("PostgreSQL started again", "event", "postgres_restart", "pid", p.cmd.Process.Pid, "duration", time.Since(began).Round(time.Millisecond))
	return p, nil
}

// start forks a postmaster and waits until it takes connections. It must be
// called from the supervisor's thread.
func (c *Cluster) start(ctx context.Context) (*process, error) {
	p := &process{exited: make(chan error, 1), tail: &tail{log: c.log}, born: time.Now()}
	p.cmd = exec.Command(c.install.Program("postgres"), c.arguments()...)
	p.cmd.Dir = c.data
	p.cmd.Env = append(environment(), "TZ=UTC")
	p.cmd.Stdout, p.cmd.Stderr = p.tail, p.tail
	// Orphaned backends hold the pipe of the log longer than the postmaster lives.
	p.cmd.WaitDelay = 200 * time.Millisecond
	p.cmd.SysProcAttr = childAttributes(c.account.Credential())
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	go func() { p.exited <- p.cmd.Wait() }()

	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	slow := time.NewTimer(5 * time.Second)
	defer slow.Stop()
	for {
		select {
		case err := <-p.exited:
			return nil, fmt.Errorf("start PostgreSQL: %w", died(err, p.tail))
		case <-c.stop:
			c.end(p)
			return nil, errStopped
		case <-ctx.Done():
			c.end(p)
			return nil, fmt.Errorf("start PostgreSQL: %w", ctx.Err())
		case <-slow.C:
			c.log.Info("PostgreSQL is still starting; it recovers after a crash", "event", "postgres_recovery", "pid", p.cmd.Process.Pid)
		case <-tick.C:
			if f, err := readPIDFile(c.data); err == nil && f.pid == p.cmd.Process.Pid && f.ready {
				c.pid.Store(int64(f.pid))
				return p, nil
			}
		}
	}
}

// end stops a postmaster and waits until it is gone.
func (c *Cluster) end(p *process) {
	defer c.pid.Store(0)
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
		hurry  <-chan struct{}
	}{
		{syscall.SIGINT, cleanStop, c.hurry},
		{syscall.SIGQUIT, quickStop, nil},
		{syscall.SIGKILL, quickStop, nil},
	} {
		if err := p.cmd.Process.Signal(step.signal); err != nil {
			c.log.Debug("signal PostgreSQL", "event", "postgres_stop", "signal", step.signal.String(), "error", err)
		}
		select {
		case <-p.exited:
			return
		case <-step.hurry:
		case <-time.After(step.wait):
		}
		c.log.Warn("PostgreSQL does not stop", "event", "postgres_stop", "pid", p.cmd.Process.Pid, "signal", step.signal.String())
	}
}

// died makes an error of the end of a postmaster: its own last words tell most.
func died(err error, t *tail) error {
	if err == nil {
		err = errors.New("exit status 0")
	}
	text := t.String()
	if text == "" {
		return err
	}
	if t.diskFull() {
		return fmt.Errorf("%w: %w\n%s", syscall.ENOSPC, err, text)
	}
	return fmt.Errorf("%w\n%s", err, text)
}
