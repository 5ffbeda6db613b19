package pop3

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
	TLS       *tls.Config // for STLS and implicit TLS; nil: neither
	Admission *admission.Gate
	// TrustedProxies are peers whose connections begin with a PROXY header.
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
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
	door *door.Door
	tls  *door.TLS // nil without a certificate
}

// New makes a server.
func New(c Config) *Server {
	c.Timeouts.fill()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Config: c}
	if c.TLS != nil {
		s.tls = door.NewTLS(c.TLS, "pop3")
	}
	s.door = door.New(door.Config{
		Protocol: "pop3", Full: "-ERR [SYS/TEMP] Too many connections, try again later\r\n",
		Gate: c.Admission, Proxies: c.TrustedProxies, Log: c.Log,
		Begin: func(c net.Conn, remote netip.Addr, implicitTLS bool) door.Session {
			return newSession(s, c, remote, implicitTLS)
		},
	})
	return s
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which is no error. With implicitTLS they begin with a handshake (port 995).
func (s *Server) Serve(ln net.Listener, implicitTLS bool) error {
	if implicitTLS && s.TLS == nil {
		return errors.New("pop3: implicit TLS without a certificate")
	}
	return s.door.Serve(ln, implicitTLS)
}

// Shutdown stops accepting, ends sessions that wait for a command (deleting
// nothing), lets commands in progress finish, and returns when all have ended.
// When ctx ends first the rest are cut off, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.door.Shutdown(ctx) }
