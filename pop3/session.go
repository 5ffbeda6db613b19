package pop3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/mailstore"
)

// state is one of RFC 1939's, as a bit so that a command can name several.
type state uint8

const (
	authorization state = 1 << iota
	transaction
	update // QUIT was heard: nothing more is read
)

// Faults that end a session.
const (
	maxBadGuest = 10 // wrong commands in a row, before login
	maxBadUser  = 50
	maxFailures = 5 // logins refused
)

// reason is why a session ends, as the metric says it.
type reason string

const (
	quit         reason = "quit"
	gone         reason = "gone"
	timeout      reason = "timeout"
	refused      reason = "refused"
	revoked      reason = "revoked"
	shuttingDown reason = "shutdown"
	broken       reason = "error"
)

// session is one connection. Everything in it belongs to its goroutine, except
// expel.
type session struct {
	srv    *Server
	conn   *conn            // below TLS
	tls    *tls.Conn        // nil without TLS
	cert   *tls.Certificate // shown in the handshake
	*lines                  // over TLS when there is TLS
	remote netip.Addr
	log    *slog.Logger
	start  time.Time

	implicitTLS bool // the connection begins with a handshake

	state    state
	end      reason // set: the session is over
	expelled atomic.Pointer[reason]
	user     string // of USER, until PASS
	count    int    // commands
	bad      int    // wrong commands in a row
	failures int    // logins refused

	account  directory.Account
	drop     *mailstore.Maildrop // in the transaction state
	deleted  []bool              // by index
	left     int                 // messages not deleted
	leftSize int64
	watching sync.WaitGroup
	atEnd    []func()

	retrieved, removed int
	octets             int64
}

func newSession(srv *Server, c net.Conn, remote netip.Addr, implicitTLS bool) *session {
	s := &session{srv: srv, remote: remote, state: authorization, start: time.Now(), implicitTLS: implicitTLS,
		conn: &conn{Conn: c, write: srv.Timeouts.Write},
		log:  srv.Log.With("session", rand.Text()[:12], "remote", remote.String())}
	s.lines = newLines(s.conn, s.conn)
	return s
}

// expel ends the session as soon as it waits for a command. Any goroutine may call it.
func (s *session) expel(why reason) {
	if s.expelled.CompareAndSwap(nil, &why) {
		s.conn.poke()
	}
}

// Expel ends the session, deleting nothing, because the server drains.
func (s *session) Expel() { s.expel(shuttingDown) }

// Cut closes the connection under the session.
func (s *session) Cut() { s.conn.Close() }

