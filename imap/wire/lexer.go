package wire

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// bufSize is the read buffer of a connection that is sending a command. While
// it sends nothing its lexer holds only waitSize octets.
const (
	bufSize  = 4 << 10
	waitSize = 64
	tailSize = 32 // consumed octets kept to recognise "{n+}" at the end of a line
)

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// Lexer reads one client's commands. It is used by one goroutine at a time.
//
// Its errors are of two kinds: a [SyntaxError] (the command is wrong, the stream
// is fine), and everything else, which is sticky and ends the connection.
type Lexer struct {
	Limits Limits
	// Continue sends the command continuation request that a synchronizing
	// literal waits for, and flushes it.
	Continue func() error
	// Expect, if set, hears the size of each literal before it is read, so that
	// the session can extend its deadline.
	Expect func(size int64)

	src   io.Reader
	buf   *[bufSize]byte // nil while waiting
	small [waitSize]byte
	r, w  int // buf[r:w] is unread
	line  int // buf[line:r] is the consumed part of the line, or its end

	used    int   // octets of this command, beside literals
	strings int64 // octets of literal arguments of this command
	depth   int   // of parentheses
	ended   bool  // the command's last line is consumed, or the client waits for us
	literal *Literal
	err     error
}

// NewLexer reads from src.
func NewLexer(src io.Reader, limits Limits) *Lexer {
	return &Lexer{src: src, Limits: limits, ended: true}
}

// Wait blocks until the first octet of a command is there, and gives the buffer
// back meanwhile. An error of the connection that is a timeout is not sticky
// here: the session may wait again.
func (l *Lexer) Wait() error {
	if l.err != nil {
		return l.err
	}
	if l.r == l.w {
		l.Release()
		n, err := 0, error(nil)
		for tries := 0; n == 0 && err == nil; tries++ {
			if n, err = l.src.Read(l.small[:]); tries == 100 {
				err = io.ErrNoProgress
			}
		}
		if n == 0 {
			if t, ok := errors.AsType[interface {
				error
				Timeout() bool
			}](err); ok && t.Timeout() {
				return err
			}
			l.err = err
			return err
		}
		l.buf = buffers.Get().(*[bufSize]byte)
		l.r, l.w = 0, copy(l.buf[:], l.small[:n])
	}
	return nil
}

// Begin starts a command at the next unread octet.
func (l *Lexer) Begin() {
	l.line = l.r
	l.used, l.strings, l.depth = 0, 0, 0
	l.ended, l.literal = false, nil
}

// Release gives the buffer back if it holds nothing unread.
func (l *Lexer) Release() {
	if l.buf != nil && l.r == l.w {
		buffers.Put(l.buf)
		l.buf, l.r, l.w, l.line = nil, 0, 0, 0
	}
}

// Buffered is the number of octets that the client has sent ahead.
func (l *Lexer) Buffered() int { return l.w - l.r }

// Switch has everything behind the last command come from what open gives: a
// layer that is fed with ahead, the octets that were read already, and then with
// the source there was.
func (l *Lexer) Switch(open func(ahead []byte, src io.Reader) io.Reader) {
	var ahead []byte
	if l.w > l.r {
		ahead = append(ahead, l.buf[l.r:l.w]...)
	}
	l.Drop()
	l.src = open(ahead, l.src)
}

// Drop forgets what the client has sent ahead: after STARTTLS nothing that came
// in the clear may run (RFC 3501 §6.2.1).
func (l *Lexer) Drop() { l.r, l.line = l.w, l.w }

// Err is the sticky error.
func (l *Lexer) Err() error { return l.err }

// fill reads more. The end of the consumed part of the line stays before r, what
// is unread behind it.
func (l *Lexer) fill() error {
	if l.err != nil {
		return l.err
	}
	if l.buf == nil {
		l.buf = buffers.Get().(*[bufSize]byte)
	}
	keep := min(tailSize, l.r-l.line)
	n := copy(l.buf[:], l.buf[l.r-keep:l.w])
	l.line, l.r, l.w = 0, keep, n
	for range 100 {
		n, err := l.src.Read(l.buf[l.w:])
		l.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			l.err = err
			return err
		}
	}
	l.err = io.ErrNoProgress
	return l.err
}

