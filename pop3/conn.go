package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Line lengths, in octets with CRLF. RFC 2449 §4 allows 255; SASL responses are
// longer (RFC 5034 §4). A line beyond maxSkip ends the session.
const (
	maxLine = 255
	maxSASL = 12288
	maxSkip = 64 << 10
)

var (
	errLineTooLong = errors.New("line too long")
	errFlood       = errors.New("endless line")
)

// conn is the connection below TLS. It gives every read and write a deadline.
type conn struct {
	net.Conn
	write time.Duration // for each write

	mu    sync.Mutex
	until time.Time // deadline of reads
	poked bool      // reads fail until the session has looked why
}

// poke interrupts the session's wait for a line, now or the next time it waits.
func (c *conn) poke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poked = true
	c.SetReadDeadline(time.Unix(1, 0)) // its error would come back from Read
}

// deadline sets when reads fail.
func (c *conn) deadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.poked {
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	err := c.SetReadDeadline(c.until)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// lines reads and writes them. What is written is kept until the client's next
// command has to be waited for, so that pipelined commands are answered in one
// packet (RFC 2449 §6.8).
type lines struct {
	c *conn
	r *bufio.Reader
	w *bufio.Writer
}

func newLines(c *conn, rw io.ReadWriter) *lines {
	return &lines{c: c, r: bufio.NewReaderSize(rw, 4096), w: bufio.NewWriterSize(rw, 32<<10)}
}

// pending reports whether a whole line is there already.
func (l *lines) pending() bool {
	b, _ := l.r.Peek(l.r.Buffered()) // never an error: it is buffered
	return bytes.IndexByte(b, '\n') >= 0
}

// read gives one line without its line end, which may be a bare LF. It waits
// until idle for its first octet, and then for at most whole. A line beyond
// limit is read to its end and gives errLineTooLong; one that the connection
// cuts short is no line. The slice is valid until the next call.
func (l *lines) read(limit int, idle time.Time, whole time.Duration) ([]byte, error) {
	if !l.pending() {
		if err := l.w.Flush(); err != nil {
			return nil, err
		}
	}
	l.c.deadline(idle)
	if _, err := l.r.Peek(1); err != nil {
		return nil, err
	}
	l.c.deadline(time.Now().Add(whole))
	line, err := l.r.ReadSlice('\n')
	if err == nil && len(line) <= limit {
		return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
	}
	return l.long(line, err, limit)
}

// long reads what does not fit in the buffer.
func (l *lines) long(first []byte, err error, limit int) ([]byte, error) {
	line := bytes.Clone(first)
	for n := len(first); ; {
		if err == nil {
			if n > limit {
				return nil, errLineTooLong
			}
			return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		var more []byte
		more, err = l.r.ReadSlice('\n')
		if n += len(more); n > maxSkip {
			return nil, errFlood
		}
		if n <= limit {
			line = append(line, more...)
		}
	}
}
