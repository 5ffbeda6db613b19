package message

import (
	"bytes"
	"io"
	"sync"
)

// window is the size of the scanner's buffer, and so the longest piece of a
// line that it hands out.
const window = 64 << 10

var windows = sync.Pool{New: func() any { return new([window]byte) }}

// A scanner moves over a message once, line by line, in a window of fixed size.
type scanner struct {
	r      io.ReaderAt
	size   int64
	read   int64  // offset of the first octet that is not in buf yet
	buf    []byte // the window; buf[pos:] is not consumed
	pos    int
	lines  int64 // line feeds before pos
	midway bool  // pos stands inside a line, whose start was consumed
	before [2]byte
	pool   *[window]byte
	err    error
}

// newScanner reads from r. A body that is held in memory is not copied.
func newScanner(r io.ReaderAt, size int64) *scanner {
	s := &scanner{r: r, size: size}
	if m, ok := r.(interface{ Bytes() ([]byte, bool) }); ok {
		if b, inMemory := m.Bytes(); inMemory && int64(len(b)) >= size {
			s.buf, s.read = b[:size], size
			return s
		}
	}
	s.pool = windows.Get().(*[window]byte)
	s.buf = s.pool[:0]
	return s
}

// close gives the window back.
func (s *scanner) close() {
	if s.pool != nil {
		windows.Put(s.pool)
		s.pool, s.buf = nil, nil
	}
}

// held gives a piece of the message without a copy, where all of it is in memory.
func (s *scanner) held(from, to int64) []byte {
	if s.pool != nil {
		return nil
	}
	return s.buf[from:to:to]
}

// offset is the message offset of the next octet.
func (s *scanner) offset() int64 { return s.read - int64(len(s.buf)-s.pos) }

// fill reads on, keeping what is not consumed. It reports whether there is more
// in the window than before.
func (s *scanner) fill() bool {
	if s.err != nil || s.read >= s.size || s.pool == nil {
		return false
	}
	n := copy(s.pool[:], s.buf[s.pos:])
	s.buf, s.pos = s.pool[:n], 0
	room := min(int64(window-n), s.size-s.read)
	if room == 0 {
		return false
	}
	got, err := s.r.ReadAt(s.pool[n:n+int(room)], s.read)
	if int64(got) < room && err != nil {
		s.err = err
		if err == io.EOF {
			s.err = io.ErrUnexpectedEOF
		}
		return false
	}
	s.buf = s.pool[:n+got]
	s.read += int64(got)
	return got > 0
}

// consume moves over the first n octets of the window.
func (s *scanner) consume(n int) {
	if n >= 2 {
		s.before = [2]byte{s.buf[s.pos+n-2], s.buf[s.pos+n-1]}
	} else if n == 1 {
		s.before = [2]byte{s.before[1], s.buf[s.pos]}
	}
	s.pos += n
}

// lineEnd is the length of the line end just before the next octet: 0, 1 or 2.
func (s *scanner) lineEnd() int64 {
	switch {
	case s.before[1] != '\n':
		return 0
	case s.before[0] == '\r':
		return 2
	}
	return 1
}

// next returns the next line with its line end, or a piece of it when it is
// longer than the window; start is false for the later pieces. It is nil at the end.
func (s *scanner) next() (line []byte, start bool) {
	start = !s.midway
	n := bytes.IndexByte(s.buf[s.pos:], '\n')
	if n < 0 {
		for n < 0 && s.fill() {
			n = bytes.IndexByte(s.buf[s.pos:], '\n')
		}
	}
	if n < 0 {
		line = s.buf[s.pos:]
		s.midway = true
	} else {
		line = s.buf[s.pos : s.pos+n+1]
		s.midway = false
		s.lines++
	}
	if len(line) == 0 {
		return nil, start
	}
	s.consume(len(line))
	return line, start
}

var lineDashes = []byte("\n--")

// skip moves on to the next line that begins with two hyphens, where
// delimiters are, or to the end. It reports false at the end.
func (s *scanner) skip() bool {
	for {
		rest := s.buf[s.pos:]
		if !s.midway {
			if len(rest) < 2 && s.fill() {
				continue
			}
			if len(rest) >= 2 && rest[0] == '-' && rest[1] == '-' {
				return true
			}
		}
		n := len(rest)
		i := bytes.Index(rest, lineDashes)
		more := s.pool != nil && s.read < s.size
		switch {
		case i >= 0:
			n = i + 1
		case more && n > 0 && rest[n-1] == '-':
			n = max(n-2, 0) // the window may end inside "\n--"
		}
		s.lines += int64(bytes.Count(rest[:n], lineDashes[:1]))
		s.consume(n)
		if n > 0 {
			s.midway = s.before[1] != '\n'
		}
		if i < 0 && !s.fill() {
			if !more || s.err != nil {
				s.midway = s.before[1] != '\n'
				s.tail()
				return false
			}
		}
	}
}

// tail consumes what is left in the window.
func (s *scanner) tail() {
	rest := s.buf[s.pos:]
	s.lines += int64(bytes.Count(rest, lineDashes[:1]))
	s.consume(len(rest))
}
