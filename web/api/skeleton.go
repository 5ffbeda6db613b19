package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"posthouse/internal/spool"
)

// skeleton reads a JSON text without its bulk: each string that is the value of
// a member named "content" is left out, and a short string that says where it
// lies stands in its place. So attachments stay in the spool, and what is read
// into memory is at most limit octets.
//
// It follows strings and little else. What is not JSON comes out as something
// that is not JSON either, or in the same places.
type skeleton struct {
	in    *bufio.Reader
	at    int64 // octets read of in
	limit int64 // that may still come out
	out   []byte
	err   error

	inString, escaped bool
	name              []byte // the string being read, or the last, as far as it fits
	value             bool   // a colon came: the next string is a value
	content           bool   // and that of a member "content"
	from              int64  // where the string being left out begins
}

func newSkeleton(body *spool.Spool, limit int64) *skeleton {
	return &skeleton{in: bufio.NewReaderSize(body.NewReader(), 64<<10), limit: limit}
}

func (s *skeleton) Read(p []byte) (int, error) {
	for len(s.out) < len(p) && s.err == nil {
		s.step()
	}
	n := copy(p, s.out)
	s.out = s.out[:copy(s.out, s.out[n:])]
	if n > 0 {
		return n, nil
	}
	return 0, s.err
}

func (s *skeleton) step() {
	c, err := s.in.ReadByte()
	if err != nil {
		s.err = err
		return
	}
	s.at++
	switch {
	case s.inString:
		s.stringByte(c)
	case c == '"':
		s.inString, s.name, s.from = true, s.name[:0], s.at
		if s.content && s.value {
			s.emit('"')
			return
		}
		s.content = false
		s.emit(c)
	case c == ':':
		s.value, s.content = true, string(s.name) == "content"
		s.emit(c)
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		s.emit(c)
	default:
		s.value, s.content = false, false
		s.emit(c)
	}
}

func (s *skeleton) stringByte(c byte) {
	ends := c == '"' && !s.escaped
	s.escaped = c == '\\' && !s.escaped
	left := s.content && s.value
	switch {
	case ends && left:
		s.inString, s.value, s.content, s.name = false, false, false, s.name[:0]
		for _, b := range fmt.Appendf(nil, "%d %d", s.from, s.at-1-s.from) {
			s.emit(b)
		}
		s.emit('"')
	case ends:
		s.inString, s.value = false, false
		s.emit(c)
	case left:
	default:
		if len(s.name) < 16 {
			s.name = append(s.name, c)
		}
		s.emit(c)
	}
}

var errText = errors.New("too much text")

func (s *skeleton) emit(c byte) {
	if s.limit--; s.limit < 0 {
		s.err = errText
		return
	}
	s.out = append(s.out, c)
}

// held is a string of a JSON text that lies in the spool.
type held struct {
	spool *spool.Spool
	at, n int64
}

// parseHeld reads what skeleton wrote in a string's place.
func parseHeld(s string, in *spool.Spool) (*held, error) {
	h := &held{spool: in}
	if _, err := fmt.Sscanf(s, "%d %d", &h.at, &h.n); err != nil || h.at < 0 || h.n < 0 || h.n > in.Size() || h.at > in.Size()-h.n {
		return nil, errors.New("not a string that was left out") // its name was written with escapes
	}
	return h, nil
}

// base64 gives the string's octets for a base64 decoder: some encoders write a
// slash as \/ and lines of 76. Other escapes are none of base64.
func (h *held) base64() io.Reader {
	return &unescape{in: bufio.NewReader(io.NewSectionReader(h.spool, h.at, h.n))}
}

type unescape struct {
	in      *bufio.Reader
	escaped bool
}

var errEscape = errors.New("an escape that is not of base64")

func (u *unescape) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c, err := u.in.ReadByte()
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		switch {
		case u.escaped:
			u.escaped = false
			if c == 'r' || c == 'n' {
				continue // between lines
			}
			if c != '/' {
				return n, errEscape
			}
			p[n] = c
			n++
		case c == '\\':
			u.escaped = true
		case c == '\r' || c == '\n': // no JSON has it in a string
			return n, errEscape
		default:
			p[n] = c
			n++
		}
	}
	return n, nil
}
