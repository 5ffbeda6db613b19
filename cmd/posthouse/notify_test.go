package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSupervisor: systemd hears READY, the watchdog in time, and STOPPING; the
// variables do not reach children.
func TestSupervisor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", "")
	s := superviseBy(slog.New(slog.DiscardHandler))
	if os.Getenv("NOTIFY_SOCKET") != "" || s.every != 20*time.Millisecond {
		t.Errorf("left %q, every %v", os.Getenv("NOTIFY_SOCKET"), s.every)
	}
	heard := func() string {
		t.Helper()
		buf := make([]byte, 1000)
		if err := ln.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := ln.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	s.ready("mx.example.test")
	if got := heard(); !strings.HasPrefix(got, "READY=1\n") {
		t.Errorf("%q", got)
	}
	for range 3 {
		if got := heard(); got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
	s.reloading()
	s.reloaded("mx.example.test takes mail")
	for _, want := range []string{"RELOADING=1\nMONOTONIC_USEC=", "READY=1\nSTATUS=mx.example.test takes mail"} {
		got := heard()
		for got == "WATCHDOG=1" {
			got = heard()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	s.close()
	s.stopping()
	for got := heard(); !strings.HasPrefix(got, "STOPPING=1"); got = heard() {
		if got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
}

// A supervisor that does not read holds nobody up.
func TestDeafSupervisor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for err == nil { // until the kernel takes no more
		if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err = c.Write([]byte("x"))
	}
	t.Setenv("NOTIFY_SOCKET", path)
	s := superviseBy(slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { s.stopping(); s.close(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the server waits for a supervisor that does not read")
	}
}

// Nobody listens: nothing is said, nothing fails; a watchdog of another process
// is not ours.
func TestNoSupervisor(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000")
	t.Setenv("WATCHDOG_PID", "1")
	s := superviseBy(slog.New(slog.DiscardHandler))
	s.ready("mx.example.test")
	s.stopping()
	s.close()
	if s.every != 0 {
		t.Error("somebody else's watchdog is fed")
	}
}
