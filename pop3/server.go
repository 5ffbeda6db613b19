package pop3

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
	"posthouse/mailstore"
)

// Config is what a server needs.
type Config struct {
	Hostname  string
	Directory *directory.Directory
	Store     *mailstore.Store
	TLS       *tls.Config // for STLS and implicit TLS; nil: neither
	Admission *admission.Gate
	Log       *slog.Logger
	// AllowPlainAuth lets clients log in without TLS: local mode, loopback only.
	AllowPlainAuth bool
	Timeouts       Timeouts
}

// Timeouts bound what a client may leave us waiting for; zero is the default.
type Timeouts struct {
	Login      time.Duration // without login, in all: 2 minutes
	Autologout time.Duration // between commands: 10 minutes (RFC 1939 §3)
	Line       time.Duration // from the first octet of a line to its last: 1 minute; before login 20 s
	Write      time.Duration // to take one buffer (32 KiB): 2 minutes
}

func (t *Timeouts) fill() {
	for _, d := range []struct {
		field *time.Duration
		or    time.Duration
	}{
		{&t.Login, 2 * time.Minute}, {&t.Autologout, 10 * time.Minute}, {&t.Line, time.Minute}, {&t.Write, 2 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.or
		}
	}
}

// Server serves POP3 on any number of listeners.
type Server struct {
	Config
	ctx    context.Context // of every session; cancelled when a drain runs out of time
	cancel context.CancelFunc

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	running   sync.WaitGroup
}

// New makes a server.
func New(c Config) *Server {
	c.Timeouts.fill()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.TLS != nil { // RFC 7301: a client of another protocol that was led here is refused
		c.TLS = c.TLS.Clone()
		c.TLS.NextProtos = []string{"pop3"}
	}
	s := &Server{Config: c, listeners: make(map[net.Listener]struct{}), sessions: make(map[*session]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which is no error. With implicitTLS they begin with a handshake (port 995).
func (s *Server) Serve(ln net.Listener, implicitTLS bool) error {
	if implicitTLS && s.TLS == nil {
		return errors.New("pop3: implicit TLS without a certificate")
	}
	if !s.listen(ln) {
		return ln.Close()
	}
	for {
		c, err := ln.Accept()
		if err == nil {
			s.start(c, implicitTLS)
			continue
		}
		if s.isClosing() {
			return nil
		}
		if !isTemporary(err) {
			return fmt.Errorf("pop3: accept: %w", err)
		}
		// Out of descriptors: others must end first.
		s.Log.Error("accept failed", "event", "pop3.accept", "error", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.ctx.Done():
		}
	}
}

func isTemporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
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
			refuse(c, implicitTLS)
			return
		}
		release = r
	}
	sess := newSession(s, c, remote)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		release()
		c.Close()
		return
	}
	s.sessions[sess] = struct{}{}
	s.running.Go(func() {
		defer release()
		defer s.forget(sess)
		sess.run(s.ctx, implicitTLS)
	})
}

func (s *Server) forget(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
}

// refuse turns a connection over the caps away, without waiting for its peer.
func refuse(c net.Conn, implicitTLS bool) {
	if !implicitTLS && c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		fmt.Fprint(c, "-ERR [SYS/TEMP] Too many connections, try again later\r\n") // it goes either way
	}
	c.Close()
}

func remoteAddr(c net.Conn) netip.Addr {
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		return a.Addr().Unmap()
	}
	return netip.Addr{} // a Unix socket or a pipe
}

// Shutdown stops accepting, ends sessions that wait for a command (deleting
// nothing), lets commands in progress finish, and returns when all have ended.
// When ctx ends first the rest are cut off, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for ln := range s.listeners {
		ln.Close() // Serve returns; nothing else can be done about an error here
	}
	for sess := range s.sessions {
		sess.expel(shuttingDown)
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
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
