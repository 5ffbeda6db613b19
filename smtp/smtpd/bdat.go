package smtpd

import (
	"fmt"
	"io"
	"strings"
)

// BDAT (RFC 3030) reaches go-smtp as DATA, its octets dot-stuffed by the guard.
// go-smtp has a BDAT of its own, which runs Session.Data in a second goroutine;
// after a RSET that goroutine may still report, and then it is the next message
// that gets the result.
//
// Between two chunks go-smtp waits inside DATA for more; a command that ends
// the transfer (RSET, EHLO, QUIT) ends that DATA first, and then follows.

// chunks is the state of one transfer.
type chunks struct {
	left  int64 // octets of the current chunk still to come
	total int64 // octets announced, of all chunks so far
	last  bool  // the current chunk is the last
	line  int   // where go-smtp's reader stands in a line: see stuff
}

// bdat is the command. The octets follow whatever the answer is.
func (c *conn) bdat(arg string) error {
	digits, last, _ := strings.Cut(arg, " ")
	n, err := parseSize(digits)
	if err != nil || last != "" && !strings.EqualFold(last, "LAST") {
		// How many octets follow is anybody's guess.
		c.reject("bdat", "501", "5.5.4 BDAT needs a size, and LAST or nothing")
		return nil
	}
	limit := c.srv.cfg.Limits.Message
	switch {
	case n > 2*limit:
		c.reject("bdat", "552", "5.3.4 "+tooLarge(limit))
		return nil
	case !c.readyForBody():
		if err := c.discard(n); err != nil {
			return c.lostBody(err)
		}
		return nil
	case c.chunks.total+n > limit: // it ends the transaction, RFC 3030 §2
		if err := c.discard(n); err != nil {
			return c.lostBody(err)
		}
		messageResult(c.mode, 552)
		c.pass("RSET", "RSET")
		c.instead = "552 5.3.4 " + tooLarge(limit)
		return nil
	}
	first := c.stage != stageChunks
	c.stage = stageChunks
	c.chunks.left, c.chunks.last = n, last != ""
	c.chunks.total += n
	c.phase = phaseChunk
	if first {
		c.startBody()
		c.verb, c.feed = "BDAT", []byte("DATA\r\n")
	}
	return nil
}

func tooLarge(limit int64) string { return fmt.Sprintf("Message of more than %d octets", limit) }

// nextChunk feeds go-smtp octets of a chunk, and answers it at its end.
func (c *conn) nextChunk() error {
	k := &c.chunks
	if k.left == 0 {
		c.phase = phaseCommand
		if k.last {
			c.endChunks()
			return nil
		}
		c.reply(250, "2.0.0", "Chunk taken")
		return nil
	}
	if _, err := c.in.Peek(1); err != nil {
		return c.lostBody(err)
	}
	n := int(min(int64(c.in.Buffered()), k.left))
	part, _ := c.in.Peek(n)
	c.feed = k.stuff(make([]byte, 0, n+16), part)
	if _, err := c.in.Discard(n); err != nil {
		return c.lostBody(err)
	}
	k.left -= int64(n)
	return nil
}

// Where go-smtp's reader stands in a line. After CR CR it does not take LF for
// a line end.
const (
	lineStart = iota
	lineText
	lineCR
)

// stuff appends p to b with a dot before each one that begins a line.
func (k *chunks) stuff(b, p []byte) []byte {
	for _, ch := range p {
		if ch == '.' && k.line == lineStart {
			b = append(b, '.')
		}
		b = append(b, ch)
		switch {
		case ch == '\r' && k.line != lineCR:
			k.line = lineCR
		case ch == '\n' && k.line == lineCR:
			k.line = lineStart
		default:
			k.line = lineText
		}
	}
	return b
}

// endChunks feeds go-smtp the end of its DATA. A body that does not end in CRLF
// gets one for that; tx.extra tells how much of it is not the client's.
func (c *conn) endChunks() {
	end := [...]string{lineStart: "", lineText: "\r\n", lineCR: "\n"}[c.chunks.line]
	c.tx.extra = len(end)
	c.feed = []byte(end + ".\r\n")
}

// abandon ends go-smtp's DATA in the middle of a transfer; line is what comes
// next, as verb.
func (c *conn) abandon(verb, line string) {
	c.tx.abandoned = true
	c.endChunks()
	c.verb = abandoned
	c.then = func() { c.pass(verb, line) }
}

// abandoned is the "verb" whose replies nobody hears.
const abandoned = "-"

// discard reads the octets of a chunk that is refused.
func (c *conn) discard(n int64) error {
	before := c.deadline
	c.startBody()
	c.phase = phaseChunk
	defer func() { c.phase, c.deadline = phaseCommand, before }()
	_, err := io.CopyN(io.Discard, c.in, n)
	return err
}

// shorten reads r without its last extra octets; extra is asked for at the end,
// and at most 2.
type shorten struct {
	r     io.Reader
	extra func() int
	buf   [4096]byte
	held  []byte // of buf: read, not yet given
	ended bool
}

func (s *shorten) Read(p []byte) (int, error) {
	for !s.ended && len(s.held) <= 2 {
		n := copy(s.buf[:], s.held)
		m, err := s.r.Read(s.buf[n:])
		s.held = s.buf[:n+m]
		if err == io.EOF {
			s.ended = true
			s.held = s.held[:len(s.held)-s.extra()]
		} else if err != nil {
			return 0, err
		}
	}
	ready := s.held
	if !s.ended {
		ready = ready[:len(ready)-2]
	} else if len(ready) == 0 {
		return 0, io.EOF
	}
	n := copy(p, ready)
	s.held = s.held[n:]
	return n, nil
}