// Peek is the next octet of the command, without consuming it. At the end of
// the line it is CR or LF; it is 0 on an error, which the next method reports.
func (l *Lexer) Peek() byte {
	if l.ended || l.r == l.w && l.fill() != nil {
		return 0
	}
	return l.buf[l.r]
}

// Second is the octet after the next, or 0 where the next one ends the line.
func (l *Lexer) Second() byte {
	if c := l.Peek(); l.ended || l.err != nil || c == '\r' || c == '\n' {
		return 0
	}
	if l.w-l.r < 2 && l.fill() != nil {
		return 0
	}
	return l.buf[l.r+1]
}

// advance consumes n octets that are in the buffer.
func (l *Lexer) advance(n int) {
	l.r += n
	l.used += n
	if l.used > l.Limits.Line && l.err == nil {
		l.err = fmt.Errorf("%w: a command line of more than %d octets", ErrLimit, l.Limits.Line)
	}
}

// Accept consumes c if it is next.
func (l *Lexer) Accept(c byte) bool {
	if l.Peek() != c || l.err != nil || l.ended {
		return false
	}
	l.advance(1)
	return true
}

// Require consumes c, which must be next.
func (l *Lexer) Require(c byte) error {
	if l.Accept(c) {
		return l.err
	}
	return l.fail("expected %q", string(c))
}

// SP consumes one space.
func (l *Lexer) SP() error {
	if l.Accept(' ') {
		return l.err
	}
	return l.fail("expected a space")
}

// fail is the sticky error if there is one, or a SyntaxError.
func (l *Lexer) fail(format string, args ...any) error {
	if l.err != nil {
		return l.err
	}
	return Syntaxf(format, args...)
}

// AtEnd reports whether the line ends here, without consuming the end.
func (l *Lexer) AtEnd() bool {
	c := l.Peek()
	return l.ended || c == '\r' || c == '\n'
}

// End consumes the end of the command: every handler calls it before it acts.
// A bare LF is taken for CRLF; trailing spaces are forgiven.
func (l *Lexer) End() error {
	for l.Accept(' ') {
	}
	if err := l.newline(); err != nil {
		return err
	}
	l.ended = true
	return nil
}

func (l *Lexer) newline() error {
	l.Accept('\r')
	if !l.Accept('\n') {
		return l.fail("expected the end of the line")
	}
	l.line = l.r
	return l.err
}

// Skip discards what is left of the command: the rest of its line and, while
// lines end in non-synchronizing literals, those and the lines that follow. A
// synchronizing literal that was not accepted ends the command: the client
// waits for our answer (RFC 3501 §7.5). Its error is sticky: the connection ends.
func (l *Lexer) Skip() error {
	for !l.ended && l.err == nil {
		if l.literal != nil {
			l.discardLiteral()
			continue
		}
		if err := l.skipLine(); err != nil {
			return err
		}
	}
	return l.err
}

// skipLine discards up to the end of the line and looks at how it ended.
func (l *Lexer) skipLine() error {
	for {
		if l.r == l.w && l.fill() != nil {
			return l.err
		}
		c := l.buf[l.r]
		l.advance(1)
		if l.err != nil {
			return l.err
		}
		if c != '\n' {
			continue
		}
		lit, ok := literalTail(l.buf[l.line:l.r])
		l.line = l.r
		if !ok {
			l.ended = true
			return nil
		}
		l.announce(lit)
		return nil
	}
}

// Line consumes one line of raw text, which follows a continuation request of
// ours (AUTHENTICATE, IDLE). It may be max octets long.
func (l *Lexer) Line(max int) (string, error) {
	l.ended, l.line, l.used = false, l.r, 0
	s, err := l.Take(&notEOL, max)
	if err == nil {
		err = l.newline()
	}
	if err != nil && l.err == nil { // too long or a stray CR: nothing in it is to be trusted
		l.err = fmt.Errorf("%w: %w", ErrLimit, err)
	}
	l.ended = true
	return s, l.err
}
