package imapd

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
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/mailstore"
)

// A client that sends this many wrong commands in a row is closed.
const (
	maxBadGuest = 10
	maxBadUser  = 50
)

// session is one connection. Everything in it belongs to its goroutine, except
// conn.poke.
type session struct {
	srv    *Server
	conn   *conn     // below TLS
	tls    *tls.Conn // nil without TLS
	lex    *wire.Lexer
	enc    *wire.Encoder
	remote netip.Addr
	log    *slog.Logger
	start  time.Time

	state    states            // exactly one of guest, user, selected
	over     bool              // close after the tagged answer
	bad      int               // wrong commands in a row
	count    int               // commands
	enabled  map[imap.Cap]bool // by ENABLE
	failures int               // logins refused
	revoked  atomic.Bool       // set before a poke: the session must end
	atEnd    []func()

	account directory.Account // after login
	box     *mailbox          // in the selected state
}

// acct is the account's key in the mailstore.
func (s *session) acct() mailstore.AccountID { return mailstore.AccountID(s.account.ID) }

func newSession(srv *Server, c net.Conn, remote netip.Addr) *session {
	s := &session{srv: srv, remote: remote, state: guest, start: time.Now(),
		conn: &conn{Conn: c, write: srv.Timeouts.Write},
		log:  srv.Log.With("session", rand.Text()[:12], "remote", remote.String())}
	s.attach(s.conn)
	return s
}

// attach makes rw what commands are read from and answers go to.
func (s *session) attach(rw io.ReadWriter) {
	s.lex = wire.NewLexer(rw, wire.Guest)
	s.enc = wire.NewEncoder(rw)
	s.lex.Continue = func() error {
		s.enc.Raw("+ Ready for literal\r\n")
		return s.enc.Flush()
	}
	// A literal may come as slowly as 4 KiB a second.
	s.lex.Expect = func(size int64) {
		s.conn.extend(s.srv.Timeouts.Silence + time.Duration(size/(4<<10))*time.Second)
	}
}

// run is the session's life. The connection is closed when it returns.
func (s *session) run(ctx context.Context, implicitTLS bool) {
	events.IMAPOpen.Inc()
	defer events.IMAPOpen.Dec()
	defer s.conn.Close()
	defer s.end()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in an IMAP session", "event", "imap.panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.sayBye(imap.ResponseCodeServerBug, "Internal error")
		}
	}()
	if implicitTLS {
		if err := s.handshake(ctx); err != nil {
			return
		}
	}
	s.enc.Raw("* OK [" + s.capabilityText() + "] " + s.srv.Hostname + " Posthouse ready\r\n")
	err := s.enc.Flush()
	for err == nil && !s.over {
		err = s.next(ctx)
	}
	s.part(err)
}

// part says good-bye where that makes sense.
func (s *session) part(err error) {
	answer, ok := errors.AsType[*imap.Error](err)
	switch {
	case errors.Is(err, errTorn):
		s.log.Error("session cut", "event", "imap.error", "error", err)
	case err == nil || s.enc.Err() != nil:
	case ok:
		s.sayBye(answer.Code, answer.Text)
	case errors.Is(err, wire.ErrLimit):
		s.sayBye(imap.ResponseCodeTooBig, "Too much: "+strings.TrimPrefix(err.Error(), wire.ErrLimit.Error()+": "))
		s.linger()
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.sayBye("", "Timeout")
	}
}

func (s *session) sayBye(code imap.ResponseCode, text string) {
	s.enc.Raw("* BYE " + bracket(string(code)) + text + "\r\n")
	if err := s.enc.Flush(); err != nil {
		s.log.Debug("good-bye not sent", "event", "imap.bye", "error", err)
	}
}

func bracket(code string) string {
	if code == "" {
		return ""
	}
	return "[" + code + "] "
}

// linger reads on for a moment after the last word: to close with octets unread
// would reset the connection, and the client might never see why.
func (s *session) linger() {
	if s.tls != nil {
		if s.tls.CloseWrite() != nil {
			return
		}
	} else if c, ok := s.conn.Conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	s.conn.busy(time.Second, 2*time.Second)
	_, err := io.CopyN(io.Discard, s.conn, 1<<20)
	s.log.Debug("closed after a fault of the client", "event", "imap.linger", "error", err)
}

// next waits for one command and runs it. Its error ends the session.
func (s *session) next(ctx context.Context) error {
	if err := s.await(); err != nil {
		return err
	}
	total := s.srv.Timeouts.Command
	if s.state == guest {
		total = min(total, time.Minute)
	}
	s.conn.busy(s.srv.Timeouts.Silence, total)
	return s.command(ctx)
}

// await blocks until a command begins, or there is a reason to end the session.
func (s *session) await() error {
	limit := s.srv.Timeouts.Autologout
	if s.state == guest {
		limit = time.Until(s.start.Add(s.srv.Timeouts.Login))
	}
	for {
		if err := s.expelled(); err != nil {
			return err
		}
		s.conn.wait(limit)
		err := s.lex.Wait()
		if err == nil {
			return nil
		}
		if s.conn.takePoke() {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return bye("", "Autologout; idle for too long")
		}
		return err
	}
}

// expelled is the reason, if there is one, why the session must end now.
func (s *session) expelled() error {
	if s.srv.isClosing() {
		return bye(imap.ResponseCodeUnavailable, "Server is shutting down")
	}
	if s.revoked.Load() {
		return bye(imap.ResponseCodeExpired, "The password was changed or the account disabled")
	}
	return nil
}

