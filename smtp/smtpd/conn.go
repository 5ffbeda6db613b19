package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/events"
)

// phase is what the client's next octets are.
type phase uint8

const (
	phaseCommand phase = iota
	phaseAuth          // a line of a SASL exchange, after 334
	phaseData          // a body up to CRLF.CRLF, after 354
	phaseChunk         // the octets of a BDAT
)

// stage is how far the client has come. Transitions: EHLO leads to ready from
// everywhere; MAIL, RCPT and BDAT one step on; RSET, the end of a message and
// STARTTLS (which forgets the EHLO, RFC 3207 §4.2) back.
type stage uint8

const (
	stageConnected stage = iota // EHLO is due
	stageReady                  // MAIL may come
	stageMail                   // RCPT may come
	stageRcpt                   // DATA or BDAT may come
	stageChunks                 // only BDAT goes on
)

// conn is the guard of one connection: a net.Conn to go-smtp, which calls Read,
// Write and Close from one goroutine. (In LMTP a second one reads the body,
// while the first waits for its result.) Only a drain comes from outside; what
// it touches is under mu or atomic.
type conn struct {
	srv     *Server
	mode    Mode
	id      string // of the session, in the log
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	release func() // gives the admission back
	began   time.Time

	in  *bufio.Reader // reads receive()
	out *bufio.Writer // writes sock

	client directory.Client
	name   *name // by the DNS; nil: not asked for
	helo   string
	esmtp  bool
	phase  phase
	stage  stage

	feed     []byte // vetted octets that go-smtp has yet to read
	verb     string // the command that go-smtp is answering
	line     []byte // the reply line that go-smtp is writing
	instead  string // replaces go-smtp's next reply
	deadline time.Time
	body     body
	chunks   chunks
	then     func() // what to do before the next command

	account  directory.Account // ID 0: nobody logged in
	farewell func()            // gives the account's admission and watch back
	revoked  <-chan struct{}   // closed when the login is no longer good
	failures int               // of AUTH
	errs     int               // 5xx to commands
	refused  int               // recipients
	junk     int               // idle commands since the last message
	told     int               // events recorded

	tx     *transaction // nil: none
	settle []func(bool) // of the messages whose 250 is not known to have been heard
	early  bool         // octets of the next command were there before that 250

	mu       sync.Mutex
	sock     net.Conn // TCP, Unix or TLS
	waiting  bool     // for a command: a drain may interrupt it
	draining bool

	ending atomic.Bool // close after the replies so far
	dead   atomic.Bool // close, and send nothing more
	close  sync.Once
}

var errSevered = errors.New("smtpd: connection ended by the server")

// Read gives go-smtp one vetted command line, one SASL line, or a piece of a
// body. io.EOF ends the session.
func (c *conn) Read(p []byte) (n int, err error) {
	defer c.contain(&err)
	for len(c.feed) == 0 {
		if c.dead.Load() {
			return 0, errSevered
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, c.feed)
	c.feed = c.feed[n:]
	return n, nil
}

// next reads from the client until there is something for go-smtp; replies of
// the guard's own leave feed empty.
func (c *conn) next() error {
	if then := c.then; then != nil && c.phase == phaseCommand {
		c.then = nil
		then()
		return nil
	}
	switch c.phase {
	case phaseData:
		return c.nextData()
	case phaseChunk:
		return c.nextChunk()
	case phaseAuth:
		return c.nextAuth()
	}
	return c.nextCommand()
}

// receive is what c.in reads: within the deadline of a line, or, in a body,
// within that of the next octets and that of the whole.
func (c *conn) receive(p []byte) (int, error) {
	if c.phase == phaseData || c.phase == phaseChunk {
		if err := c.flush(); err != nil {
			return 0, err
		}
		until := time.Now().Add(c.srv.cfg.Limits.DataIdle)
		if c.deadline.Before(until) {
			until = c.deadline
		}
		if err := c.sock.SetReadDeadline(until); err != nil {
			return 0, err
		}
	}
	return c.sock.Read(p)
}

// receiver makes receive an io.Reader.
type receiver struct{ c *conn }

func (r receiver) Read(p []byte) (int, error) { return r.c.receive(p) }

// await allows one line its time, or none when the server is shutting down.
func (c *conn) await() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return os.ErrDeadlineExceeded
	}
	c.waiting = true
	return c.sock.SetReadDeadline(time.Now().Add(c.srv.cfg.Limits.Command))
}

