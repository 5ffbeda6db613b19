package imapd

import (
	"net"
	"os"
	"sync"
	"time"
)

// conn is the connection below TLS. It gives every read and write a deadline: a
// rolling one, so that a silent peer is dropped, within one for the command as a
// whole, so that an octet now and then does not keep a session for ever.
type conn struct {
	net.Conn
	write time.Duration // for each write of at most one buffer

	mu      sync.Mutex
	rolling time.Duration // for each read
	total   time.Time     // for all of them
	waiting bool          // between commands: poke may interrupt the read
	poked   bool
}

// wait says that the session now waits for a command, for at most d: also when
// octets come that are none of a command, like the flush of an empty block.
func (c *conn) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.rolling, c.total = true, d, time.Now().Add(d)
}

// busy says that a command is being read: each read may take rolling, and all
// of them total.
func (c *conn) busy(rolling, total time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.rolling, c.total = false, rolling, time.Now().Add(total)
}

// extend gives the command being read more time: for a literal.
func (c *conn) extend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total = time.Now().Add(d)
}

// poke interrupts a session that waits for a command, now or the next time it
// waits: its read fails with os.ErrDeadlineExceeded.
func (c *conn) poke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poked = true
	if c.waiting {
		c.SetReadDeadline(time.Unix(1, 0)) // its error would come back from Read
	}
}

// takePoke reports whether there was a poke, and forgets it.
func (c *conn) takePoke() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.poked
	c.poked = false
	return was
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.waiting && c.poked {
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	until := time.Now().Add(c.rolling)
	if c.total.Before(until) {
		until = c.total
	}
	err := c.SetReadDeadline(until)
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
