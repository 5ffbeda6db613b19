package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"posthouse/internal/mail"
)

// Session is an open connection to a next hop, ready for mail. It is used by
// one goroutine at a time.
type Session struct {
	r     *Relay
	route *Route
	host  string
	addr  netip.AddrPort
	tls   string
	helo  string // what the host calls itself

	raw   net.Conn // below TLS: deadlines are set here
	nc    net.Conn
	br    *bufio.Reader
	bw    *bufio.Writer
	reply reply // the last one
	ext   extensions
	state *tls.ConnectionState
	ctx   context.Context // of the call that is under way

	verified   bool // we know who it is
	injected   bool // octets in clear came behind the reply to STARTTLS
	requireTLS bool // each MAIL asks for it
	usable     bool // commands and replies are in step
	dirty      bool // a transaction was left open: RSET comes first
	sent       int  // transactions
	equals     bool // other hosts have the same preference
	idle       time.Time
}

// sentToOne is how many messages one of several hosts of the same preference
// gets down one connection: the load is to be spread (RFC 5321 §5.1).
const sentToOne = 5

func newSession(r *Relay, route *Route, t *target, nc net.Conn) *Session {
	return &Session{
		r: r, route: route, host: t.name, raw: nc, nc: nc, usable: true, equals: t.equals, ctx: context.Background(),
		br: bufio.NewReaderSize(nc, maxReplyLine+2), bw: bufio.NewWriterSize(nc, blockSize),
	}
}

// secure goes on over TLS.
func (s *Session) secure(conn net.Conn, state *tls.ConnectionState) {
	s.nc, s.state = conn, state
	s.br.Reset(conn)
	s.bw.Reset(conn)
}

// Peer says who is at the other end: the name and address of the host, and how
// the connection is secured ("TLS 1.3, verified by DANE"; empty: in clear).
func (s *Session) Peer() (host, addr, tls string) {
	if s.addr.IsValid() {
		addr = s.addr.String()
	}
	return s.host, addr, s.tls
}

// watch makes the end of ctx that of whatever the connection waits for.
func (s *Session) watch(ctx context.Context) (stop func() bool) {
	s.ctx = ctx
	return context.AfterFunc(ctx, s.wake)
}

// wake ends reads and writes at once. Its error is that of a closed connection,
// whose users learn so themselves.
func (s *Session) wake() { _ = s.raw.SetDeadline(time.Unix(1, 0)) }

// deadline bounds all reads and writes up to the next one.
func (s *Session) deadline(d time.Duration) {
	_ = s.raw.SetDeadline(time.Now().Add(d)) // as in wake
	if s.ctx.Err() != nil {                  // it may have ended just before
		s.wake()
	}
}

// read waits for a reply. It fails when none comes that can be one.
func (s *Session) read(stage Stage, timeout time.Duration) *Failure {
	s.deadline(timeout)
	if err := s.bw.Flush(); err != nil {
		// The host may have said why it hung up.
		if readReply(s.br, &s.reply) == nil && s.reply.code >= 400 {
			s.usable = false
			return nil
		}
		return s.lost(stage, timeout, err)
	}
	if err := readReply(s.br, &s.reply); err != nil {
		return s.lost(stage, timeout, err)
	}
	if s.reply.code == 421 { // RFC 5321 §3.8: it hangs up
		s.usable = false
	}
	return nil
}

// command sends one line and waits for the reply.
func (s *Session) command(stage Stage, timeout time.Duration, line ...string) *Failure {
	s.line(line...)
	return s.read(stage, timeout)
}

// line puts a command into the buffer; an error shows when it is flushed.
func (s *Session) line(parts ...string) {
	for _, p := range parts {
		_, _ = s.bw.WriteString(p)
	}
	_, _ = s.bw.WriteString("\r\n")
}

