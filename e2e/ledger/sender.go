package ledger

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// replyTimeout is how long a client waits for a reply.
const replyTimeout = 30 * time.Second

// Load is a number of connections that send messages one after the other.
type Load struct {
	Ledger      *Ledger
	Name        string        // begins the ids; unique among the loads of a ledger
	Address     func() string // of the SMTP listener, which may move at a restart
	Connections int
	Recipients  []string // each message goes to one of them or to two
	Password    string   // of the ledger's sender, who logs in; empty: nobody does

	stop atomic.Bool
	wg   sync.WaitGroup
}

// Start begins to send.
func (l *Load) Start(ctx context.Context) {
	for i := range l.Connections {
		l.wg.Go(func() { l.send(ctx, i) })
	}
}

// Finish lets every connection bring its current message to an end, and waits.
func (l *Load) Finish() {
	l.stop.Store(true)
	l.wg.Wait()
}

func (l *Load) send(ctx context.Context, connection int) {
	var c *client
	defer func() {
		if c != nil {
			c.quit()
		}
	}()
	for n := 0; !l.stop.Load() && ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d-%d", l.Name, connection, n)
		to := []string{l.Recipients[n%len(l.Recipients)]}
		if n%4 == 3 && len(l.Recipients) > 1 {
			to = append(to, l.Recipients[(n+1)%len(l.Recipients)])
		}
		text := stuff(l.Ledger.Message(id, to...))
		for ctx.Err() == nil {
			if c == nil {
				c = l.dial(ctx)
			}
			if c == nil {
				pause(ctx)
				continue
			}
			outcome, code, alive := c.deliver(to, text)
			l.Ledger.Told(id, outcome, code)
			if !alive {
				c.conn.Close()
				c = nil
			}
			if outcome == Accepted {
				break
			}
			pause(ctx)
		}
	}
}

// pause waits before another attempt: a server that is down answers at once.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

// stuff makes the octets that go after DATA (RFC 5321 §4.5.2), the end included.
func stuff(text []byte) []byte {
	var b strings.Builder
	w := textproto.NewWriter(bufio.NewWriter(&b)).DotWriter()
	w.Write(text)
	w.Close()
	return []byte(b.String())
}

// client is one SMTP connection.
type client struct {
	conn net.Conn
	text *textproto.Conn
	from string
}

// dial connects and greets; nil when the server is not there.
func (l *Load) dial(ctx context.Context) *client {
	d := net.Dialer{Timeout: replyTimeout}
	conn, err := d.DialContext(ctx, "tcp", l.Address())
	if err != nil {
		return nil
	}
	c := &client{conn: conn, text: textproto.NewConn(conn), from: l.Ledger.From}
	if !c.expect("", 220) || !c.expect("EHLO ledger.example.org", 250) || l.Password != "" &&
		!c.expect("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+c.from+"\x00"+l.Password)), 235) {
		conn.Close()
		return nil
	}
	return c
}

// expect sends a line, if any, and says whether the reply is the one wanted.
func (c *client) expect(line string, want int) bool {
	_, ok := c.ask(line, want)
	return ok
}

// ask is expect that also gives the code of the reply, 0 without one.
func (c *client) ask(line string, want int) (code int, ok bool) {
	c.conn.SetDeadline(time.Now().Add(replyTimeout))
	if line != "" && c.text.PrintfLine("%s", line) != nil {
		return 0, false
	}
	code, _, err := c.text.ReadResponse(want)
	return code, err == nil
}

// deliver sends one message; alive says whether the connection can be used
// again. Until the data are sent a broken connection is a refusal: the server
// cannot have taken what it has not seen.
func (c *client) deliver(to []string, data []byte) (outcome Outcome, code int, alive bool) {
	lines := []string{"MAIL FROM:<" + c.from + ">"}
	for _, address := range to {
		lines = append(lines, "RCPT TO:<"+address+">")
	}
	for _, line := range lines {
		if code, ok := c.ask(line, 250); !ok {
			return Refused, code, false
		}
	}
	if code, ok := c.ask("DATA", 354); !ok {
		return Refused, code, false
	}
	c.conn.SetDeadline(time.Now().Add(replyTimeout))
	// A failed write counts as unknown: the last octets may have arrived.
	if _, err := c.conn.Write(data); err != nil {
		return Unknown, 0, false
	}
	code, _, err := c.text.ReadResponse(250)
	switch {
	case err == nil:
		return Accepted, code, true
	case code != 0:
		return Refused, code, true
	}
	return Unknown, 0, false
}

func (c *client) quit() {
	c.expect("QUIT", 221)
	c.conn.Close()
}
