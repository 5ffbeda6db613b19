package transfer

import "io"

// toCRLF writes lines that end in LF or CRLF as lines that end in CRLF. A CR
// that ends no line passes.
type toCRLF struct {
	w    io.Writer
	last byte
	buf  []byte
}

func (c *toCRLF) Write(p []byte) (int, error) {
	c.buf = c.buf[:0]
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			c.buf = append(c.buf, '\r')
		}
		c.buf = append(c.buf, b)
		c.last = b
	}
	if _, err := c.w.Write(c.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// toLF writes lines that end in CRLF as lines that end in LF, as files on Unix
// have them. A CR that ends no line passes.
type toLF struct {
	w    io.Writer
	held bool // a CR that may end a line
	buf  []byte
}

func (l *toLF) Write(p []byte) (int, error) {
	l.buf = l.buf[:0]
	for _, b := range p {
		if l.held && b != '\n' {
			l.buf = append(l.buf, '\r')
		}
		if l.held = b == '\r'; !l.held {
			l.buf = append(l.buf, b)
		}
	}
	if _, err := l.w.Write(l.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes a CR that ended the message.
func (l *toLF) Close() error {
	if !l.held {
		return nil
	}
	l.held = false
	_, err := l.w.Write([]byte{'\r'})
	return err
}
