package smtpd

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/door"
	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// greet takes a new connection up to its banner and hands it to go-smtp.
func (s *Server) greet(sock net.Conn, mode Mode, hand *handoff) {
	sock, remote, err := s.unproxy(sock)
	c := s.newConn(sock, remote, mode)
	if err != nil {
		events.SMTPRejected.WithLabelValues("proxy").Inc()
		c.log.Warn("no PROXY header", "event", "smtp.reject", "error", err.Error())
		sock.Close()
		return
	}
	if !s.register(c) {
		sock.Close()
		return
	}
	var fault error
	defer func() {
		if fault != nil {
			c.Close()
		}
	}()
	defer c.contain(&fault)
	if !c.admitted() || !c.welcomed() || !c.secured() || !c.patient() {
		c.Close()
		return
	}
	if mode == MX {
		c.name = s.name.get(c.client.Remote, s.ctx, s.begin)
	}
	c.log.Debug("session began", "event", "smtp.begin", "listener", mode.String())
	if !hand.give(c) {
		c.reply(421, "4.3.2", s.cfg.Hostname+" is shutting down")
		c.Close()
	}
}

func (s *Server) newConn(sock net.Conn, remote netip.Addr, mode Mode) *conn {
	c := &conn{srv: s, mode: mode, id: mail.NewID(), sock: sock, began: time.Now()}
	c.log = s.log.With("session", c.id, "remote", remote.String())
	c.client = directory.Client{Remote: remote, Protocol: "smtp"}
	c.ctx, c.stop = context.WithCancel(s.ctx)
	c.in = bufio.NewReader(receiver{c})
	c.out = bufio.NewWriterSize(sock, 1024)
	return c
}

// unproxy reads the PROXY header of a trusted proxy, which has to be there;
// from anybody else it would be an unknown command.
func (s *Server) unproxy(sock net.Conn) (net.Conn, netip.Addr, error) {
	peer := door.Remote(sock)
	if !door.IsTrusted(s.cfg.TrustedProxies, peer) {
		return sock, peer, nil
	}
	return door.Unproxy(s.ctx, sock)
}

// admitted applies the caps. A trusted MTA on a Unix socket has none.
func (c *conn) admitted() bool {
	if c.srv.cfg.Admission == nil || !c.client.Remote.IsValid() {
		return true
	}
	release, ok := c.srv.cfg.Admission.Admit(c.client.Remote)
	if !ok {
		if c.mode == SubmissionTLS { // before a handshake there is nobody to tell
			events.SMTPRejected.WithLabelValues("connections").Inc()
			c.dead.Store(true)
			return false
		}
		c.reject("connections", "421", "4.7.0 Too many connections, try again later")
		return false
	}
	c.release = release
	return true
}

// secured does the handshake of implicit TLS.
func (c *conn) secured() bool {
	return c.mode != SubmissionTLS || c.handshake() == nil
}

// handshake makes the connection a TLS one. On failure nothing more is said:
// RFC 3207 §4.1 leaves only closing, and plain text would be a downgrade.
func (c *conn) handshake() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.Handshake)
	defer cancel()
	if err := c.awaitHandshake(); err != nil {
		return err
	}
	defer c.arrived()
	t, cert, err := c.srv.tls.Handshake(ctx, c.sock)
	if err != nil {
		c.dead.Store(true)
		events.SMTPRejected.WithLabelValues("tls").Inc()
		c.log.Info("TLS handshake failed", "event", "smtp.tls", "error", err.Error())
		return err
	}
	c.mu.Lock()
	c.sock = t
	c.mu.Unlock()
	c.out.Reset(t)
	c.client.TLS, c.client.TLSState, c.client.Certificate = true, tlsState(t), cert
	return nil
}

// awaitHandshake lets a drain interrupt the handshake, which has no message to
// lose; its time is the context's.
func (c *conn) awaitHandshake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		c.dead.Store(true)
		return errSevered
	}
	c.waiting = true
	return c.sock.SetReadDeadline(time.Time{})
}

// patient waits before the banner: a client that talks first is no mail client
// (RFC 5321 §3.1), but one that sends blindly.
func (c *conn) patient() bool {
	wait := c.srv.cfg.Limits.Greet
	if wait <= 0 || c.mode != MX {
		return true
	}
	if err := c.sock.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false
	}
	if _, err := c.in.Peek(1); err == nil {
		c.reject("early talker", "554", "5.5.1 You spoke before the greeting")
		return false
	} else if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
		return false // hung up
	}
	// The timeout stays in the bufio.Reader as a sticky error otherwise.
	c.in.Reset(receiver{c})
	return true
}
