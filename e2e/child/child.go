// Package child starts programs that do not outlive the test or benchmark that
// started them, even when that is killed.
package child

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// Process is a running program.
type Process struct {
	cmd     *exec.Cmd
	watcher *exec.Cmd
	leash   io.Closer
	exited  chan struct{}
	err     error
}

// Start starts cmd. It is sent SIGTERM when this process ends, however that
// comes about.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.watch(); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	go func() {
		p.err = cmd.Wait()
		// Its number may be somebody else's soon: first the watcher goes.
		p.watcher.Process.Kill()
		p.watcher.Wait()
		p.leash.Close()
		close(p.exited)
	}()
	return p, nil
}

// watch has a shell hold the other end of a pipe, which the kernel closes when
// we end. A parent-death signal would not do: it is forgotten when a program
// gives up root.
func (p *Process) watch() (err error) {
	p.watcher = exec.Command("/bin/sh", "-c", fmt.Sprintf("read -r end; kill -TERM %d", p.cmd.Process.Pid))
	p.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is not for it
	if p.leash, err = p.watcher.StdinPipe(); err != nil {
		return err
	}
	return p.watcher.Start()
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
