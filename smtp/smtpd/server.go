package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"posthouse/internal/door"
	"posthouse/internal/events"
)

// Server receives mail on any number of listeners.
type Server struct {
	cfg  Config
	dir  accounts
	tls  *door.TLS // nil without a certificate
	name names
	log  *slog.Logger
	ctx  context.Context // of all work for clients; cancelled when a drain runs out of time
	stop context.CancelFunc

	mu       sync.Mutex
	closing  bool
	ports    []*port
	conns    map[*conn]struct{}
	sessions sync.WaitGroup // one for each of conns
	welcome  sync.WaitGroup // connections not yet handed to go-smtp
}

// port is one listener and the go-smtp server behind it.
type port struct {
	ln     net.Listener
	engine *smtp.Server
	hand   *handoff
	done   chan struct{} // closed when engine.Serve has returned
}

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("smtpd: server closed")

// New makes a server. It starts nothing: Serve does.
func New(cfg Config) (*Server, error) {
	if cfg.Hostname == "" || cfg.Deliverer == nil {
		return nil, errors.New("smtpd: a hostname and a deliverer are needed")
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{cfg: cfg, log: cfg.Log, conns: make(map[*conn]struct{}),
		name: names{ask: cfg.Reverse, of: make(map[netip.Addr]*name)}}
	if cfg.TLS != nil {
		// A client that asks for HTTP by ALPN is refused in the handshake
		// (ALPACA); one that does not use ALPN is not concerned.
		s.tls = door.NewTLS(cfg.TLS, "smtp")
	}
	if cfg.Directory != nil {
		s.dir = siteAccounts{cfg.Directory}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections until Shutdown, then returns ErrClosed. It closes ln.
func (s *Server) Serve(ln net.Listener, mode Mode) error {
	defer ln.Close()
	if mode == SubmissionTLS && s.cfg.TLS == nil {
		return errors.New("smtpd: a TLS listener without a certificate")
	}
	p, err := s.open(ln, mode)
	if err != nil {
		return err
	}
	for delay := time.Duration(0); ; {
		sock, err := ln.Accept()
		if err == nil {
			delay = 0
			if !s.begin(func() { s.greet(sock, mode, p.hand) }) {
				sock.Close()
			}
			continue
		}
		if s.isClosing() {
			return ErrClosed
		}
		var ne net.Error
		if !errors.As(err, &ne) || errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("smtpd: accept: %w", err)
		}
		// Out of descriptors, most often: wait for sessions to end.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.log.Warn("accept failed", "event", "smtp.accept", "error", err.Error(), "retry", delay)
		select {
		case <-time.After(delay):
		case <-s.ctx.Done():
		}
	}
}

// begin runs f in a goroutine that Shutdown waits for, unless it has begun.
func (s *Server) begin(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.welcome.Go(f)
	return true
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) open(ln net.Listener, mode Mode) (*port, error) {
	p := &port{ln: ln, hand: newHandoff(ln.Addr()), done: make(chan struct{})}
	p.engine = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{c.Conn().(*conn)}, nil
	}))
	p.engine.Domain = s.cfg.Hostname
	p.engine.LMTP = mode == LMTP
	p.engine.AllowInsecureAuth = true // the guard decides: it has the TLS
	p.engine.MaxLineLength = 0        // the guard counts
	p.engine.ErrorLog = engineLog{s.log}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	s.ports = append(s.ports, p)
	go func() {
		defer close(p.done)
		if err := p.engine.Serve(p.hand); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Error("the SMTP engine stopped", "event", "smtp.engine", "error", err.Error())
		}
	}()
	return p, nil
}

// engineLog is go-smtp's log. Its panics concern us; that a client has gone it
// says, too, and the guard has said it better.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, v ...any) {
	level := slog.LevelDebug
	if strings.HasPrefix(format, "panic") {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "go-smtp: "+fmt.Sprintf(format, v...), "event", "smtp.engine")
}

func (l engineLog) Println(v ...any) { l.Printf("%s", fmt.Sprintln(v...)) }

// register counts c among those that Shutdown waits for.
func (s *Server) register(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[c] = struct{}{}
	s.sessions.Add(1)
	events.SMTPSessions.WithLabelValues(c.mode.String()).Inc()
	events.SMTPOpen.Inc()
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[c]; ok {
		delete(s.conns, c)
		s.sessions.Done()
		events.SMTPOpen.Dec()
	}
}

// Shutdown closes the listeners, answers 421 to sessions that wait for a
// command and lets a message in flight end. When ctx ends first, connections
// are cut and its error returned. No goroutine of the server is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	already := s.closing
	s.closing = true
	ports := s.ports
	for _, p := range ports {
		p.ln.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	if already {
		return ErrClosed
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.welcome.Wait()
		s.sessions.Wait()
		for _, p := range ports { // idle now: go-smtp must not accept while it waits
			if err := p.engine.Shutdown(context.Background()); err != nil {
				s.log.Error("close the SMTP engine", "event", "smtp.engine", "error", err.Error())
			}
			<-p.done
		}
	}()
	var late error
	select {
	case <-ended:
	case <-ctx.Done():
		late = ctx.Err()
		s.cut()
		<-ended
	}
	s.stop()
	return late
}

// cut ends what a drain did not end in time.
func (s *Server) cut() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.sever()
	}
}

// handoff is the net.Listener from which go-smtp accepts the guards.
type handoff struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// give hands c over, unless the engine is closed.
func (h *handoff) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }

func tlsState(c *tls.Conn) *tls.ConnectionState {
	state := c.ConnectionState()
	return &state
}
