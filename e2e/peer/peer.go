// Package peer runs other people's mail servers on loopback, with a
// configuration and a queue of their own: Debian's Postfix, and its Exim, which
// scripts/need unpacks beside it.
package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"posthouse/e2e/child"
	"posthouse/internal/test/nexthop"
)

// ErrMissing says that a server is not installed or cannot be run by us; the
// text says what is missing.
var ErrMissing = errors.New("not to be had")

// Options of a server.
type Options struct {
	Folder   string            // empty; others must be able to enter it
	Listen   string            // address and port
	Hostname string            // in its banner, EHLO and Received fields
	Routes   map[string]string // "host:port" by recipient domain, "" for all others; the next hop's MX are not asked for
	Cert     *tls.Certificate  // nil: STARTTLS is not offered
	Trust    []byte            // authorities, PEM; with them TLS to the next hop is verified, or nothing is sent
	Settings []string          // more lines of the main configuration
}

// Server is a running one.
type Server struct {
	Address string
	folder  string
	log     string
	process *child.Process
}

// PID is that of its first process.
func (s *Server) PID() int { return s.process.PID() }

// Log is what it has logged.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop ends it.
func (s *Server) Stop() error { return s.process.Stop() }

// ready waits until the server listens.
func (s *Server) ready() error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", s.Address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.process.Exited():
			return fmt.Errorf("it ended: %w\n%s", s.process.Err(), s.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("nothing listens on %s: %w\n%s", s.Address, err, s.Log()), s.Stop())
		}
	}
}

// write makes the files of a server, by name, with the folders they lie in.
func (o *Options) write(files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(o.Folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// certificates are the files of Cert and Trust. Exim reads them as its own user,
// so the key may be read by all.
func (o *Options) certificates() map[string]string {
	files := make(map[string]string)
	if o.Cert != nil {
		chain, key := nexthop.PEM(*o.Cert)
		files["cert.pem"], files["key.pem"] = string(chain), string(key)
	}
	if o.Trust != nil {
		files["trust.pem"] = string(o.Trust)
	}
	return files
}
