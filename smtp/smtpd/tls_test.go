package smtpd

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestStartTLSInjection is TRUST.md row 3: a command in the same segment as
// STARTTLS is not executed, neither before nor after the handshake.
func TestStartTLSInjection(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play("S: 220 *\nEHLO")
	c.raw("STARTTLS\r\nNOOP\r\n")
	c.play("S: 421 4.7.0 *\nEOF")

	c = s.dial() // what comes in the next segment is no TLS record
	c.play("S: 220 *\nEHLO\nC: STARTTLS\nS: 220 *\nC: RSET")
	rest, _ := io.ReadAll(c.r) // at most a TLS alert
	if strings.Contains(string(rest), "250") || strings.Contains(string(rest), "550") {
		t.Errorf("after a failed handshake: %q", rest)
	}
}

func TestStartTLS(t *testing.T) {
	s := start(t, MX, nil)
	c := s.dial()
	c.play(`
		S: 220 *
		C: STARTTLSxyz
		S: 500 5.5.1 *
		C: STARTTLS now
		S: 501 5.5.4 *
		EHLO
		C: STARTTLS
		S: 220 2.0.0 *
		TLS
		C: MAIL FROM:<>
		S: 503 5.5.1 *
		EHLO
		C: STARTTLS
		S: 503 5.5.1 *
		C: MAIL FROM:<>
		S: 250 *`)
	c.quit()
	off := start(t, MX, func(c *Config) { c.TLS = nil }).dial()
	off.play("S: 220 *\nEHLO\nC: STARTTLS\nS: 502 5.5.1 *")
}

func TestImplicitTLSAndALPN(t *testing.T) {
	s := start(t, SubmissionTLS, nil)
	c := s.dial()
	c.secure()
	c.play("S: 220 *\nEHLO\nC: STARTTLS\nS: 503 5.5.1 *\nC: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 235 2.7.0 *\nC: MAIL FROM:<alice@example.test>\nS: 250 *")
	c.quit()
	// TRUST.md row 15: wrong ALPN, and plain text.
	conn := s.dial().conn
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}).Handshake(); err == nil {
		t.Error("a browser was let in")
	}
	plain := s.dial()
	plain.raw("EHLO x\r\n")
	rest, _ := io.ReadAll(plain.r)
	if strings.Contains(string(rest), "250") {
		t.Errorf("plain text on a TLS port: %q", rest)
	}
}

// TestOtherProtocols is TRUST.md row 15.
func TestOtherProtocols(t *testing.T) {
	s := start(t, MX, nil)
	for _, hello := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n", "POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\n", "OPTIONS / HTTP/1.0\r\n",
		"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n", "SSH-2.0-OpenSSH_9\r\n", "PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n", "\x00\x00\x00\x08\n",
	} {
		c := s.dial()
		c.line()
		c.raw(hello)
		c.play("S: 421 4.7.0 This is SMTP\nEOF")
	}
}

func TestSlowHandshake(t *testing.T) {
	s := start(t, SubmissionTLS, func(c *Config) { c.Limits.Handshake = 50 * time.Millisecond })
	c := s.dial()
	c.eof()
	s = start(t, MX, func(c *Config) { c.Limits.Handshake = 50 * time.Millisecond })
	c = s.dial()
	c.play("S: 220 *\nEHLO\nC: STARTTLS\nS: 220 *")
	c.raw("\x16\x03\x01")
	c.eof()
}

// TestHalfOpenTLSDoesNotStopShutdown: nobody waits out a peer that never ends its
// half of a handshake, on either kind of port.
func TestHalfOpenTLSDoesNotStopShutdown(t *testing.T) {
	for _, mode := range []Mode{SubmissionTLS, MX} {
		s := start(t, mode, nil)
		c := s.dial()
		if mode == MX {
			c.play("S: 220 *\nEHLO\nC: STARTTLS\nS: 220 *")
		}
		c.raw("\x16\x03\x01")
		eventually(t, "the handshake waits", func() bool {
			s.srv.mu.Lock()
			defer s.srv.mu.Unlock()
			for c := range s.srv.conns {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.waiting
			}
			return false
		})
		if err := s.srv.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		c.eof()
	}
}

var _ net.Conn = (*conn)(nil)
