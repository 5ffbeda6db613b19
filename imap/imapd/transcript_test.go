package imapd

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peer is a client that plays transcripts:
//
//	C: text    send the line, with CRLF
//	C-: text   send it without CRLF; \r \n \0 and \xNN are escapes
//	S: text    the next response must be this
//	S~: text   some response must be this; untagged ones before it are passed over
//	S!: text   no untagged response before the next tagged one, which is consumed, is this
//	EOF:       the server must close the connection
//
// In what is expected, "…" stands for any octets of the response, and {name}
// binds what stands there to a name, or must be the same again. A response's
// literals are part of it, with CRLF written as \r\n.
type peer struct {
	t    testing.TB
	c    net.Conn
	r    *bufio.Reader
	vars map[string]string
}

func newPeer(t testing.TB, c net.Conn) *peer {
	t.Cleanup(func() { c.Close() })
	return &peer{t: t, c: c, r: bufio.NewReader(c), vars: map[string]string{}}
}

// run plays a transcript. Empty lines and lines that begin with # are skipped.
func (p *peer) run(script string) {
	p.t.Helper()
	for line := range strings.SplitSeq(script, "\n") {
		line = strings.TrimLeft(line, "\t ")
		if line == "" || line[0] == '#' {
			continue
		}
		verb, text, _ := strings.Cut(line, ":")
		text = strings.TrimPrefix(text, " ")
		switch verb {
		case "C":
			p.send(p.fill(text) + "\r\n")
		case "C-":
			p.send(unescape(p.fill(text)))
		case "S":
			if got := p.read(); !p.matches(text, got) {
				p.t.Fatalf("expected %s\n     got %s", p.fill(text), got)
			}
		case "S~":
			p.until(text)
		case "S!":
			p.never(text)
		case "EOF":
			p.eof()
		default:
			p.t.Fatalf("what is %q in a transcript?", line)
		}
	}
}

func (p *peer) send(s string) {
	p.t.Helper()
	p.deadline()
	if _, err := io.WriteString(p.c, s); err != nil {
		p.t.Fatalf("send %.80q: %v", s, err)
	}
}

func (p *peer) deadline() {
	if err := p.c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) until(text string) {
	p.t.Helper()
	var passed []string
	for {
		got := p.read()
		if p.matches(text, got) {
			return
		}
		passed = append(passed, got)
		if !strings.HasPrefix(got, "* ") {
			p.t.Fatalf("expected %s\n     got %s", p.fill(text), strings.Join(passed, "\n         "))
		}
	}
}

func (p *peer) never(text string) {
	p.t.Helper()
	for {
		got := p.read()
		if p.matches(text, got) {
			p.t.Fatalf("got %s", got)
		}
		if !strings.HasPrefix(got, "* ") {
			return
		}
	}
}

func (p *peer) eof() {
	p.t.Helper()
	p.deadline()
	if rest, err := io.ReadAll(p.r); err != nil || len(rest) > 0 {
		p.t.Fatalf("expected the connection to be closed, got %q, %v", rest, err)
	}
}

var literalEnd = regexp.MustCompile(`~?\{(\d+)\}\r\n$`)

// read is one response with its literals.
func (p *peer) read() string {
	p.t.Helper()
	p.deadline()
	var b bytes.Buffer
	for {
		line, err := p.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			p.t.Fatalf("read a response: %q, %v", b.String(), err)
		}
		m := literalEnd.FindStringSubmatch(line)
		if m == nil {
			break
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := io.CopyN(&b, p.r, int64(n)); err != nil {
			p.t.Fatalf("read a literal of %d octets: %v", n, err)
		}
	}
	s, ok := strings.CutSuffix(b.String(), "\r\n")
	if !ok {
		p.t.Fatalf("a response that does not end in CRLF: %q", b.String())
	}
	return strings.ReplaceAll(s, "\r\n", `\r\n`)
}

var variable = regexp.MustCompile(`\{[a-z]+\}`)

// matches compares, and binds variables when it does match.
func (p *peer) matches(want, got string) bool {
	var names []string
	expr := "(?s)^"
	want = p.fill(want)
	for i, part := range strings.Split(want, "…") {
		if i > 0 {
			expr += ".*"
		}
		at := 0
		for _, m := range variable.FindAllStringIndex(part, -1) {
			names = append(names, part[m[0]:m[1]])
			expr += regexp.QuoteMeta(octets(part[at:m[0]])) + `([^ ()\[\]]+)`
			at = m[1]
		}
		expr += regexp.QuoteMeta(octets(part[at:]))
	}
	m := regexp.MustCompile(expr + "$").FindStringSubmatch(octets(got))
	if m == nil {
		return false
	}
	for i, name := range names {
		p.vars[name] = m[i+1]
	}
	return true
}

// octets gives each octet as a character: package regexp wants UTF-8.
func octets(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// fill puts the values of bound variables in.
func (p *peer) fill(s string) string {
	return variable.ReplaceAllStringFunc(s, func(name string) string {
		if v, ok := p.vars[name]; ok {
			return v
		}
		return name
	})
}

func unescape(s string) string {
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.ReplaceAll(s, `"`, `\"`), `\0`, `\x00`) + `"`)
	if err != nil {
		panic(err)
	}
	return out
}
