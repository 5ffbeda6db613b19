package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"posthouse/internal/config"
)

func TestBusyPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := &config.Config{Local: true, Listen: config.Listeners{config.SMTP: taken.Addr().String()}}
	moved, err := bind(c, func(string, string) bool { return false })
	if err != nil {
		t.Fatal("a default port did not move:", err)
	}
	closeAll(moved)
	asked := func(string, string) bool { return true }
	if bound, err := bind(c, asked); err == nil || exitCode(err) != exitBind {
		t.Errorf("a port that was asked for moved to %v: %v", bound, err)
	}
	c.Local = false
	if _, err := bind(c, func(string, string) bool { return false }); exitCode(err) != exitBind {
		t.Error("a site's port moved:", err)
	}
	// Nothing stays open when one of several fails.
	c.Listen[config.HTTP] = "127.0.0.1:0"
	if bound, err := bind(c, asked); err == nil || bound != nil {
		t.Error(bound, err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path, 1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error("the socket of a living server was taken:", err)
	}
	left.SetUnlinkOnClose(false) // as a crash leaves it
	left.Close()
	again, err := listen(path, 1)
	if err != nil {
		t.Fatal("a socket that a crash left behind:", err)
	}
	again.Close()
	if err := os.WriteFile(path, []byte("not a socket"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path, 1); err == nil {
		t.Error("a file was replaced by a socket")
	}
}

// TestDrainEnds checks that a drain waits for what can end, and cuts the rest
// when its time is over.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(slog.New(slog.DiscardHandler))
		stopped := make(chan struct{})
		h.serve(listener{name: "smtp"}, func() error { <-stopped; return nil })
		begin := time.Now()
		h.drain(10*time.Second,
			func(context.Context) error { time.Sleep(3 * time.Second); close(stopped); return nil }, // the bubble's clock
			func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("the drain took %s", took)
		}
	})
}

func TestListenerFailureEndsTheServer(t *testing.T) {
	h := newHouse(slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	broken := errors.New("broken")
	h.serve(listener{ln, "imap"}, func() error { return broken })
	if err := h.wait(t.Context(), nil, nil); !errors.Is(err, broken) || exitCode(err) != exitFailed {
		t.Error(err)
	}
	h.drain(time.Second)
}
