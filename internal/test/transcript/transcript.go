// Package transcript plays a conversation with a server, line by line, and
// fails a test at the first line that is not as written:
//
//	C: a LOGIN alice secret        sent, with CRLF
//	C| "raw\x00 octets"            sent as the Go string says, without CRLF
//	S: a OK «*»                    the next line; «*» stands for any text
//	S: * OK [UIDNEXT «next:\d+»]   a hole with a name keeps what it matched, here by a regular expression
//	C: b UID FETCH «next» FLAGS    … and fills it in afterwards, in C and S lines
//	...                            any number of lines, up to one like the next S line
//	TLS                            the client's handshake, here
//	EOF                            the server closes
//
// Lines that begin with # and empty lines are skipped, indentation too.
package transcript

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long one line may take.
const patience = 20 * time.Second

// Conn is the client's end. Its methods fail the test.
type Conn struct {
	// TLS is for the TLS line.
	TLS *tls.Config
	// Vars are the holes with a name.
	Vars map[string]string

	t   testing.TB
	nc  net.Conn
	r   *bufio.Reader
	log []string
}

// New wraps a connection, which is closed when the test ends.
func New(t testing.TB, nc net.Conn) *Conn {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	return &Conn{t: t, nc: nc, r: bufio.NewReader(nc), Vars: make(map[string]string)}
}

// Dial connects to a TCP address.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, nc)
}

// Close closes the connection without a word.
func (c *Conn) Close() { c.nc.Close() }

// Play plays a script.
func (c *Conn) Play(script string) {
	c.t.Helper()
	skip := false
	for line := range strings.SplitSeq(script, "\n") {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
		case kind == "C:":
			c.Send(c.fill(rest) + "\r\n")
		case kind == "C|":
			raw, err := strconv.Unquote(c.fill(rest))
			if err != nil {
				c.t.Fatalf("transcript: %s: %v", line, err)
			}
			c.Send(raw)
		case kind == "S:":
			c.expect(rest, skip)
			skip = false
		case line == "...":
			skip = true
		case line == "TLS":
			c.StartTLS()
		case line == "EOF":
			c.EOF(skip)
			skip = false
		default:
			c.t.Fatalf("transcript: what is %q?", line)
		}
	}
}

// Send writes octets as they are.
func (c *Conn) Send(s string) {
	c.t.Helper()
	c.note("C: " + strings.TrimRight(s, "\r\n"))
	if err := c.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		c.fail("send: %v", err)
	}
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.fail("send: %v", err)
	}
}

// Line reads one line, without its CRLF.
func (c *Conn) Line() string {
	c.t.Helper()
	line, err := c.read()
	if err != nil {
		c.fail("read: %v", err)
	}
	return line
}

// Until reads lines up to one with the given prefix, and gives all of them.
func (c *Conn) Until(prefix string) []string {
	c.t.Helper()
	var lines []string
	for {
		line := c.Line()
		if lines = append(lines, line); strings.HasPrefix(line, prefix) {
			return lines
		}
	}
}

// EOF expects that the server closes, with octets unread before that allowed or not.
func (c *Conn) EOF(skip bool) {
	c.t.Helper()
	for {
		line, err := c.read()
		switch {
		case err != nil:
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				c.fail("the server does not close")
			}
			return
		case !skip:
			c.fail("got %q, want the end of the connection", line)
		}
	}
}

// StartTLS does the client's handshake.
func (c *Conn) StartTLS() {
	c.t.Helper()
	tc := tls.Client(c.nc, c.TLS)
	if err := tc.SetDeadline(time.Now().Add(patience)); err != nil {
		c.fail("TLS: %v", err)
	}
	if err := tc.Handshake(); err != nil {
		c.fail("TLS: %v", err)
	}
	c.nc, c.r = tc, bufio.NewReader(tc)
}

func (c *Conn) read() (string, error) {
	// A closed pipe takes no deadline, but lines may still lie in the buffer.
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return "", err
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	c.note("S: " + line)
	return line, nil
}

// expect reads a line that must match; with skip it reads up to one that does.
func (c *Conn) expect(pattern string, skip bool) {
	c.t.Helper()
	re, names := c.compile(pattern)
	for {
		line, err := c.read()
		if err != nil {
			c.fail("want %q: %v", pattern, err)
		}
		found := re.FindStringSubmatch(line)
		if found == nil {
			if skip {
				continue
			}
			c.fail("got  %q\nwant %q", line, pattern)
		}
		for i, name := range names {
			c.Vars[name] = found[i+1]
		}
		return
	}
}

var hole = regexp.MustCompile(`«([^»]*)»`)

// fill puts the values of named holes into text that is sent.
func (c *Conn) fill(text string) string {
	return hole.ReplaceAllStringFunc(text, func(h string) string {
		name := strings.Trim(h, "«»")
		value, ok := c.Vars[name]
		if !ok {
			c.t.Fatalf("transcript: nothing matched «%s» yet", name)
		}
		return value
	})
}

// compile makes a pattern of text with holes; names are those of its groups.
func (c *Conn) compile(pattern string) (re *regexp.Regexp, names []string) {
	var b strings.Builder
	b.WriteString("^")
	at := 0
	for _, m := range hole.FindAllStringSubmatchIndex(pattern, -1) {
		b.WriteString(regexp.QuoteMeta(pattern[at:m[0]]))
		name, expr, isNew := strings.Cut(pattern[m[2]:m[3]], ":")
		switch value, known := c.Vars[name]; {
		case name == "*":
			b.WriteString(".*")
		case isNew:
			names = append(names, name)
			b.WriteString("(" + expr + ")")
		case known:
			b.WriteString(regexp.QuoteMeta(value))
		default:
			names = append(names, name)
			b.WriteString("(.*?)")
		}
		at = m[1]
	}
	b.WriteString(regexp.QuoteMeta(pattern[at:]) + "$")
	re, err := regexp.Compile(b.String())
	if err != nil {
		c.t.Fatalf("transcript: %q: %v", pattern, err)
	}
	return re, names
}

func (c *Conn) note(line string) {
	if len(line) > 300 {
		line = line[:300] + fmt.Sprintf("… (%d octets)", len(line))
	}
	if c.log = append(c.log, line); len(c.log) > 40 {
		c.log = c.log[1:]
	}
}

// fail ends the test and shows the end of the conversation.
func (c *Conn) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s\n--- the conversation so far:\n%s", fmt.Sprintf(format, args...), strings.Join(c.log, "\n"))
}
