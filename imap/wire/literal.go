package wire

import (
	"bytes"
	"fmt"
	"io"
)

// Literal is the announcement {n}, {n+} or ~{n} of octets to come.
type Literal struct {
	Size    int64 // octets
	NonSync bool  // the client does not wait for us
	Binary  bool  // literal8 of RFC 3516: may hold NUL

	open bool  // accepted: the octets come
	left int64 // not read yet
}

// IsLiteral reports whether a literal is announced here.
func (l *Lexer) IsLiteral() bool { c := l.Peek(); return c == '{' || c == '~' }

// Literal consumes an announcement with its end of line, but not the octets. The
// caller either calls [Lexer.Open], or returns an error: then Skip discards the
// octets or, if the client waits, they are never sent.
func (l *Lexer) Literal() (*Literal, error) {
	lit := &Literal{Binary: l.Accept('~')}
	if err := l.Require('{'); err != nil {
		return nil, err
	}
	size, err := l.Number64()
	if err != nil {
		return nil, err
	}
	lit.Size, lit.NonSync = int64(size), l.Accept('+')
	if !l.Accept('}') {
		return nil, l.fail("malformed literal")
	}
	l.Accept('\r')
	if !l.Accept('\n') {
		return nil, l.fail("malformed literal: expected the end of the line")
	}
	l.line = l.r
	l.announce(lit)
	return lit, l.err
}

// announce makes lit what Skip has to deal with.
func (l *Lexer) announce(lit *Literal) {
	lit.left = lit.Size
	l.literal = lit
}

// Open asks for the octets of lit and returns a reader of them. What the caller
// leaves unread must be discarded with [Lexer.CloseLiteral] before the line,
// which goes on behind the literal, is read any further.
func (l *Lexer) Open(lit *Literal) (io.Reader, error) {
	if l.err != nil {
		return nil, l.err
	}
	if !lit.NonSync {
		if l.Buffered() > 0 {
			// The client did not wait. It may as well have sent the octets ahead,
			// and they are counted all the same.
			lit.NonSync = true
		} else if err := l.Continue(); err != nil {
			l.err = err
			return nil, err
		}
	}
	if l.Expect != nil {
		l.Expect(lit.Size)
	}
	lit.open = true
	return literalReader{l, lit}, nil
}

// CloseLiteral discards what is left of an opened literal, so that the line
// goes on behind it.
func (l *Lexer) CloseLiteral(lit *Literal) error {
	for lit.left > 0 && l.err == nil {
		l.discard(lit)
	}
	l.literal = nil
	return l.err
}

type literalReader struct {
	l   *Lexer
	lit *Literal
}

func (r literalReader) Read(p []byte) (int, error) {
	if r.lit.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.lit.left {
		p = p[:r.lit.left]
	}
	n, err := r.l.readRaw(p)
	r.lit.left -= int64(n)
	return n, err
}

// readRaw reads octets that are not part of the line: from the buffer while it
// has some, then from the connection itself.
func (l *Lexer) readRaw(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.r < l.w {
		n := copy(p, l.buf[l.r:l.w])
		l.r += n
		l.line = l.r
		return n, nil
	}
	n, err := l.src.Read(p)
	if err != nil && n == 0 {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		l.err = err
		return 0, err
	}
	return n, nil
}

// discardLiteral deals with a literal that no handler took.
func (l *Lexer) discardLiteral() {
	lit := l.literal
	switch {
	case !lit.open && !lit.NonSync && l.Buffered() == 0:
		l.literal, l.ended = nil, true // the client waits, and hears NO or BAD
		return
	case !lit.open && !lit.NonSync:
		// It does not wait: no telling whether the octets are the literal.
		l.err = fmt.Errorf("%w: octets sent ahead of a refused literal", ErrLimit)
		return
	case lit.left > l.Limits.Discard:
		l.err = fmt.Errorf("%w: literal of %d octets", ErrLimit, lit.Size)
		return
	}
	if !lit.open && l.Expect != nil {
		l.Expect(lit.Size)
		lit.open = true
	}
	for lit.left > 0 && l.err == nil {
		l.discard(lit)
	}
	l.literal = nil
}

// discard drops one buffer's worth of lit.
func (l *Lexer) discard(lit *Literal) {
	if l.r == l.w {
		l.line = l.r
		if l.fill() != nil {
			return
		}
	}
	n := int(min(lit.left, int64(l.w-l.r)))
	l.r += n
	l.line = l.r
	lit.left -= int64(n)
}

// literalString reads a literal that is an argument, within the limits.
func (l *Lexer) literalString() (string, error) {
	lit, err := l.Literal()
	if err != nil {
		return "", err
	}
	if lit.Size > l.Limits.String || l.strings+lit.Size > l.Limits.Strings {
		return "", &SyntaxError{Text: ErrTooBig.Error()}
	}
	l.strings += lit.Size
	r, err := l.Open(lit)
	if err != nil {
		return "", err
	}
	b := make([]byte, lit.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		l.err = err
		return "", err
	}
	l.literal = nil
	if !lit.Binary && bytes.IndexByte(b, 0) >= 0 {
		return "", Syntaxf("NUL in a literal")
	}
	return string(b), nil
}

// literalTail recognises a literal announced at the end of a line that was not
// parsed, as RFC 7888 §4 asks of a server that skips a bad command.
func literalTail(line []byte) (*Literal, bool) {
	line = bytes.TrimRight(line, "\r\n")
	open := bytes.LastIndexByte(line, '{')
	if open < 0 || line[len(line)-1] != '}' {
		return nil, false
	}
	digits := line[open+1 : len(line)-1]
	lit := new(Literal)
	if n := len(digits); n > 0 && digits[n-1] == '+' {
		lit.NonSync, digits = true, digits[:n-1]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return nil, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return nil, false
		}
		lit.Size = lit.Size*10 + int64(c-'0')
	}
	if lit.Size < 0 {
		lit.Size = 1<<63 - 1
	}
	return lit, true
}
