// Package node builds the real posthouse program and runs it, for the
// end-to-end tests and for the crash harness.
package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"posthouse/e2e/child"
)

// Patience bounds every step of a node's life. It is long: on a loaded machine
// a slow start is no failure, and figures are taken elsewhere.
const Patience = 2 * time.Minute

// Ready is the line of --json-ready.
type Ready struct {
	Ready    bool              `json:"ready"`
	PID      int               `json:"pid"`
	Hostname string            `json:"hostname"`
	Listen   map[string]string `json:"listen"`
	Accounts []Login           `json:"accounts"`
	Captured Login             `json:"captured"`
	CA       string            `json:"ca"`
	Database string            `json:"database"`
	Postgres struct {
		PID int `json:"pid"`
	} `json:"postgres"`
	Data string `json:"data"`
}

// Login is an account of the node.
type Login struct {
	Address  string `json:"address"`
	Password string `json:"password"`
}

// Node is a running server.
type Node struct {
	Ready
	Binary string
	Took   time.Duration // from start to the ready line

	process *child.Process
	log     string
	more    []byte        // what came on standard output after the ready line
	exited  chan struct{} // closed when the process has ended and more is whole
}

// Build compiles the program into dir.
func Build(dir string) (string, error) {
	binary := filepath.Join(dir, "posthouse")
	out, err := exec.Command("go", "build", "-tags", tags, "-o", binary, "posthouse/cmd/posthouse").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build posthouse: %w\n%s", err, out)
	}
	return binary, nil
}

// Folder makes a temporary folder that the server can reach after it gave up
// root. The caller removes it.
func Folder() (string, error) {
	dir, err := os.MkdirTemp("", "posthouse-e2e-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// listeners take ports from the kernel, so that nodes do not meet.
var listeners = []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http"}

// Start runs `serve --local` with args and waits for the ready line. Standard
// error goes to a file in logs. Variables are added to the environment.
func Start(binary, logs string, variables []string, args ...string) (*Node, error) {
	all := []string{"serve", "--local", "--json-ready"}
	for _, name := range listeners {
		if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, name+"=") }) {
			all = append(all, "--listen", name+"=127.0.0.1:0")
		}
	}
	return run(binary, logs, variables, append(all, args...))
}

// StartSite runs `serve` with a configuration file.
func StartSite(binary, logs, config string) (*Node, error) {
	return run(binary, logs, nil, []string{"serve", "--json-ready", "--config", config})
}

func run(binary, logs string, variables, args []string) (*Node, error) {
	f, err := os.CreateTemp(logs, "node-*.log")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := &Node{Binary: binary, log: f.Name(), exited: make(chan struct{})}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), variables...)
	cmd.Stderr = f
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	begin := time.Now()
	n.process, err = child.Start(cmd)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	line := make(chan []byte, 1)
	go func() {
		defer close(n.exited)
		defer out.Close()
		r := bufio.NewReader(out)
		first, _ := r.ReadBytes('\n')
		line <- first
		buf := make([]byte, 4096)
		for {
			k, err := r.Read(buf)
			n.more = append(n.more, buf[:k]...)
			if err != nil {
				break
			}
		}
		<-n.process.Exited()
	}()
	select {
	case first := <-line:
		n.Took = time.Since(begin)
		if err := json.Unmarshal(first, &n.Ready); err == nil && n.Ready.Ready {
			return n, nil
		}
		<-n.exited
		return nil, fmt.Errorf("posthouse did not become ready (%v): %q\n%s", n.process.Err(), first, n.Log())
	case <-time.After(Patience):
		n.Kill()
		return nil, fmt.Errorf("posthouse was not ready after %s\n%s", Patience, n.Log())
	}
}

// Log is what the server wrote to standard error.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Extra is what it wrote to standard output after the ready line, once it ended.
func (n *Node) Extra() string {
	<-n.exited
	return string(n.more)
}

// Exited is closed when the process has ended.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// Signal sends a signal to the server, if it runs.
func (n *Node) Signal(s syscall.Signal) { n.process.Signal(s) }

// Kill ends the server with SIGKILL and waits for it.
func (n *Node) Kill() {
	n.process.Signal(syscall.SIGKILL)
	<-n.exited
}

// Stop ends the server with SIGTERM. The error says if it did not exit with 0.
func (n *Node) Stop() error {
	n.Signal(syscall.SIGTERM)
	return n.Wait()
}

// Wait waits for the end of the server; nil is exit code 0.
func (n *Node) Wait() error {
	select {
	case <-n.exited:
		if err := n.process.Err(); err != nil {
			return fmt.Errorf("posthouse: %w\n%s", err, n.Log())
		}
		return nil
	case <-time.After(Patience):
		n.Signal(syscall.SIGQUIT) // its goroutines go to the log
		<-n.exited
		return fmt.Errorf("posthouse did not end within %s\n%s", Patience, n.Log())
	}
}

// TLS trusts the node's authority and nothing else.
func (n *Node) TLS() (*tls.Config, error) {
	pem, err := os.ReadFile(n.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", n.CA)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}, nil
}

// Command runs another command of the program on the node's data, with stdin as
// its standard input.
func (n *Node) Command(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.Binary, append(args, "--data", n.Data)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("posthouse %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
