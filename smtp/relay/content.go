package relay

import (
	"bufio"
	"bytes"
	"io"
)

// blockSize is how much content is read and written at once.
const blockSize = 32 << 10

// lines writes content as lines that end with CRLF, whatever they ended with:
// a CR or LF alone is the end of a line to some and not to others, and between
// the two a message can be smuggled (CVE-2023-51764). With stuff a dot at the
// start of a line is doubled (RFC 5321 §4.5.2).
type lines struct {
	w     io.Writer
	stuff bool
	start bool // at the start of a line
	cr    bool // a CR was the last octet, and has not been written
}

func newLines(w io.Writer, stuff bool) *lines { return &lines{w: w, stuff: stuff, start: true} }

var crlf, dot = []byte("\r\n"), []byte(".")

// Write implements io.Writer. Its cost is two searches a line, no allocation.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.cr {
			l.cr = false
			if p[0] == '\n' {
				p = p[1:]
			}
			if err := l.end(); err != nil {
				return 0, err
			}
			continue
		}
		if l.start && l.stuff && p[0] == '.' {
			if _, err := l.w.Write(dot); err != nil {
				return 0, err
			}
		}
		line, rest := p, []byte(nil)
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, rest = p[:i+1], p[i+1:]
		}
		used, err := l.line(line)
		if err != nil {
			return 0, err
		}
		if used < len(line) {
			rest = p[used:]
		}
		p = rest
	}
	return n, nil
}

// line writes as much of a line as has no bare CR in it, and says how much that
// was.
func (l *lines) line(line []byte) (int, error) {
	i := bytes.IndexByte(line, '\r')
	switch {
	case i >= 0 && i == len(line)-2 && line[i+1] == '\n': // as it should be
		_, err := l.w.Write(line)
		l.start = true
		return len(line), err
	case i >= 0: // decided by the next octet
		_, err := l.w.Write(line[:i])
		l.start, l.cr = l.start && i == 0, true
		return i + 1, err
	case line[len(line)-1] == '\n':
		if _, err := l.w.Write(line[:len(line)-1]); err != nil {
			return 0, err
		}
		return len(line), l.end()
	}
	_, err := l.w.Write(line)
	l.start = false
	return len(line), err
}

func (l *lines) end() error {
	l.start = true
	_, err := l.w.Write(crlf)
	return err
}

// close ends the last line, if it has not ended.
func (l *lines) close() error {
	if l.cr || !l.start {
		l.cr = false
		return l.end()
	}
	return nil
}

// eightBit reports whether content has octets above 127.
func eightBit(c io.Reader) (bool, error) {
	br := bufio.NewReaderSize(c, blockSize)
	for {
		if _, err := br.Peek(1); err == io.EOF {
			return false, nil
		} else if err != nil {
			return false, err
		}
		block, _ := br.Peek(br.Buffered())
		if !ascii(block) {
			return true, nil
		}
		if _, err := br.Discard(len(block)); err != nil {
			return false, err
		}
	}
}

func ascii[T []byte | string](s T) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func reader(c Content) *io.SectionReader { return io.NewSectionReader(c, 0, c.Size()) }