func (c *conn) arrived() {
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
}

// drain makes the session end with 421 at its next command.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.waiting {
		c.sock.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed already
	}
}

// sever cuts the connection; a read or write in progress fails.
func (c *conn) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead.Store(true)
	c.sock.SetDeadline(time.Unix(1, 0))
}

const maxLine = 12288 // octets, RFC 4954 §4 (12)

var errLineTooLong = errors.New("line too long")

// readLine reads a line of at most maxLine octets, without its end. A longer
// one is read over and gives errLineTooLong, one beyond 1 MiB io.EOF.
//
// A bare LF ends a line here, as with every other server: people type into
// netcat, and no command is dangerous that might also have been two. In a body
// it does not.
func (c *conn) readLine() (string, error) {
	if pending, _ := c.in.Peek(c.in.Buffered()); bytes.IndexByte(pending, '\n') < 0 {
		if err := c.flush(); err != nil {
			return "", err
		}
		if err := c.await(); err != nil {
			return "", err
		}
		defer c.arrived()
	}
	var line []byte
	for total := 0; ; {
		part, err := c.in.ReadSlice('\n')
		if total += len(part); total > 1<<20 {
			return "", io.EOF
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if total <= maxLine+2 {
			line = append(line, part...)
		}
		if err != nil {
			continue
		}
		if total > maxLine+2 {
			return "", errLineTooLong
		}
		line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		return string(line), nil
	}
}

// lost ends the session because reading a command failed: it says 421 where
// there may be somebody to hear it.
func (c *conn) lost(err error) error {
	switch {
	case c.isDraining():
		c.reply(421, "4.3.2", c.srv.cfg.Hostname+" is shutting down, come back soon")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.reply(421, "4.4.2", "Timeout, closing the connection")
	}
	return c.over()
}

// over is how a session ends for go-smtp. Inside a BDAT transfer it is in the
// middle of DATA, and would answer that.
func (c *conn) over() error {
	if c.stage == stageChunks {
		if err := c.flush(); err != nil {
			c.log.Debug("last reply not sent", "event", "smtp.close", "error", err.Error())
		}
		c.ending.Store(true)
		c.dead.Store(true)
		return errSevered
	}
	return io.EOF
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// Close is called by go-smtp when the session is over.
func (c *conn) Close() error {
	var err error
	c.close.Do(func() {
		if ferr := c.flush(); ferr != nil {
			c.log.Debug("last reply not sent", "event", "smtp.close", "error", ferr.Error())
		}
		c.stop()
		c.settled(false)
		if c.farewell != nil {
			c.farewell()
		}
		err = c.hangUp()
		if c.release != nil {
			c.release()
		}
		c.log.Debug("session ended", "event", "smtp.end", "duration", time.Since(c.began))
		c.srv.forget(c)
	})
	return err
}

// hangUp closes the socket. What the client has sent meanwhile is read for a
// moment: closing a socket with unread octets resets the connection, and the
// client might never see the last reply.
func (c *conn) hangUp() error {
	c.mu.Lock()
	sock := c.sock
	c.mu.Unlock()
	if half, ok := sock.(interface{ CloseWrite() error }); ok && c.ending.Load() && half.CloseWrite() == nil {
		sock.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		io.CopyN(io.Discard, sock, 1<<20) // nothing depends on what it reads
	}
	return sock.Close()
}

func (c *conn) flush() error {
	if c.dead.Load() {
		return errSevered
	}
	if c.out.Buffered() == 0 {
		return nil
	}
	if err := c.sock.SetWriteDeadline(time.Now().Add(c.srv.cfg.Limits.Command)); err != nil {
		return err
	}
	return c.out.Flush()
}

// settled tells the Deliverer whether the client heard of its messages.
func (c *conn) settled(heard bool) {
	for _, settle := range c.settle {
		settle(heard)
	}
	c.settle = nil
}

func (c *conn) reject(reason, code string, text string) {
	events.SMTPRejected.WithLabelValues(reason).Inc()
	c.log.Warn("connection refused", "event", "smtp.reject", "reason", reason, "code", code)
	c.ending.Store(true)
	c.out.WriteString(code + " " + text + "\r\n") // an error stays in the writer and comes back from flush
}

// The rest of net.Conn. go-smtp is given no timeouts, and sets no deadlines.
func (c *conn) LocalAddr() net.Addr              { return c.sock.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr             { return c.sock.RemoteAddr() }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
