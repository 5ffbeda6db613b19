package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"posthouse/internal/admission"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/mailstore"
)

// Config is what a server needs.
type Config struct {
	Hostname  string
	Directory *directory.Directory
	Store     *mailstore.Store
	TLS       *tls.Config // for STARTTLS and implicit TLS; nil: neither
	Admission *admission.Gate
	Log       *slog.Logger
	// AllowPlainAuth lets clients log in without TLS: local mode, loopback only.
	AllowPlainAuth bool
	// MaxMessage is the largest message that APPEND takes, in octets; 0: 64 MiB.
	MaxMessage int64
	// SpoolDir is where APPEND keeps large bodies; empty: the system's folder.
	SpoolDir string
	Timeouts Timeouts
}

// Timeouts bound what a client may leave us waiting for; zero is the default.
type Timeouts struct {
	Login      time.Duration // without login, in all: 3 minutes
	Autologout time.Duration // between commands: 30 minutes (RFC 3501 §5.4)
	Command    time.Duration // from the first octet of a command to its last, literals apart: 5 minutes; before login 1
	Silence    time.Duration // between two octets of a command: 1 minute
	Write      time.Duration // to take one buffer (32 KiB): 2 minutes
	Keepalive  time.Duration // in IDLE, between two signs of life: 2 minutes
}

func (t *Timeouts) fill() {
	for _, d := range []struct {
		field *time.Duration
		or    time.Duration
	}{
		{&t.Login, 3 * time.Minute}, {&t.Autologout, 30 * time.Minute}, {&t.Command, 5 * time.Minute},
		{&t.Silence, time.Minute}, {&t.Write, 2 * time.Minute}, {&t.Keepalive, 2 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.or
		}
	}
}

// Server serves IMAP on any number of listeners.
type Server struct {
	Config
	ctx    context.Context // of every session; cancelled when a drain runs out of time
	cancel context.CancelFunc

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	running   sync.WaitGroup // sessions

	revocations *revocations
	recents     recents
}

// New makes a server.
func New(c Config) *Server {
	c.Timeouts.fill()
	if c.MaxMessage == 0 {
		c.MaxMessage = 64 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.TLS != nil {
		// A client that insists on another protocol is refused (ALPACA, RFC 7301).
		c.TLS = c.TLS.Clone()
		c.TLS.NextProtos = []string{"imap"}
	}
	s := &Server{Config: c, listeners: make(map[net.Listener]struct{}), sessions: make(map[*session]struct{}),
		revocations: newRevocations(c.Directory)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which is no error. With implicitTLS they begin with a handshake (port 993).
func (s *Server) Serve(ln net.Listener, implicitTLS bool) error {
	if implicitTLS && s.TLS == nil {
		return errors.New("imap: implicit TLS without a certificate")
	}
	if !s.listen(ln) {
		return ln.Close()
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			if s.isClosing() {
				return nil
			}
			if isTemporary(err) { // out of descriptors: others must end first
				s.Log.Error("accept failed", "event", "imap.accept", "error", err)
				if !s.pause(100 * time.Millisecond) {
					return nil
				}
				continue
			}
			return fmt.Errorf("imap: accept: %w", err)
		}
		s.start(c, implicitTLS)
	}
}

func isTemporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// pause waits, and reports whether the server still runs.
func (s *Server) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return !s.isClosing()
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) listen(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[ln] = struct{}{}
	}
	return !s.closing
}

// start admits a connection and runs its session.
func (s *Server) start(c net.Conn, implicitTLS bool) {
	remote := remoteAddr(c)
	release := func() {}
	if s.Admission != nil {
		r, ok := s.Admission.Admit(remote)
		if !ok {
			events.IMAPRejected.WithLabelValues("cap").Inc()
			refuse(c, implicitTLS)
			return
		}
		release = r
	}
	sess := newSession(s, c, remote)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		release()
		c.Close()
		return
	}
	s.sessions[sess] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.running.Done()
		defer release()
		defer s.forget(sess)
		sess.run(s.ctx, implicitTLS)
	}()
}

func (s *Server) forget(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
}

// refuse turns a connection over the caps away, without waiting for its peer.
func refuse(c net.Conn, implicitTLS bool) {
	if !implicitTLS && c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		fmt.Fprint(c, "* BYE [LIMIT] Too many connections, try again later\r\n") // it goes either way
	}
	c.Close()
}

func remoteAddr(c net.Conn) netip.Addr {
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		return a.Addr().Unmap()
	}
	return netip.Addr{} // a Unix socket or a pipe
}

// Shutdown stops accepting, says BYE to sessions that wait for a command, lets
// commands in progress finish, and returns when all have ended. When ctx ends
// first the rest are cut off, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for ln := range s.listeners {
		ln.Close() // Serve returns; nothing else can be done about an error here
	}
	for sess := range s.sessions {
		sess.conn.poke()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() { s.running.Wait(); s.revocations.running.Wait(); close(done) }()
	defer s.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	for sess := range s.sessions {
		sess.conn.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}
