package smtpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// strange is a directory that panics where the guard writes its reply to EHLO.
type strange struct{ *people }

func (strange) Mechanisms(directory.Client) []string { panic("on purpose") }

// TestPanicInTheGuard: a fault in the code that reads commands and writes
// replies ends its own connection, with a word.
func TestPanicInTheGuard(t *testing.T) {
	srv := &Server{cfg: Config{Hostname: "mx.example.test", AllowPlainAuth: true, Limits: Limits{}.withDefaults()},
		dir: strange{}, log: slog.New(slog.DiscardHandler), ctx: t.Context()}
	for name, fault := range map[string]func(*conn) error{
		"read":  func(c *conn) error { c.in = nil; return second(c.Read(make([]byte, 64))) },
		"write": func(c *conn) error { c.verb, c.esmtp = "EHLO", true; return second(c.Write([]byte("250 x\r\n"))) },
	} {
		client, server := net.Pipe()
		c := srv.newConn(server, netip.MustParseAddr("192.0.2.1"), LocalMX)
		said := make(chan string)
		go func() {
			text, _ := io.ReadAll(client)
			said <- string(text)
		}()
		if err := fault(c); !errors.Is(err, errSevered) {
			t.Errorf("%s: %v", name, err)
		}
		c.stop()
		server.Close()
		if text := <-said; !strings.HasPrefix(text, "421 ") {
			t.Errorf("%s: the client hears %q", name, text)
		}
	}
}

func second(_ int, err error) error { return err }

// faulty is a Deliverer that panics.
type faulty struct{}

func (faulty) Deliver(context.Context, *mail.Incoming, *spool.Spool) (func(bool), error) {
	panic("on purpose")
}

// TestPanicInDelivery: nothing is accepted, and others go on.
func TestPanicInDelivery(t *testing.T) {
	s := start(t, MX, func(c *Config) { c.Deliverer = faulty{} })
	other := s.dial()
	other.play("S: 220 *\nEHLO")
	c := s.dial()
	c.play("S: 220 *\nEHLO\nC: MAIL FROM:<x@example.org>\nS: 250 *\nC: RCPT TO:<alice@example.test>\nS: 250 *\nC: DATA\nS: 354 *")
	c.raw("Subject: x\r\n\r\nx\r\n.\r\n")
	c.play("S: 421 *\nEOF")
	other.play("C: NOOP\nS: 250 *")
}
