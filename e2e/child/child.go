// Package child starts programs that do not outlive the test or benchmark that
// started them, even when that is killed.
package child

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a running program.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

// Start starts cmd. On Linux it is sent SIGTERM when this process ends, however
// that comes about; elsewhere it is left behind when this process is killed.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal comes when the thread ends that forked, so
		// that thread lives as long as the child.
		runtime.LockOSThread()
		defer close(p.exited)
		die(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err is that of exec.Cmd.Wait, once the program has ended.
func (p *Process) Err() error {
	<-p.exited
	return p.err
}

// Signal sends a signal; to a program that has ended it does nothing.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Stop sends SIGTERM, after ten seconds SIGKILL, and waits. To end by SIGTERM
// is no error.
func (p *Process) Stop() error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.Signal(syscall.SIGKILL)
	}
	err := p.Err()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	return err
}
