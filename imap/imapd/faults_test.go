package imapd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// bigMessage takes three frames of the store.
var bigMessage = "Subject: big\n\n" + strings.Repeat(strings.Repeat("x", 76)+"\n", 8000)

// TestSlowReaders: clients that ask for a lot and read nothing hold no
// connection of the database.
func TestSlowReaders(t *testing.T) {
	s := newSite(t)
	for range 30 {
		s.deliver("INBOX", bigMessage)
	}
	for range 5 {
		p := s.open("INBOX")
		p.run("C: a FETCH 1:* BODY.PEEK[]")
		if line, err := p.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* 1 FETCH") {
			t.Fatal(line, err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		// The notifier keeps one for LISTEN.
		if n := s.pool.Stat().AcquiredConns(); n <= 1 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d connections are held", n)
		}
		s.open("INBOX").run("C: a FETCH 1 BODY.PEEK[]<0.10>\nS: * 1 FETCH (BODY[]<0> {10}\\r\\nSubject: b)\nS: a OK …")
	}
}

// TestBodyLost: octets that cannot be read are NIL and a NO; when a literal was
// announced already nothing can mend it, and the connection closes.
func TestBodyLost(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	s.deliver("INBOX", bigMessage)
	s.deliver("INBOX", simpleMessage)
	exec := func(sql string) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE aside AS SELECT * FROM blob_chunk WHERE seq = 1 OR blob_id = (SELECT min(id) FROM blob)`)
	exec(`DELETE FROM blob_chunk WHERE seq = 1 OR blob_id = (SELECT min(id) FROM blob)`)
	defer exec(`INSERT INTO blob_chunk SELECT * FROM aside`)
	p := s.open("INBOX")
	p.run(`
		C: a FETCH 1,3 (UID BODY.PEEK[TEXT])
		S: * 1 FETCH (UID 1 BODY[TEXT] NIL)
		S: * 3 FETCH (UID 3 BODY[TEXT] {7}\r\nNoon?\r\n)
		S: a NO …
		C: b NOOP
		S: b OK …
		C: c FETCH 2 BODY.PEEK[]
	`)
	p.deadline()
	rest, err := io.ReadAll(p.r)
	if err != nil || !strings.HasPrefix(string(rest), "* 2 FETCH (BODY[] {") || !strings.HasSuffix(string(rest), "xxx") && !strings.HasSuffix(string(rest), "\n") ||
		strings.Contains(string(rest), "c ") {
		t.Errorf("%v, %.40q … %q", err, rest, rest[max(0, len(rest)-40):])
	}
}

// TestClientGone: a client that goes away in the middle of a body is no fault of
// ours, and not worth a line in the log.
func TestClientGone(t *testing.T) {
	events := make(eventLog, 100)
	s := newSite(t, func(c *Config) { c.Log = slog.New(events) })
	for range 30 {
		s.deliver("INBOX", bigMessage)
	}
	p := s.open("INBOX")
	p.run("C: a FETCH 1:* BODY.PEEK[]")
	if line, err := p.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* 1 FETCH") {
		t.Fatal(line, err)
	}
	if err := p.c.Close(); err != nil {
		t.Fatal(err)
	}
	for r := range events {
		if r.Level >= slog.LevelWarn {
			t.Errorf("%s: %s", r.Level, r.Message)
		}
		if r.Message == "logout" {
			return
		}
	}
}

// eventLog passes log records on.
type eventLog chan slog.Record

func (l eventLog) Enabled(context.Context, slog.Level) bool      { return true }
func (l eventLog) Handle(_ context.Context, r slog.Record) error { l <- r; return nil }
func (l eventLog) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l eventLog) WithGroup(string) slog.Handler                 { return l }

// TestDatabaseGone: commands fail one by one, the session stays.
func TestDatabaseGone(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", simpleMessage)
	other := s.node()
	p := other.open("INBOX")
	other.pool.Close()
	p.run(`
		C: a FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS (\Recent))
		S: a OK …
		C: b NOOP
		S: b OK …
		C: c FETCH 1 ENVELOPE
		S: c NO [UNAVAILABLE] …
		C: d STORE 1 +FLAGS (\Seen)
		S: d NO [UNAVAILABLE] …
		C: e COPY 1 Trash
		S: e NO [UNAVAILABLE] …
		C: f EXPUNGE
		S: f NO [UNAVAILABLE] …
		C: g FETCH 1 BODY[]
		S: g NO [UNAVAILABLE] …
		C: h SELECT Trash
		S~: h NO [UNAVAILABLE] …
		C: i LOGOUT
		S: * BYE …
		S: i OK …
	`)
}

// TestDrain is TRUST row 33: who waits hears BYE, who is in the middle of a
// command may finish it.
func TestDrain(t *testing.T) {
	s := newSite(t)
	idle, busy, waiting := s.open("INBOX"), s.open("INBOX"), s.login()
	idle.run("C: a IDLE\nS: + …")
	busy.run("C: a APPEND INBOX {12}\nS: + …")
	done := make(chan error, 1)
	go func() { done <- s.srv.Shutdown(t.Context()) }()
	idle.run("S: * BYE …\nEOF:")
	waiting.run("S: * BYE …\nEOF:")
	select {
	case err := <-done:
		t.Fatalf("shut down in the middle of a command: %v", err)
	default:
	}
	busy.send("Subject: x\r\n\r\n")
	busy.run("S: * 1 EXISTS\nS: * 1 RECENT\nS: a OK …\nS: * BYE …\nEOF:")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("it still accepts")
	}
}

// TestDrainInHandshake: a peer that never ends its half of a TLS handshake
// delays nobody, on either kind of port.
func TestDrainInHandshake(t *testing.T) {
	s := newSite(t, withTLS(testCertificate(t)))
	implicit, err := net.Dial("tcp", s.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer implicit.Close()
	if _, err := implicit.Write([]byte("\x16\x03\x01")); err != nil {
		t.Fatal(err)
	}
	p := s.dial()
	p.run("C: a STARTTLS\nS: a OK …")
	if err := s.srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.run("EOF:")
}

// TestCutOff: when the time to drain is over, commands are cut off.
func TestCutOff(t *testing.T) {
	s := newSite(t)
	p := s.login()
	p.run("C: a APPEND INBOX {12}\nS: + …")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.run("EOF:")
}
