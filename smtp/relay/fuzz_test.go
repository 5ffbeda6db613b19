package relay

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// FuzzReply: no reply, however wrong, makes more of itself than it may.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"220 hop\r\n", "250-a\r\n250 b\r\n", "250-a\r\n251 b\r\n", "550 5.1.1 no\n", "250\r\n", "999 x\r\n", "25 x\r\n",
		"250x\r\n", "421 4.999.1 x\r\n", "250-" + strings.Repeat("x", 3000), strings.Repeat("250-x\r\n", 200), "550 5.1.1 \x1b[2J\x00é\xff\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(in), maxReplyLine+2)
		var r reply
		for readReply(br, &r) == nil {
			if r.code < 200 || r.code > 599 || len(r.text) > maxReply {
				t.Errorf("code %d with %d octets", r.code, len(r.text))
			}
			line := r.line()
			if len(line) > maxText || strings.ContainsAny(line, "\r\n\x00\x1b") {
				t.Errorf("%q", line)
			}
			if e := r.status(); int(e[0]) != r.class() {
				t.Errorf("%d has status %s", r.code, e)
			}
			parseExtensions(r.text)
		}
	})
}

// FuzzLines: whatever is written, and in whatever pieces, is lines with CRLF,
// and no lone dot among them.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "\n.\n", "\r.\r", "\r\n.\r", ".\r\n", "..", "\r\r\n.\r\n"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		var out bytes.Buffer
		l := newLines(&out, true)
		size := max(1, piece%7)
		for rest := in; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := l.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		bare := strings.ReplaceAll(out.String(), "\r\n", "")
		if strings.ContainsAny(bare, "\r\n") {
			t.Errorf("%q became %q", in, out.Bytes())
		}
		if strings.Contains("\r\n"+out.String(), "\r\n.\r\n") {
			t.Errorf("%q became %q, with an end in it", in, out.Bytes())
		}
	})
}
