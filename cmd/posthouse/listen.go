package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"posthouse/internal/config"
)

// portTries is how many ports are tried when a default port is taken.
const portTries = 100

// listener is an address that is bound.
type listener struct {
	net.Listener
	name string
}

// address is where clients find it, as the ready line shows it.
func (l listener) address() string { return l.Addr().String() }

// bind opens every listener, or none. In local mode a default port that is
// taken moves to the next free one; one that was asked for does not.
func bind(c *config.Config, asked func(name, addr string) bool) ([]listener, error) {
	var bound []listener
	for _, name := range config.ListenerNames {
		addr, ok := c.Listen[name]
		if !ok {
			continue
		}
		tries := 1
		if c.Local && !asked(name, addr) {
			tries = portTries
		}
		ln, err := listen(addr, tries)
		if err != nil {
			closeAll(bound)
			return nil, fail(exitBind, "cannot listen on %s for %s: %w", addr, name, bindAdvice(name, err))
		}
		bound = append(bound, listener{ln, name})
	}
	return bound, nil
}

func listen(addr string, tries int) (net.Listener, error) {
	if filepath.IsAbs(addr) {
		return listenUnix(addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	var busy error
	for p := n; p < n+tries && p <= 65535; p++ {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err == nil {
			return ln, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		busy = err
	}
	return nil, busy
}

// listenUnix binds a socket in the file system. One that a crash left behind is
// removed; one that somebody answers on is not. Who may enter its folder may
// use it.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

func bindAdvice(name string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program has it; stop that one, or set another address (--listen %s=ADDR, or [listen] in the configuration)", name)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need root or CAP_NET_BIND_SERVICE", err)
	}
	return err
}

func closeAll(bound []listener) {
	for _, l := range bound {
		l.Close()
	}
}
