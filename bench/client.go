package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// smtpConn is a plain SMTP client that sends as fast as the server answers.
type smtpConn struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	from string
}

func dialSMTP(addr string) (*smtpConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &smtpConn{conn: conn, r: bufio.NewReader(conn), w: bufio.NewWriterSize(conn, 64<<10), from: "sender@example.org"}
	if err := c.expect("220"); err != nil {
		return nil, err
	}
	return c, c.say("250", "EHLO client.example.org\r\n")
}

func (c *smtpConn) say(want, format string, args ...any) error {
	fmt.Fprintf(c.w, format, args...)
	if err := c.w.Flush(); err != nil {
		return err
	}
	return c.expect(want)
}

func (c *smtpConn) expect(code string) error {
	c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("want %s, got %q", code, line)
		}
		if len(line) > 3 && line[3] == ' ' {
			return nil
		}
	}
}

// send delivers one mail, with MAIL, RCPT and DATA in one pipelined group.
func (c *smtpConn) send(to string, body []byte) error {
	fmt.Fprintf(c.w, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", c.from, to)
	if err := c.w.Flush(); err != nil {
		return err
	}
	for _, code := range []string{"250", "250", "354"} {
		if err := c.expect(code); err != nil {
			return err
		}
	}
	c.w.Write(bytes.ReplaceAll(body, []byte("\r\n."), []byte("\r\n..")))
	return c.say("250", ".\r\n")
}

func (c *smtpConn) close() {
	c.say("221", "QUIT\r\n")
	c.conn.Close()
}

// imapConn is a client that only counts what the server sends.
type imapConn struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	tag  int
}

func dialIMAP(addr string, useTLS bool, user string) (*imapConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return newIMAP(conn, useTLS, user)
}

func newIMAP(conn net.Conn, useTLS bool, user string) (*imapConn, error) {
	if useTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	c := &imapConn{conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 4<<10)}
	if _, err := c.r.ReadString('\n'); err != nil {
		return nil, err
	}
	_, err := c.do("LOGIN %s %q", user, password)
	return c, err
}

// do runs a command and gives the octets of its answer, which end with an OK.
func (c *imapConn) do(format string, args ...any) (int64, error) {
	n, _, err := c.run(io.Discard, format, args...)
	return n, err
}

// run copies the untagged lines to w; literals are read as octets.
func (c *imapConn) run(w io.Writer, format string, args ...any) (n int64, last string, err error) {
	c.tag++
	tag := "a" + strconv.Itoa(c.tag)
	fmt.Fprintf(c.w, tag+" "+format+"\r\n", args...)
	if err := c.w.Flush(); err != nil {
		return 0, "", err
	}
	c.conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
	return c.readUntil(tag, w)
}

func (c *imapConn) readUntil(tag string, w io.Writer) (n int64, last string, err error) {
	for fresh := true; ; {
		line, err := c.r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			n += int64(len(line))
			w.Write(line)
			fresh = false
			continue
		}
		if err != nil {
			return n, "", err
		}
		n += int64(len(line))
		if fresh && bytes.HasPrefix(line, []byte(tag+" ")) {
			if !bytes.HasPrefix(line[len(tag)+1:], []byte("OK")) {
				return n, "", fmt.Errorf("the server says %q", line)
			}
			return n, string(line), nil
		}
		w.Write(line)
		size, literal := literalSize(line)
		if literal {
			m, err := io.CopyN(w, c.r, size)
			n += m
			if err != nil {
				return n, "", err
			}
		}
		fresh = !literal
	}
}

func literalSize(line []byte) (int64, bool) {
	line = bytes.TrimRight(line, "\r\n")
	open := bytes.LastIndexByte(line, '{')
	if open < 0 || line[len(line)-1] != '}' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(line[open+1:len(line)-1]), 10, 64)
	return n, err == nil
}

// append stores messages, pipelined in groups with LITERAL+.
func (c *imapConn) append(mailbox string, next func() []byte, n int) error {
	const group = 16
	for done := 0; done < n; {
		size := min(group, n-done)
		for range size {
			m := next()
			c.tag++
			fmt.Fprintf(c.w, "a%d APPEND %s {%d+}\r\n", c.tag, mailbox, len(m))
			c.w.Write(m)
			c.w.WriteString("\r\n")
		}
		if err := c.w.Flush(); err != nil {
			return err
		}
		c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		for i := c.tag - size + 1; i <= c.tag; i++ {
			if _, _, err := c.readUntil("a"+strconv.Itoa(i), io.Discard); err != nil {
				return err
			}
		}
		done += size
	}
	return nil
}

// messages is what STATUS counts in INBOX.
func (c *imapConn) messages() (int, error) {
	var b bytes.Buffer
	if _, _, err := c.run(&b, "STATUS INBOX (MESSAGES)"); err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(b.String(), "MESSAGES ")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end <= 0 {
		return 0, fmt.Errorf("no count in %q", b.String())
	}
	return strconv.Atoi(rest[:end])
}

func (c *imapConn) close() {
	c.do("LOGOUT")
	c.conn.Close()
}
