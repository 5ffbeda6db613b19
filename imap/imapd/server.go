package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"posthouse/internal/admission"
	"posthouse/internal/directory"
	"posthouse/internal/door"
	"posthouse/mailstore"
)

// Config is what a server needs.
type Config struct {
	Hostname  string
	Directory *directory.Directory
	Store     *mailstore.Store
	TLS       *tls.Config // for STARTTLS and implicit TLS; nil: neither
	Admission *admission.Gate
	// TrustedProxies are peers whose connections begin with a PROXY header.
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
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
	Progress   time.Duration // in a command that takes long, between two signs of it: 10 seconds
	Keepalive  time.Duration // in IDLE, between two signs of life: 2 minutes
}

func (t *Timeouts) fill() {
	for _, d := range []struct {
		field *time.Duration
		or    time.Duration
	}{
		{&t.Login, 3 * time.Minute}, {&t.Autologout, 30 * time.Minute}, {&t.Command, 5 * time.Minute},
		{&t.Silence, time.Minute}, {&t.Write, 2 * time.Minute}, {&t.Keepalive, 2 * time.Minute},
		{&t.Progress, 10 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.or
		}
	}
}

// Server serves IMAP on any number of listeners.
type Server struct {
	Config
	door        *door.Door
	tls         *door.TLS // nil without a certificate
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
	s := &Server{Config: c, revocations: newRevocations(c.Directory)}
	if c.TLS != nil {
		s.tls = door.NewTLS(c.TLS, "imap")
	}
	s.door = door.New(door.Config{
		Protocol: "imap", Full: "* BYE [LIMIT] Too many connections, try again later\r\n",
		Gate: c.Admission, Proxies: c.TrustedProxies, Log: c.Log,
		Begin: func(c net.Conn, remote netip.Addr, implicitTLS bool) door.Session {
			return newSession(s, c, remote, implicitTLS)
		},
	})
	return s
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which is no error. With implicitTLS they begin with a handshake (port 993).
func (s *Server) Serve(ln net.Listener, implicitTLS bool) error {
	if implicitTLS && s.TLS == nil {
		return errors.New("imap: implicit TLS without a certificate")
	}
	return s.door.Serve(ln, implicitTLS)
}

// Shutdown stops accepting, says BYE to sessions that wait for a command, lets
// commands in progress finish, and returns when all have ended. When ctx ends
// first the rest are cut off, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.door.Shutdown(ctx)
	s.revocations.running.Wait() // each ends with the last session of its account
	return err
}
