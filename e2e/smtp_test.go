package e2e

import (
	"fmt"
	"net"
	"net/textproto"
	"testing"
	"time"
)

// smtpClient is an SMTP connection that can stop in the middle of things.
type smtpClient struct {
	t    *testing.T
	conn net.Conn
	text *textproto.Conn
}

func dialSMTP(t *testing.T, address string) *smtpClient {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := &smtpClient{t, conn, textproto.NewConn(conn)}
	c.expect(220)
	c.say(250, "EHLO client.example.org")
	return c
}

func (c *smtpClient) expect(code int) string {
	c.t.Helper()
	_, msg, err := c.text.ReadResponse(code)
	if err != nil {
		c.t.Fatalf("reply: %v (want %d)", err, code)
	}
	return msg
}

func (c *smtpClient) say(code int, format string, args ...any) string {
	c.t.Helper()
	if err := c.text.PrintfLine(format, args...); err != nil {
		c.t.Fatal(err)
	}
	return c.expect(code)
}

// begin goes as far as 354.
func (c *smtpClient) begin(to ...string) {
	c.t.Helper()
	c.say(250, "MAIL FROM:<sender@example.org>")
	for _, address := range to {
		c.say(250, "RCPT TO:<%s>", address)
	}
	c.say(354, "DATA")
}

// end sends the rest of the data, whose lines must not begin with dots, and
// gives the reply.
func (c *smtpClient) end(rest []byte) (code int, err error) {
	if _, err := c.conn.Write(append(rest, ".\r\n"...)); err != nil {
		return 0, err
	}
	code, msg, err := c.text.ReadResponse(0)
	if err != nil {
		return 0, err
	}
	if code != 250 {
		return code, fmt.Errorf("%d %s", code, msg)
	}
	return code, nil
}

// deliver sends one short message and must succeed.
func deliver(t *testing.T, address, to, mark string) {
	t.Helper()
	c := dialSMTP(t, address)
	c.begin(to)
	if _, err := c.end(fmt.Appendf(nil, "X-Mark: %s\r\nSubject: %s\r\n\r\ntext\r\n", mark, mark)); err != nil {
		t.Fatal(err)
	}
	c.say(221, "QUIT")
}

// retry sends one short message until it is taken, as a mail server does, and
// gives the codes that it heard before.
func retry(t *testing.T, address, to, mark string) (refusals []int) {
	t.Helper()
	eventually(t, "a message is taken", func() bool {
		c := dialSMTP(t, address)
		defer c.conn.Close()
		for _, step := range []struct {
			line string
			want int
		}{{"MAIL FROM:<sender@example.org>", 250}, {"RCPT TO:<" + to + ">", 250}, {"DATA", 354}, {"X-Mark: " + mark + "\r\n\r\ntext\r\n.", 250}} {
			if err := c.text.PrintfLine("%s", step.line); err != nil {
				t.Fatal(err)
			}
			code, _, err := c.text.ReadResponse(step.want)
			if err != nil {
				refusals = append(refusals, code)
				return false
			}
		}
		return true
	})
	return refusals
}
