package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"posthouse/e2e/child"
)

// server is one mail server under measurement, with accounts user0 to user49.
type server struct {
	name              string
	smtp, imap, imaps string // addresses
	pop3, http        string // Posthouse's
	submission        string
	root              int                                                    // pid whose tree is measured
	more              []int                                                  // further roots (Dovecot beside Postfix)
	database          string                                                 // Posthouse's, to see when the text packs are done
	imports           func(n int, writer func(conn int) func() []byte) error // Dovecot's way to fill a mailbox; nil: APPEND
	end               func()                                                 // ends the process and waits
	stop              func()                                                 // and removes its folder
}

const (
	domain   = "example.test"
	password = "correct horse"
	accounts = 50
)

func address(i int) string { return fmt.Sprintf("user%d@%s", i, domain) }

// start gives the servers to measure: Posthouse, and Dovecot where it can run.
func start(o options) ([]*server, error) {
	var all []*server
	if o.only != "dovecot" {
		p, err := startPosthouse(o.binary)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if o.only != "posthouse" {
		d, err := startDovecot()
		if errors.Is(err, errNoComparison) {
			fmt.Println("measuring Posthouse alone:", err)
		} else if err != nil {
			stopAll(all)
			return nil, err
		} else {
			all = append(all, d)
		}
	}
	return all, nil
}

func stopAll(all []*server) {
	for _, s := range all {
		s.stop()
	}
}

// startPosthouse runs serve --local with the accounts, and more flags.
func startPosthouse(binary string, flags ...string) (*server, error) {
	data, err := os.MkdirTemp("", "posthouse-bench-")
	if err != nil {
		return nil, err
	}
	// The server gives up root: its folder must be within its reach.
	if err := os.Chmod(data, 0o755); err != nil {
		return nil, err
	}
	args := []string{"--data", filepath.Join(data, "data")}
	for i := range accounts {
		args = append(args, "--account", address(i)+":"+password)
	}
	s, err := runPosthouse(binary, data, append(args, flags...))
	if err != nil {
		os.RemoveAll(data)
		return nil, err
	}
	s.stop = atEnd(func() {
		s.end()
		os.RemoveAll(data)
	})
	return s, nil
}

// runPosthouse runs it with a data folder that stays; its log goes to dir.
func runPosthouse(binary, dir string, args []string) (*server, error) {
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(binary, append([]string{"serve", "--local", "--json-ready"}, args...)...)
	cmd.Stdout, cmd.Stderr = in, log
	process, err := child.Start(cmd)
	in.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s (make build makes it): %w", binary, err)
	}
	var ready struct {
		Listen   map[string]string `json:"listen"`
		Database string            `json:"database"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		process.Signal(syscall.SIGKILL)
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("posthouse did not become ready: %w\n%s", err, text)
	}
	end := func() {
		process.Signal(syscall.SIGTERM)
		<-process.Exited()
	}
	return &server{name: "posthouse", smtp: ready.Listen["smtp"], submission: ready.Listen["submission"], imap: ready.Listen["imap"],
		imaps: ready.Listen["imaps"], pop3: ready.Listen["pop3"], http: ready.Listen["http"], root: process.PID(), database: ready.Database, end: end, stop: end}, nil
}

// freePort asks the kernel for a port on loopback.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// waitFor dials addr until it answers, for at most ten seconds.
func waitFor(addr string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing listens on %s: %w", addr, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
