// Package nexthop is the other server, for tests of relaying: an SMTP or LMTP
// server that takes everything unless its Script says otherwise, and that keeps
// account of what it was told: sessions, commands in order, and the messages it
// took.
//
//	hop := nexthop.Start(t, nexthop.Script{
//		Rcpt: map[string]string{"bob@example.test": "550 5.1.1 no such user"},
//		On: func(s *nexthop.Session, verb, arg string) string {
//			if verb == "MAIL" && s.N == 1 {
//				return "421 4.3.2 busy" + nexthop.Close
//			}
//			return "" // as usual
//		},
//	})
//
// It has no clock but in Drip: what stalls does so until the client leaves or
// the Hop is closed, and what is to be late waits in On for the test. On Linux
// all of 127.0.0.0/8 can be listened on, so several hops can share a port.
package nexthop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// A reply is the text that is sent, its last line's end being added, and may
// end with one of these. A text without any is followed by the next command.
const (
	Close   = "\x00close"   // the connection is closed behind the text
	Stall   = "\x00stall"   // nothing more is said; what the client says is swallowed
	Endless = "\x00endless" // lines of continuation ("250-…") that never stop
	Flood   = "\x00flood"   // one line that never ends
	Drip    = "\x00drip"    // the text goes out octet by octet, ten a second, and then again, without an end
)

// Script says what a Hop does. The zero Script is a plain server that offers
// PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES, SMTPUTF8, CHUNKING and DSN.
type Script struct {
	Name     string   // in the banner and behind EHLO; empty: hop.example.test
	LMTP     bool     // LHLO, and a reply for each recipient behind the dot
	Keywords []string // of EHLO, sent as they stand; nil: as above. STARTTLS and AUTH are added to either

	TLS      *tls.Config // nil: no STARTTLS
	Implicit bool        // TLS from the first octet
	Strip    bool        // STARTTLS is not offered in EHLO, and refused
	Inject   string      // sent in the clear right behind the 220 of STARTTLS, in the same segment

	Auth      map[string]string // passwords by user; nil: no AUTH
	Mechanism string            // offered with AUTH; empty: "PLAIN LOGIN"

	// Replies are what is said at a stage, in place of the usual. A stage is a
	// command ("EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT",
	// "DATA", "BDAT", "RSET", "VRFY", "NOOP", "QUIT"), or
	//   "CONNECT"  the banner
	//   "TLS"      in place of the handshake; only Close, Stall, or octets to send
	//   "BODY"     behind the 354, before the content is read: Stall leaves it unread
	//   "DOT"      behind the content; with Close or Stall, and no text, the message
	//              was taken and only the reply is lost. In LMTP once for each recipient.
	Replies map[string]string
	Rcpt    map[string]string // replies to RCPT by address, in lower case
	Dot     map[string]string // LMTP: replies behind the dot by address, in lower case

	// On is asked before all of that, with what stands behind the verb (of RCPT
	// the whole argument; of DOT in LMTP the address). An empty reply means: as
	// usual. It may block.
	On func(s *Session, verb, arg string) string

	Lax    bool           // any of LF.LF, LF.CRLF, CRLF.LF, CR.CR ends the content, too
	Taken  func(*Message) // called for each message before the reply; nil: none
	Forget bool           // Messages and Commands are not kept, only counted
}

// Hop is a running server.
type Hop struct {
	Addr netip.AddrPort

	script   Script
	listener net.Listener
	done     chan struct{}
	serving  sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed when something below changes
	sessions []*Session
	open     map[*Session]net.Conn
	peak     int
	messages []*Message
	taken    int
}

// Start runs a server on a free port of 127.0.0.1 until the test ends.
func Start(t testing.TB, script Script) *Hop {
	t.Helper()
	return StartAt(t, "127.0.0.1:0", script)
}

// StartAt is Start on an address, "127.0.0.2:2525".
func StartAt(t testing.TB, address string, script Script) *Hop {
	t.Helper()
	h, err := Listen(address, script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// Listen runs a server on an address until Close.
func Listen(address string, script Script) (*Hop, error) {
	if script.Name == "" {
		script.Name = "hop.example.test"
	}
	if script.Keywords == nil {
		script.Keywords = []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING", "DSN"}
	}
	if script.Mechanism == "" {
		script.Mechanism = "PLAIN LOGIN"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("nexthop: %w", err)
	}
	h := &Hop{
		Addr: listener.Addr().(*net.TCPAddr).AddrPort(), script: script, listener: listener,
		done: make(chan struct{}), changed: make(chan struct{}), open: make(map[*Session]net.Conn),
	}
	h.serving.Go(h.accept)
	return h, nil
}

// Close ends all sessions and waits for them.
func (h *Hop) Close() {
	h.mu.Lock()
	select {
	case <-h.done:
		h.mu.Unlock()
		return
	default:
	}
	close(h.done)
	h.listener.Close()
	for _, nc := range h.open {
		nc.Close()
	}
	h.mu.Unlock()
	h.serving.Wait()
}

func (h *Hop) accept() {
	for {
		nc, err := h.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client has left already
		}
		h.mu.Lock()
		select {
		case <-h.done:
			h.mu.Unlock()
			nc.Close()
			return
		default:
		}
		s := &Session{N: len(h.sessions) + 1, Remote: nc.RemoteAddr().String(), hop: h}
		h.sessions = append(h.sessions, s)
		h.open[s] = nc
		h.peak = max(h.peak, len(h.open))
		h.change()
		h.mu.Unlock()
		h.serving.Go(func() {
			s.serve(nc)
			h.mu.Lock()
			delete(h.open, s)
			s.ended = true
			h.change()
			h.mu.Unlock()
			nc.Close()
		})
	}
}

// change wakes those in Await; h.mu is held.
func (h *Hop) change() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Host is the address without its port.
func (h *Hop) Host() string { return h.Addr.Addr().String() }

// Sessions is how many connections there have been.
func (h *Hop) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}

// Open is how many connections there are.
func (h *Hop) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.open)
}

// OpenBy is how many there are of a client, by its name in EHLO.
func (h *Hop) OpenBy(helo string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for s := range h.open {
		if s.Helo == helo {
			n++
		}
	}
	return n
}

// Peak is how many connections were open at once, at most.
func (h *Hop) Peak() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peak
}

// Taken is how many messages were taken, those whose reply was lost included.
func (h *Hop) Taken() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken
}

// Messages are those that were taken, in order.
func (h *Hop) Messages() []*Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

// Copies counts the messages taken for an address, as RCPT gave it.
func (h *Hop) Copies(address string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, m := range h.messages {
		for _, r := range m.Rcpts {
			if r.Address == address && r.Taken {
				n++
			}
		}
	}
	return n
}

// Session is the nth connection, counted from 1.
func (h *Hop) Session(n int) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[n-1]
}

// Wait waits until n messages have been taken and gives them. It fails the test
// if that takes longer than a minute.
func (h *Hop) Wait(t testing.TB, n int) []*Message {
	t.Helper()
	if !h.Until(func() bool { return h.Taken() >= n }) {
		t.Fatalf("nexthop %s: %d messages taken, want %d", h.Addr, h.Taken(), n)
	}
	return h.Messages()
}

// Until waits for a condition on the Hop, at most a minute, and says if it came
// to hold. It is asked again whenever something happens here.
func (h *Hop) Until(holds func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		if holds() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
