package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"posthouse/internal/test/nexthop"
)

// TestOctetsOut: lines of dots, blanks and every other octet leave as they came,
// and a next hop that takes any end of data for one sees one message (TRUST.md
// rows 1, 2).
func TestOctetsOut(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	hops := map[string]*nexthop.Hop{
		"chunks": w.domain(t, "chunks.octets.example", nexthop.Script{}),
		"lax":    w.domain(t, "lax.octets.example", nexthop.Script{Lax: true, Keywords: []string{"PIPELINING", "8BITMIME"}}),
	}
	var body bytes.Buffer
	for _, line := range []string{".", "..", "...", ". ", ".\t", "", "", ".x", " .", "MAIL FROM:<x@example.org>", "\t", strings.Repeat("y", 990), "." + strings.Repeat("z", 990)} {
		body.WriteString(line + "\r\n")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		fmt.Fprintf(&body, "%s%x ä\xff \r\n", strings.Repeat(".", rng.IntN(4)), rng.Uint64())
	}
	body.WriteString(".\r\n")
	from := sender(t, n, "octets")
	text := append(fmt.Appendf(nil, "From: <%s>\r\nSubject: octets\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", from), body.Bytes()...)
	outgoing{from: from, params: "BODY=8BITMIME", to: []string{"bob@chunks.octets.example", "bob@lax.octets.example"}, text: text}.submit(t, n)
	for name, hop := range hops {
		m := hop.Wait(t, 1)[0]
		if !bytes.Equal(m.Body(), body.Bytes()) {
			t.Errorf("%s: the body changed: %d octets, were %d", name, len(m.Body()), body.Len())
		}
		emptyQueue(t, n, name+".octets.example")
		if hop.Taken() != 1 {
			t.Errorf("%s: %d messages of one", name, hop.Taken())
		}
		for _, c := range hop.Session(1).Lines() {
			if strings.Contains(c, "x@example.org") {
				t.Errorf("%s: a line of the body ran as a command", name)
			}
		}
	}
}

// TestBareLineEnds: binary content with bare CR and LF reaches a host that has
// BINARYMIME as it is, and any other encoded or not at all.
func TestBareLineEnds(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	binary := w.domain(t, "binary.example", nexthop.Script{Keywords: []string{"8BITMIME", "CHUNKING", "BINARYMIME"}})
	lax := w.domain(t, "no-binary.example", nexthop.Script{Lax: true, Keywords: []string{"8BITMIME"}})
	from := sender(t, n, "bare")
	content := fmt.Appendf(nil, "From: <%s>\r\nSubject: bare\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n", from)
	const body = "one\n.\nMAIL FROM:<x@example.org>\r\nRCPT TO:<y@example.org>\n.\r\ntwo\r.\rthree\x00\r\n.\nend\r\n"
	content = append(content, body...)

	c := submission(t, n, from)
	c.say(250, "MAIL FROM:<%s> BODY=BINARYMIME", from)
	c.say(250, "RCPT TO:<bob@binary.example>")
	c.say(250, "RCPT TO:<bob@no-binary.example>")
	if _, err := fmt.Fprintf(c.conn, "BDAT %d LAST\r\n%s", len(content), content); err != nil {
		t.Fatal(err)
	}
	c.expect(250)

	if m := binary.Wait(t, 1)[0]; string(m.Body()) != body {
		t.Errorf("the body became %q", m.Body())
	}
	emptyQueue(t, n, "no-binary.example")
	if lax.Taken() > 1 {
		t.Errorf("%d messages of one", lax.Taken())
	}
	for _, m := range lax.Messages() {
		if m.From != from || bytes.Contains(bytes.ReplaceAll(m.Octets, []byte("\r\n"), nil), []byte("\n")) || bytes.Contains(bytes.ReplaceAll(m.Octets, []byte("\r\n"), nil), []byte("\r")) {
			t.Errorf("bare line ends were passed on, from %s: %q", m.From, m.Octets)
		}
	}
	if lax.Taken() == 0 {
		parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob@no-binary.example", "failed", "5.6.3")
	}
}