// lost is the end of a connection on which no reply came.
func (s *Session) lost(stage Stage, waited time.Duration, err error) *Failure {
	s.usable = false
	enhanced := mail.Enhanced{4, 4, 2}
	if errors.Is(err, errReply) {
		enhanced = mail.Enhanced{4, 5, 0}
	}
	if cause := s.ctx.Err(); cause != nil {
		err = cause
	}
	f := fail(Deferred, stage, enhanced, fmt.Sprintf("%s: %s", stage, explain(err, waited)), err)
	s.sign(&f.Result)
	return f
}

// refused makes a Failure of the last reply, which is none that we want.
func (s *Session) refused(stage Stage) *Failure {
	f := &Failure{Result: s.result(Deferred, stage)}
	switch s.reply.class() {
	case 5:
		f.Outcome = Failed
	case 4:
	default: // a yes to another question
		s.usable = false
		f.Enhanced = mail.Enhanced{4, 5, 0}
		f.Text = printable(fmt.Sprintf("unexpected reply to %s: %s", stage, f.Text))
	}
	return f
}

// result is an outcome with the words of the last reply.
func (s *Session) result(outcome Outcome, stage Stage) Result {
	res := Result{Outcome: outcome, Stage: stage, Code: s.reply.code, Enhanced: s.reply.status(), Text: s.reply.line()}
	s.sign(&res)
	return res
}

// sign says in a result with whom we spoke.
func (s *Session) sign(res *Result) {
	res.Host, res.Addr, res.TLS, res.DSN, res.At = s.host, s.addr, s.tls, s.ext.dsn, time.Now()
}

// greeting waits for the banner.
func (s *Session) greeting() *Failure {
	if f := s.read(StageBanner, s.r.Timeouts.Banner); f != nil {
		return f
	}
	if s.reply.code != 220 {
		f := s.refused(StageBanner)
		f.Refused = true
		return f
	}
	s.helo, _, _ = strings.Cut(s.reply.line(), " ")
	return nil
}

// hello introduces us, by HELO where EHLO is not known.
func (s *Session) hello() *Failure {
	name := s.route.HELO
	if name == "" {
		name = s.r.Hostname
	}
	verb := "EHLO "
	if s.route.LMTP {
		verb = "LHLO "
	}
	if f := s.command(StageEHLO, s.r.Timeouts.Hello, verb, name); f != nil {
		return f
	}
	if s.reply.class() == 5 && !s.route.LMTP && s.usable {
		if f := s.command(StageEHLO, s.r.Timeouts.Hello, "HELO ", name); f != nil {
			return f
		}
		if s.reply.code == 250 {
			s.ext = extensions{}
			return nil
		}
	}
	if s.reply.code != 250 {
		f := s.refused(StageEHLO)
		f.Refused = true
		return f
	}
	s.ext = parseExtensions(s.reply.text)
	return nil
}

// Alive reports whether another message may follow. A connection that was idle
// is looked at: its host may have closed it.
func (s *Session) Alive() bool {
	if !s.usable || s.ext.mailMax > 0 && s.sent >= s.ext.mailMax || s.equals && s.sent >= sentToOne {
		return false
	}
	if time.Since(s.idle) < 100*time.Millisecond {
		return true
	}
	s.ctx = context.Background()
	s.deadline(time.Millisecond)
	_, err := s.br.Peek(1)
	var timeout net.Error
	// Whatever the host says unasked, it is not an invitation.
	s.usable = errors.As(err, &timeout) && timeout.Timeout()
	return s.usable
}

// Close ends the session with QUIT, whose reply is not waited for.
func (s *Session) Close() {
	if s.usable {
		s.ctx = context.Background()
		s.quit()
	}
	s.hangUp()
}

// quit says goodbye; nothing depends on its being heard.
func (s *Session) quit() {
	s.deadline(time.Second)
	s.line("QUIT")
	_ = s.bw.Flush()
}

// hangUp closes the connection. Everything that matters has been said.
func (s *Session) hangUp() {
	s.usable = false
	_ = s.raw.SetDeadline(time.Now().Add(time.Second))
	_ = s.nc.Close()
}
