// Package door is what the line protocols do alike before a session begins and
// after the last one ended: accept, believe a trusted proxy's PROXY header,
// apply the caps, keep account of the sessions, and drain.
package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"posthouse/internal/admission"
	"posthouse/internal/events"
)

// Session is one connection's life.
type Session interface {
	Run(ctx context.Context) // returns when the connection is closed
	Expel()                  // the server drains: end as soon as no command is in progress
	Cut()                    // close the connection now
}

// Config of a Door.
type Config struct {
	Protocol string // "imap": stands in errors, log events and metrics
	Full     string // the line that a client over the caps hears, CRLF included
	Gate     *admission.Gate
	Proxies  []netip.Prefix // must begin with a PROXY header; nobody else may
	Log      *slog.Logger
	// Begin makes a session of an admitted connection; Run follows in a
	// goroutine of its own.
	Begin func(c net.Conn, remote netip.Addr, implicitTLS bool) Session
}

// Door serves one protocol on any number of listeners.
type Door struct {
	Config
	ctx    context.Context // of every session; cancelled when a drain runs out of time
	cancel context.CancelFunc
	open   context.Context // cancelled when a drain begins
	shut   context.CancelFunc

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	sessions  map[Session]struct{}
	running   sync.WaitGroup // connections, from accept to the end of their sessions
}

// New makes a door.
func New(c Config) *Door {
	d := &Door{Config: c, listeners: make(map[net.Listener]struct{}), sessions: make(map[Session]struct{})}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.open, d.shut = context.WithCancel(d.ctx)
	return d
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which is no error. It closes ln.
func (d *Door) Serve(ln net.Listener, implicitTLS bool) error {
	defer ln.Close()
	if !d.listen(ln) {
		return nil
	}
	for {
		c, err := ln.Accept()
		if err == nil {
			d.enter(c, implicitTLS)
			continue
		}
		if d.Closing() {
			return nil
		}
		if !isTemporary(err) {
			return fmt.Errorf("%s: accept: %w", d.Protocol, err)
		}
		// Out of descriptors: others must end first.
		d.Log.Error("accept failed", "event", d.Protocol+".accept", "error", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-d.ctx.Done():
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

// Closing reports whether Shutdown was called.
func (d *Door) Closing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closing
}

func (d *Door) listen(ln net.Listener) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closing {
		d.listeners[ln] = struct{}{}
	}
	return !d.closing
}

// enter brings a connection to its session. Those within a goroutine of their
// own are bounded by the caps, and those of trusted proxies by the header's
// deadline.
func (d *Door) enter(c net.Conn, implicitTLS bool) {
	remote := Remote(c)
	if IsTrusted(d.Proxies, remote) {
		d.count(c, func() {
			proxied, remote, err := Unproxy(d.open, c)
			if err != nil {
				d.refuse(c, "proxy", "")
				d.Log.Warn("no PROXY header", "event", d.Protocol+".proxy", "remote", remote.String(), "error", err)
				return
			}
			if s, release := d.admit(proxied, remote, implicitTLS); s != nil {
				d.run(s, release)
			}
		})
		return
	}
	if s, release := d.admit(c, remote, implicitTLS); s != nil {
		if !d.count(c, func() { d.run(s, release) }) {
			release()
		}
	}
}

// count runs f in a goroutine that Shutdown waits for, unless it has begun.
func (d *Door) count(c net.Conn, f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		c.Close()
		return false
	}
	d.running.Go(f)
	return true
}

// admit applies the caps; without a session the connection is closed.
func (d *Door) admit(c net.Conn, remote netip.Addr, implicitTLS bool) (Session, func()) {
	release := func() {}
	if d.Gate != nil {
		r, ok := d.Gate.Admit(remote)
		if !ok {
			full := d.Full
			if implicitTLS { // before a handshake there is nobody to tell
				full = ""
			}
			d.refuse(c, "cap", full)
			return nil, nil
		}
		release = r
	}
	return d.Begin(c, remote, implicitTLS), release
}

// run is a session's life. One that begins during a drain is expelled at once.
func (d *Door) run(s Session, release func()) {
	defer release()
	d.mu.Lock()
	d.sessions[s] = struct{}{}
	if d.closing {
		s.Expel()
	}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.sessions, s)
		d.mu.Unlock()
	}()
	s.Run(d.ctx)
}

// refuse turns a connection away, without waiting for its peer.
func (d *Door) refuse(c net.Conn, reason, line string) {
	events.RefusedConnections.WithLabelValues(d.Protocol, reason).Inc()
	if line != "" && c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		fmt.Fprint(c, line) // it goes either way
	}
	c.Close()
}

// Shutdown stops accepting, expels the sessions, and returns when all have
// ended. When ctx ends first the rest are cut off, and its error is returned.
func (d *Door) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	d.closing = true
	for ln := range d.listeners {
		ln.Close() // Serve returns; nothing else can be done about an error here
	}
	for s := range d.sessions {
		s.Expel()
	}
	d.mu.Unlock()
	d.shut()

	done := make(chan struct{})
	go func() { d.running.Wait(); close(done) }()
	defer d.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	d.cancel()
	d.mu.Lock()
	for s := range d.sessions {
		s.Cut()
	}
	d.mu.Unlock()
	<-done
	return ctx.Err()
}