// command reads, runs and answers one command.
func (s *session) command(ctx context.Context) error {
	s.lex.Begin()
	s.count++
	c := &command{lex: s.lex, metric: "unknown", begun: time.Now()}
	spec, err := s.header(c)
	if err == nil {
		err = spec.run(s, ctx, c)
	}
	if errors.Is(err, errClosed) {
		return err // not another octet
	}
	if lost := s.lex.Skip(); lost != nil {
		return lost
	}
	if err == nil && s.lex.Err() != nil {
		return s.lex.Err()
	}
	if s.box != nil && !s.over {
		if lost := s.sync(ctx, spec.noExpunge); lost != nil {
			return lost
		}
	}
	return s.answer(c, err)
}

// header reads the tag and the name, and finds the command.
func (s *session) header(c *command) (commandSpec, error) {
	tag, err := s.lex.Tag()
	if err != nil {
		return commandSpec{}, s.stranger(err)
	}
	if s.count == 1 && (otherProtocol[strings.ToUpper(tag)] || strings.HasPrefix(tag, "SSH-")) {
		return commandSpec{}, errClosed // TRUST row 15: not even a banner for it
	}
	c.tag = tag
	if err := s.lex.SP(); err != nil {
		return commandSpec{}, err
	}
	name, err := s.lex.Keyword()
	if err != nil {
		return commandSpec{}, err
	}
	if name == "UID" {
		if err := s.lex.SP(); err != nil {
			return commandSpec{}, err
		}
		if name, err = s.lex.Keyword(); err != nil {
			return commandSpec{}, err
		}
		c.uid = true
	}
	c.name = name
	if c.uid {
		name = "UID " + name
	}
	spec, ok := commands[name]
	if !ok {
		return spec, bad("Unknown command")
	}
	c.metric = name
	if spec.in&s.state == 0 {
		return spec, bad("%s is not allowed now", name)
	}
	if s.lex.Accept(' ') && s.lex.AtEnd() { // a space too many
		return spec, s.lex.Err()
	}
	return spec, s.lex.Err()
}

// otherProtocol are first words of those who mistake us for a web or mail server.
var otherProtocol = map[string]bool{"GET": true, "POST": true, "HEAD": true, "PUT": true, "OPTIONS": true,
	"CONNECT": true, "DELETE": true, "PATCH": true, "TRACE": true, "PRI": true, "HELO": true, "EHLO": true}

// stranger closes at once on whoever begins with something else than IMAP.
func (s *session) stranger(err error) error {
	if s.count == 1 && s.lex.Err() == nil && s.lex.Peek() < ' ' && !s.lex.AtEnd() {
		return errClosed
	}
	return err
}

// answer writes the tagged response. An error ends the session.
func (s *session) answer(c *command, err error) error {
	result := imap.StatusResponseTypeOK
	defer func() { c.count(result) }()
	if err == nil && c.answered {
		return nil
	}
	if err == nil {
		s.bad = 0
		text := c.text
		if text == "" {
			text = c.name + " completed"
		}
		s.tagged(c, imap.StatusResponseTypeOK, c.code, text)
		return s.enc.Flush()
	}
	if s.lex.Err() != nil || s.enc.Err() != nil {
		return err
	}
	answer, ours := refusal(err)
	result = answer.Type
	if ours {
		s.log.Error("command failed", "event", "imap.error", "command", c.name, "error", err)
	}
	if answer.Type == imap.StatusResponseTypeBye {
		return answer
	}
	s.tagged(c, answer.Type, string(answer.Code), answer.Text)
	if err := s.enc.Flush(); err != nil {
		return err
	}
	if answer.Type != imap.StatusResponseTypeBad {
		return nil
	}
	if s.bad++; s.bad >= maxBadUser || s.state == guest && s.bad >= maxBadGuest {
		return bye("", "Too many wrong commands")
	}
	return nil
}

func (s *session) tagged(c *command, status imap.StatusResponseType, code, text string) {
	tag := c.tag
	if tag == "" {
		tag = "*"
	}
	s.enc.Raw(tag + " " + string(status) + " " + bracket(code) + text + "\r\n")
}

// count notes the command in the metrics.
func (c *command) count(result imap.StatusResponseType) {
	events.IMAPCommands.WithLabelValues(c.metric, string(result)).Inc()
	if c.metric != "IDLE" {
		events.IMAPSeconds.WithLabelValues(c.metric).Observe(time.Since(c.begun).Seconds())
	}
}

// end gives back what the session holds.
func (s *session) end() {
	s.lex.Release()
	s.unselect()
	for _, f := range s.atEnd {
		f()
	}
	if s.state != guest {
		s.log.Info("logout", "event", "imap.logout", "commands", s.count, "duration", time.Since(s.start))
	}
}

// onEnd has f called when the session ends.
func (s *session) onEnd(f func()) { s.atEnd = append(s.atEnd, f) }

// handshake starts TLS, within the time for a command.
func (s *session) handshake(ctx context.Context) error {
	t := tls.Server(s.conn, s.srv.TLS)
	s.conn.busy(s.srv.Timeouts.Silence, min(s.srv.Timeouts.Command, 30*time.Second))
	if err := t.HandshakeContext(ctx); err != nil {
		s.log.Debug("handshake failed", "event", "imap.tls", "error", err)
		return err
	}
	s.tls = t
	s.attach(t)
	return nil
}
