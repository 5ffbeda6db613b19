package mailstore

import (
	"bytes"
	"io"

	"posthouse/internal/spool"
)

// wireExtra is how many octets POP3 sends beyond those that are stored: lines
// end in CRLF there (RFC 1939 §3), the last one too. What SMTP receives is so
// already; what IMAP appends need not be.
func wireExtra(body *spool.Spool) (int64, error) {
	var c lineCounter
	if raw, ok := body.Bytes(); ok {
		c.count(raw)
	} else if _, err := io.Copy(&c, body.NewReader()); err != nil {
		return 0, err
	}
	return c.total(), nil
}

// lineCounter counts the line ends that are missing or bare in what is written to it.
type lineCounter struct {
	bare int64
	last byte
	any  bool
}

// Write implements io.Writer; it never fails.
func (c *lineCounter) Write(p []byte) (int, error) {
	c.count(p)
	return len(p), nil
}

func (c *lineCounter) count(p []byte) {
	if len(p) == 0 {
		return
	}
	for i := 0; ; i++ {
		next := bytes.IndexByte(p[i:], '\n')
		if next < 0 {
			break
		}
		i += next
		before := c.last
		if i > 0 {
			before = p[i-1]
		}
		if before != '\r' {
			c.bare++
		}
	}
	c.last, c.any = p[len(p)-1], true
}

func (c *lineCounter) total() int64 {
	if c.any && c.last != '\n' {
		return c.bare + 2
	}
	return c.bare
}
