package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// body follows a DATA: where it ends, and whether everybody would agree.
//
// The end is CRLF.CRLF and nothing else (RFC 5321 §4.1.1.4). A body with a bare
// CR or LF is where servers differ (CVE-2023-51764 and its family): from there
// on nothing is passed to go-smtp, the message is refused, and the connection
// is closed at the first thing that any server might take for the end, so that
// nothing behind it can be read as commands.
type body struct {
	mid     bool // the last piece did not end its line
	bad     bool // a bare CR or LF was seen
	badLine int  // where a lax server would stand: see scan
}

// stages are buffers in which lines are gathered, so that a body is checked,
// hashed and spooled in pieces of some kilobytes.
var stages = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// readBody copies the body of a DATA to t, without the dots that were stuffed.
// It does not come by way of go-smtp, which looks at each octet for itself; the
// line that ends the body is left for it to read.
func (c *conn) readBody(t io.Writer) error {
	stage := stages.Get().(*[16 << 10]byte)
	defer stages.Put(stage)
	n := 0
	for c.phase == phaseData {
		if c.dead.Load() {
			return errSevered
		}
		fresh := !c.body.mid
		if err := c.nextData(); err != nil {
			return err
		}
		if c.phase != phaseData {
			break
		}
		part := c.feed
		c.feed = nil
		if fresh && len(part) > 0 && part[0] == '.' { // RFC 5321 §4.5.2
			part = part[1:]
		}
		for len(part) > 0 {
			k := copy(stage[n:], part)
			part = part[k:]
			if n += k; n < len(stage) {
				continue
			}
			if _, err := t.Write(stage[:n]); err != nil {
				return err
			}
			n = 0
		}
	}
	_, err := t.Write(stage[:n])
	return err
}

// startBody sets the total time for a body.
func (c *conn) startBody() { c.deadline = time.Now().Add(c.srv.cfg.Limits.DataTotal) }

// nextData sets feed to a line of the body, or a piece of a long one.
func (c *conn) nextData() error {
	b := &c.body
	if b.bad {
		return c.skipBad()
	}
	part, err := c.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
		if part[len(part)-1] == '\r' { // its LF may follow
			part = part[:len(part)-1]
			err = c.in.UnreadByte()
		}
	}
	if err != nil {
		return c.lostBody(err)
	}
	if !cleanLine(part) {
		b.bad = true
		c.tx.poisoned = true
		if b.mid {
			b.badLine = inLine
		}
		return c.endBad(b.scan(part))
	}
	if !b.mid && string(part) == ".\r\n" {
		c.phase = phaseCommand
	}
	b.mid = part[len(part)-1] != '\n'
	c.feed = part
	return nil
}

// cleanLine reports whether p ends with CRLF, or is a piece of a longer line, and
// holds no other CR or LF. LF stands only at the end, as p was read up to it.
func cleanLine(p []byte) bool {
	i := bytes.IndexByte(p, '\r')
	if p[len(p)-1] == '\n' {
		return i >= 0 && i == len(p)-2
	}
	return i < 0
}

// Where the most lax of servers would stand in a line.
const (
	atStart  = iota // a line end of any kind was last
	afterDot        // then a dot
	inLine
)

// scan reports whether anybody could take something in p for the end of data.
func (b *body) scan(p []byte) bool {
	for _, ch := range p {
		switch {
		case ch == '\r' || ch == '\n':
			if b.badLine == afterDot {
				return true
			}
			b.badLine = atStart
		case ch == '.' && b.badLine == atStart:
			b.badLine = afterDot
		case ch != 0: // a NUL is nothing to some
			b.badLine = inLine
		}
	}
	return false
}

// skipBad reads on in a body that will be refused.
func (c *conn) skipBad() error {
	if _, err := c.in.Peek(1); err != nil {
		return c.lostBody(err)
	}
	part, _ := c.in.Peek(c.in.Buffered())
	ended := c.body.scan(part)
	if _, err := c.in.Discard(len(part)); err != nil {
		return c.lostBody(err)
	}
	return c.endBad(ended)
}

// endBad ends a refused body, for go-smtp too.
func (c *conn) endBad(ended bool) error {
	if ended {
		c.ending.Store(true)
		c.phase = phaseCommand
		c.feed = []byte("\r\n.\r\n")
	}
	return nil
}

// lostBody ends the session when a body does not come whole: there is no way
// back to commands.
func (c *conn) lostBody(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.dead.Load() {
		c.out.WriteString("421 4.4.2 Timeout in the message, closing the connection\r\n")
		if ferr := c.flush(); ferr != nil {
			c.log.Debug("last reply not sent", "event", "smtp.close", "error", ferr.Error())
		}
	}
	c.log.Info("message broken off", "event", "smtp.lost", "error", err.Error())
	c.ending.Store(true)
	c.dead.Store(true)
	return io.ErrUnexpectedEOF
}
