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
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/mailstore"
)

// session is one connection. Everything in it belongs to its goroutine, except
// conn.poke.
type session struct {
	srv    *Server
	conn   *conn            // below TLS
	tls    *tls.Conn        // nil without TLS
	cert   *tls.Certificate // shown in the handshake
	lex    *wire.Lexer
	enc    *wire.Encoder
	remote netip.Addr
	log    *slog.Logger
	start  time.Time

	deflate *deflate // after COMPRESS

	guestLog *slog.Logger // log as it was before login

	implicitTLS bool // the connection begins with a handshake

	state    states            // exactly one of guest, user, selected
	over     bool              // close after the tagged answer
	bad      int               // wrong commands in a row
	count    int               // commands
	enabled  map[imap.Cap]bool // by ENABLE
	failures int               // logins refused
	program  string            // what the client calls itself by ID
	wrote    string            // the last mailbox name of a command, as the client wrote it
	named    []string          // the mailbox names of a command, decoded
	placed   mailstore.UIDSet  // what a command put into the selected mailbox
	revoked  atomic.Bool       // set before a poke: the session must end
	atEnd    []func()
	implied  []string // names that CREATE subscribed by itself, the latest maxImplied

	account directory.Account // after login
	box     *mailbox          // in the selected state
	notify  *notification     // nil unless NOTIFY was given
}

// acct is the account's key in the mailstore.
func (s *session) acct() mailstore.AccountID { return mailstore.AccountID(s.account.ID) }

func newSession(srv *Server, c net.Conn, remote netip.Addr, implicitTLS bool) *session {
	s := &session{srv: srv, remote: remote, state: guest, start: time.Now(), implicitTLS: implicitTLS,
		conn: &conn{Conn: c, write: srv.Timeouts.Write},
		log:  srv.Log.With("session", rand.Text()[:12], "remote", remote.String())}
	s.guestLog = s.log
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

// Expel ends the session when it waits for a command: expelled knows why.
func (s *session) Expel() { s.conn.poke() }

// Cut closes the connection under the session.
func (s *session) Cut() { s.conn.Close() }

// Run is the session's life. The connection is closed when it returns.
func (s *session) Run(ctx context.Context) {
	events.IMAPOpen.Inc()
	defer events.IMAPOpen.Dec()
	defer s.hangUp()
	defer s.end()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in an IMAP session", "event", "imap.panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.sayBye(imap.ResponseCodeServerBug, "Internal error")
		}
	}()
	if s.implicitTLS {
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

// next waits for one command and runs it. Its error ends the session.
func (s *session) next(ctx context.Context) error {
	if err := s.await(ctx); err != nil {
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
func (s *session) await(ctx context.Context) error {
	limit := s.srv.Timeouts.Autologout
	if s.state == guest {
		limit = time.Until(s.start.Add(s.srv.Timeouts.Login))
	}
	for {
		if err := s.between(ctx); err != nil {
			return err
		}
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
	if s.srv.door.Closing() {
		return bye(imap.ResponseCodeUnavailable, "Server is shutting down")
	}
	if s.revoked.Load() {
		return bye(imap.ResponseCodeExpired, "The password was changed or the account disabled")
	}
	return nil
}

// end gives back what the session holds.
func (s *session) end() {
	s.lex.Release()
	s.deflate.close()
	s.unselect()
	s.dropNotify()
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
	ctx, cancel := context.WithTimeout(ctx, min(s.srv.Timeouts.Command, 30*time.Second))
	defer cancel()
	s.conn.wait(s.srv.Timeouts.Silence) // a drain need not wait for a peer that never ends its half
	t, cert, err := s.srv.tls.Handshake(ctx, s.conn)
	if err != nil {
		s.log.Debug("handshake failed", "event", "imap.tls", "error", err)
		return err
	}
	s.tls, s.cert = t, cert
	s.attach(t)
	return nil
}
