package mailauth

import (
	"bytes"
	"hash"
)

// relaxedBody hashes a body in the relaxed form of RFC 6376 §3.4.4, as it
// streams: runs of blanks are one space, blanks before a line end and empty
// lines at the end are nothing, and what there is ends in CRLF. Only CRLF ends a
// line.
type relaxedBody struct {
	sum   hash.Hash
	out   []byte // not hashed yet
	lines int    // line ends seen and not written: nothing may follow them
	blank bool   // blanks seen and not written
	cr    bool   // a CR was seen that may begin a line end
	any   bool   // there was something other than blanks and line ends
}

// plain are the octets that stand for themselves.
var plain = func() (t [256]bool) {
	for i := range t {
		t[i] = i != ' ' && i != '\t' && i != '\r' && i != '\n'
	}
	return t
}()

const pendingOut = 4 << 10

func (c *relaxedBody) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if b := p[i]; !plain[b] {
			c.special(b)
			i++
			continue
		}
		start := i
		for i++; i < len(p) && plain[p[i]]; i++ {
		}
		c.text(p[start:i])
	}
	return len(p), nil
}

// special takes a blank, a CR or a LF.
func (c *relaxedBody) special(b byte) {
	switch {
	case b == '\n' && c.cr:
		c.cr, c.blank = false, false
		c.lines++
	case b == '\n':
		c.text([]byte{b})
	case b == '\r':
		c.bareCR()
		c.cr = true
	default:
		c.bareCR()
		c.blank = true
	}
}

// bareCR writes a CR that no LF followed.
func (c *relaxedBody) bareCR() {
	if c.cr {
		c.cr = false
		c.flushBefore()
		c.out = append(c.out, '\r')
	}
}

// flushBefore writes what stands before text.
func (c *relaxedBody) flushBefore() {
	c.any = true
	for ; c.lines > 0; c.lines-- {
		c.out = append(c.out, '\r', '\n')
		c.drain()
	}
	if c.blank {
		c.blank = false
		c.out = append(c.out, ' ')
	}
}

func (c *relaxedBody) text(run []byte) {
	c.bareCR()
	c.flushBefore()
	c.out = append(c.out, run...)
	c.drain()
}

func (c *relaxedBody) drain() {
	if len(c.out) >= pendingOut {
		c.sum.Write(c.out)
		c.out = c.out[:0]
	}
}

// Sum ends the body and gives its hash.
func (c *relaxedBody) Sum() []byte {
	c.bareCR()
	if c.any {
		c.out = append(c.out, '\r', '\n')
	}
	c.sum.Write(c.out)
	c.out = c.out[:0]
	return c.sum.Sum(nil)
}

// relaxedField appends a header field in the relaxed form of RFC 6376 §3.4.2,
// without a line end: the name in lower case, the value unfolded, its runs of
// blanks one space, none at its ends.
func relaxedField(dst []byte, name, value []byte) []byte {
	dst = append(dst, bytes.ToLower(bytes.TrimRight(name, " \t"))...)
	dst = append(dst, ':')
	first, blank := len(dst), false
	for _, b := range value {
		switch b {
		case ' ', '\t', '\r', '\n':
			blank = true
			continue
		}
		if blank && len(dst) > first {
			dst = append(dst, ' ')
		}
		blank = false
		dst = append(dst, b)
	}
	return dst
}

// field is a header field as it stands in a message.
type field struct {
	name  string // lower case
	value []byte // what follows the colon, folded, with its line end
}

// splitHeader gives the fields of a header in order; lines that are none are
// passed over, as verifiers do.
func splitHeader(header []byte) []field {
	var fields []field
	for len(header) > 0 {
		n := fieldLength(header)
		raw := header[:n]
		header = header[n:]
		if name, value, ok := bytes.Cut(raw, []byte{':'}); ok && raw[0] != ' ' && raw[0] != '\t' {
			fields = append(fields, field{string(bytes.ToLower(bytes.TrimRight(name, " \t"))), value})
		}
	}
	return fields
}

// fieldLength is where the next field begins: behind the first line end that no
// blank follows.
func fieldLength(header []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(header[at:], '\n')
		if i < 0 {
			return len(header)
		}
		at += i + 1
		if at == len(header) || header[at] != ' ' && header[at] != '\t' {
			return at
		}
	}
}