// Run is the session's life. The connection is closed when it returns.
func (s *session) Run(ctx context.Context) {
	events.POP3Open.Inc()
	defer events.POP3Open.Dec()
	defer s.conn.Close()
	defer s.finish()
	defer func() {
		if p := recover(); p != nil {
			s.end = broken
			s.log.Error("panic in a POP3 session", "event", "pop3.panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	if s.implicitTLS && s.handshake(ctx) != nil {
		s.end = gone
		return
	}
	// No timestamp between angle brackets: it would offer APOP.
	s.ok("%s Posthouse POP3 ready", s.srv.Hostname)
	for s.end == "" {
		s.next(ctx)
	}
	if err := s.w.Flush(); err != nil {
		s.log.Debug("last words not sent", "event", "pop3.end", "error", err)
		return
	}
	if s.end == refused {
		s.linger()
	}
}

// linger reads on for a moment after the last word: to close with octets unread
// would reset the connection, and the client might never see why.
func (s *session) linger() {
	var c interface{ CloseWrite() error } = s.tls
	if s.tls == nil {
		var ok bool
		if c, ok = s.conn.Conn.(interface{ CloseWrite() error }); !ok {
			return
		}
	}
	if c.CloseWrite() != nil {
		return
	}
	s.conn.deadline(time.Now().Add(time.Second))
	_, err := io.CopyN(io.Discard, s.conn, 1<<20)
	s.log.Debug("closed after a fault of the client", "event", "pop3.linger", "error", err)
}

// finish gives back what the session held and says how it went.
func (s *session) finish() {
	for _, f := range s.atEnd {
		f()
	}
	s.watching.Wait()
	if s.drop != nil {
		if err := s.drop.Close(); err != nil {
			s.log.Warn("maildrop not closed in order", "event", "pop3.close", "error", err)
		}
	}
	events.POP3Sessions.WithLabelValues(string(s.end)).Inc()
	if s.account.ID != 0 {
		s.log.Info("POP3 session ended", "event", "pop3.end", "account", s.account.Address.String(), "end", string(s.end),
			"retrieved", s.retrieved, "removed", s.removed, "octets", s.octets, "duration", time.Since(s.start))
	}
}

// next waits for one command and runs it.
func (s *session) next(ctx context.Context) {
	idle, whole := time.Now().Add(s.srv.Timeouts.Autologout), s.srv.Timeouts.Line
	limit := maxLine
	if s.state == authorization {
		idle, whole = s.start.Add(s.srv.Timeouts.Login), min(whole, 20*time.Second)
		limit = maxSASL // AUTH may bring its first response along
	}
	if s.expelled.Load() != nil { // not even what was sent ahead
		s.lineFailed(os.ErrDeadlineExceeded)
		return
	}
	line, err := s.read(limit, idle, whole)
	if err != nil {
		s.lineFailed(err)
		return
	}
	if s.count++; s.count == 1 && otherProtocol(line) {
		s.end = refused
		s.w.Reset(io.Discard) // TRUST row 15: not a word to it
		return
	}
	s.command(ctx, string(line))
}

// lineFailed ends the session, or answers, when there is no line.
func (s *session) lineFailed(err error) {
	why := s.expelled.Load()
	switch {
	case why != nil:
		s.end = *why
		s.fail(expelTexts[*why])
	case errors.Is(err, errLineTooLong):
		s.wrong("Line too long")
	case errors.Is(err, errFlood):
		s.end = refused
		s.fail("Line too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.end = timeout // RFC 1939 §3: closed without a word, and nothing is removed
	default:
		s.end = gone
	}
}

var expelTexts = map[reason]string{
	revoked:      "[SYS/PERM] The password was changed or the account disabled; nothing was deleted",
	shuttingDown: "[SYS/TEMP] Server is shutting down; nothing was deleted",
	broken:       "[SYS/TEMP] The maildrop's lock was lost; nothing was deleted",
}

// otherProtocol recognises what is no POP3 from its first line: HTTP, a TLS
// handshake on the plain port, SSH.
func otherProtocol(line []byte) bool {
	if len(line) > 1 && line[0] == 0x16 && line[1] == 3 {
		return true
	}
	verb, rest, _ := strings.Cut(string(line[:min(len(line), 16)]), " ")
	switch verb {
	case "GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "CONNECT", "PATCH", "TRACE", "PRI":
		return rest != ""
	}
	return strings.HasPrefix(verb, "SSH-")
}

// commandSpec is one command: where it is allowed and what runs it. arg is what
// follows the first space, as it came.
type commandSpec struct {
	in  state
	run func(s *session, ctx context.Context, arg string)
}

var commands map[string]commandSpec

func init() { // STLS and CAPA name the table, too
	commands = map[string]commandSpec{
		"CAPA": {authorization | transaction, (*session).cmdCapa},
		"STLS": {authorization, (*session).cmdStls},
		"UTF8": {authorization, (*session).cmdUTF8},
		"USER": {authorization, (*session).cmdUser},
		"PASS": {authorization, (*session).cmdPass},
		"AUTH": {authorization, (*session).cmdAuth},
		"STAT": {transaction, (*session).cmdStat},
		"LIST": {transaction, (*session).cmdList},
		"UIDL": {transaction, (*session).cmdUidl},
		"RETR": {transaction, (*session).cmdRetr},
		"TOP":  {transaction, (*session).cmdTop},
		"DELE": {transaction, (*session).cmdDele},
		"RSET": {transaction, (*session).cmdRset},
		"NOOP": {transaction, (*session).cmdNoop},
		"QUIT": {authorization | transaction, (*session).cmdQuit},
	}
}

// command runs one line.
func (s *session) command(ctx context.Context, line string) {
	name, arg, _ := strings.Cut(line, " ")
	name = strings.ToUpper(name)
	spec, known := commands[name]
	switch {
	case strings.IndexByte(line, 0) >= 0:
		s.wrong("NUL in a command")
	case len(line)+2 > maxLine && name != "AUTH":
		s.wrong("Line too long")
	case !known:
		s.wrong("Unknown command")
	case spec.in&s.state == 0 && s.state == authorization:
		s.wrong("Log in first")
	case spec.in&s.state == 0:
		s.wrong("You are logged in already")
	default:
		before := s.bad
		if spec.run(s, ctx, arg); s.bad == before {
			s.bad = 0
		}
	}
}

func (s *session) ok(format string, args ...any) {
	fmt.Fprintf(s.w, "+OK "+format+"\r\n", args...) // the error comes back from Flush
}

// fail answers -ERR. text has no octets of the client's.
func (s *session) fail(text string) { fmt.Fprintf(s.w, "-ERR %s\r\n", text) }

// wrong answers a command that can not be, and closes on whoever sends nothing else.
func (s *session) wrong(text string) {
	s.fail(text)
	limit := maxBadUser
	if s.state == authorization {
		limit = maxBadGuest
	}
	if s.bad++; s.bad >= limit {
		s.end = refused
	}
}

// failed answers an error of ours or of the store's: RFC 3206 §4 tells the
// client whether to try again by itself.
func (s *session) failed(what string, err error) {
	code := "[SYS/TEMP]"
	if mail.ClassOf(err) == mail.Permanent {
		code = "[SYS/PERM]"
	}
	s.log.Error(what, "event", "pop3.failed", "account", s.account.Address.String(), "error", err)
	s.fail(code + " " + what)
}
