package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// sections renders what the parts of a message are, for comparison: each
// number, its type, and its body.
func sections(t *testing.T, msg string) string {
	t.Helper()
	p := parse(t, msg)
	ix, err := DecodeParts(p.Parts)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var visit func(path []int)
	visit = func(path []int) {
		for n := 1; ; n++ {
			at := append(path[:len(path):len(path)], n)
			part, ok := ix.Lookup(at)
			if !ok || len(at) > 8 {
				return
			}
			fmt.Fprintf(&out, "%v %s %q\n", at, part.ContentType, msg[part.BodyOff:part.BodyOff+part.BodyLen])
			visit(at)
		}
	}
	visit(nil)
	return out.String()
}

func TestStructures(t *testing.T) {
	tests := []struct{ name, msg, want string }{
		{"plain", "Subject: x\n\nhi\n", `[1] text/plain "hi\r\n"`},
		{"no body", "Subject: x\n", `[1] text/plain ""`},
		{"no line end", "Subject: x", `[1] text/plain ""`},
		{"empty", "", `[1] text/plain ""`},
		{"only an empty line", "\n", `[1] text/plain ""`},
		{"no header", "\nhi", `[1] text/plain "hi"`},
		{"missing close", "Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\n\ntwo\n",
			`[1] text/plain "one"` + "\n" + `[2] text/plain "two\r\n"`},
		{"epilogue and a later delimiter", "Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\nend\n--a\n\nno\n",
			`[1] text/plain "one"`},
		{"spaces after the delimiter", "Content-Type: multipart/mixed; boundary=a\n\n--a  \t\n\none\n--a-- \nend\n",
			`[1] text/plain "one"`},
		{"empty multipart", "Content-Type: multipart/mixed; boundary=a\n\nnothing\n", `[1] text/plain ""`},
		{"closed at once", "Content-Type: multipart/mixed; boundary=a\n\n--a--\n", `[1] text/plain ""`},
		{"no boundary", "Content-Type: multipart/mixed\n\nhi\n", `[1] text/plain "hi\r\n"`},
		{"prefix boundaries", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\none\n--ab\n\ntwo\n--ab--\n--a\n\nthree\n--a--\n",
			`[1] multipart/mixed "--ab\r\n\r\none\r\n--ab\r\n\r\ntwo\r\n--ab--"` + "\n" + `[1 1] text/plain "one"` + "\n" + `[1 2] text/plain "two"` + "\n" + `[2] text/plain "three"`},
		{"outer closes inner", "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--o\n\ntwo\n--o--\n",
			`[1] multipart/mixed "--i\r\n\r\none"` + "\n" + `[1 1] text/plain "one"` + "\n" + `[2] text/plain "two"`},
		{"the same boundary inside", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\n--a\n\ntwo\n--a--\n",
			`[1] multipart/mixed "--a\r\n\r\none\r\n--a--"` + "\n" + `[1 1] text/plain "one"` + "\n" + `[2] text/plain "two"`},
		{"boundary that ends in hyphens", "Content-Type: multipart/mixed; boundary=\"x--\"\n\n--x--\n\none\n--x----\n",
			`[1] text/plain "one"`},
		{"delimiter in a header", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: text/html\n--a\n\ntwo\n--a--\n",
			`[1] text/html ""` + "\n" + `[2] text/plain "two"`},
		{"message without its empty line", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n--a--\n",
			`[1] message/rfc822 ""` + "\n" + `[1 1] text/plain ""`},
		{"message that is a header only", "Content-Type: message/rfc822\n\nSubject: x", `[1] message/rfc822 "Subject: x"` + "\n" + `[1 1] text/plain ""`},
		{"digest", "Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: x\n\none\n--a\nContent-Type: text/plain\n\ntwo\n--a--\n",
			`[1] message/rfc822 "Subject: x\r\n\r\none"` + "\n" + `[1 1] text/plain "one"` + "\n" + `[2] text/plain "two"`},
		{"message in message", "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: s\n\nhi\n",
			`[1] message/rfc822 "Content-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nhi\r\n"` + "\n" + `[1 1] message/rfc822 "Subject: s\r\n\r\nhi\r\n"` + "\n" + `[1 1 1] text/plain "hi\r\n"`},
		{"multipart in message", "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--i\n\ntwo\n--i--\nend\n--o--\n",
			`[1] message/rfc822 "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n--i\r\n\r\ntwo\r\n--i--\r\nend"` + "\n" + `[1 1] text/plain "one"` + "\n" + `[1 2] text/plain "two"`},
		{"text before the delimiter", "Content-Type: multipart/mixed; boundary=a\n\n--a\n\none--a\n --a\nx\n--a--\n", `[1] text/plain "one--a\r\n --a\r\nx"`},
		{"type without a subtype", "Content-Type: text\n\nhi", `[1] text/plain "hi"`},
		{"nonsense type", "Content-Type: a b/c; d\n\nhi", `[1] text/plain "hi"`},
	}
	for _, test := range tests {
		if got := sections(t, crlf(test.msg)); got != test.want+"\n" {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		bare := strings.ReplaceAll(test.want, `\r\n`, `\n`)
		if got := sections(t, test.msg); got != bare+"\n" {
			t.Errorf("%s, bare line feeds:\n got %s\nwant %s", test.name, got, bare)
		}
	}
}

func TestRange(t *testing.T) {
	msg := crlf(structureMessage)
	ix, err := DecodeParts(parse(t, msg).Parts)
	if err != nil {
		t.Fatal(err)
	}
	head, text, _ := strings.Cut(msg, "\r\n\r\n")
	inner := msg[strings.Index(msg, "From: sub@"):strings.Index(msg, "\r\n--foo bar--")]
	innerHead, innerText, _ := strings.Cut(inner, "\r\n\r\n")
	tests := []struct {
		path    []int
		section Section
		want    string
		ok      bool
	}{
		{nil, SectionBody, msg, true},
		{nil, SectionHeader, head + "\r\n\r\n", true},
		{nil, SectionText, text, true},
		{nil, SectionMIME, "", false},
		{[]int{1}, SectionBody, "hello\r\n", true},
		{[]int{1}, SectionHeader, "", false},
		{[]int{1}, SectionText, "", false},
		{[]int{1, 1}, SectionBody, "", false},
		{[]int{2}, SectionMIME, "Content-Type: message/rfc822\r\n\r\n", true},
		{[]int{2}, SectionBody, inner, true},
		{[]int{2}, SectionHeader, innerHead + "\r\n\r\n", true},
		{[]int{2}, SectionText, innerText, true},
		{[]int{2, 1}, SectionBody, "<p>Hello world</p>\r\n", true},
		{[]int{2, 2}, SectionMIME, "Content-Type: text/plain\r\nContent-Transfer-Encoding: ?invalid\r\n\r\n", true},
		{[]int{2, 3}, SectionBody, "", false},
		{[]int{3}, SectionBody, "", false},
		{[]int{0}, SectionBody, "", false},
	}
	for _, test := range tests {
		off, n, ok := ix.Range(test.path, test.section)
		if ok != test.ok || msg[off:off+n] != test.want {
			t.Errorf("%v %d: %q, %v", test.path, test.section, msg[off:off+n], ok)
		}
	}
}

// counted is a message that counts what is read of it.
type counted struct {
	b    []byte
	read int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(c.b).ReadAt(p, off)
	c.read += int64(n)
	return n, err
}

// TestHostile holds TRUST.md row 7: each octet is read once for the structure
// (and a bounded piece again for the preview), and allocations are bounded.
func TestHostile(t *testing.T) {
	for name, msg := range hostile() {
		c := &counted{b: []byte(msg)}
		var p *Parsed
		allocs := testing.AllocsPerRun(1, func() {
			c.read = 0
			var err error
			if p, err = Parse(c, int64(len(msg))); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		})
		if extra := c.read - int64(len(msg)); extra > 4*previewHTML {
			t.Errorf("%s: read %d octets of %d", name, c.read, len(msg))
		}
		if allocs > float64(len(msg)/4+20_000) {
			t.Errorf("%s: %.0f allocations", name, allocs)
		}
		checkParsed(t, p, int64(len(msg)))
		if len(p.BodyStructure) > 3*maxStructure {
			t.Errorf("%s: BODYSTRUCTURE of %d octets", name, len(p.BodyStructure))
		}
	}
}

// hostile are the messages of TRUST.md row 7.
func hostile() map[string]string {
	repeat := func(n int, line func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
		}
		return b.String()
	}
	return map[string]string{
		"messages 10,000 deep": strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 10_000) + "hi\r\n",
		"multiparts 3,000 deep": repeat(3000, func(i int) string {
			return fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}) + repeat(3000, func(i int) string { return fmt.Sprintf("\r\n--b%d--\r\n", 2999-i) }),
		"multiparts of one boundary": strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 3000) +
			strings.Repeat("--b--\r\n", 3000),
		"100,000 headers":    repeat(100_000, func(i int) string { return fmt.Sprintf("X-H%d: v\r\n", i) }) + "\r\nhi\r\n",
		"100,000 addresses":  "To: " + repeat(100_000, func(i int) string { return fmt.Sprintf("a%d@b,\r\n ", i) }) + "z@z\r\n\r\nhi\r\n",
		"100,000 parameters": "Content-Type: text/plain" + repeat(100_000, func(i int) string { return fmt.Sprintf(";\r\n p%d=v", i) }) + "\r\n\r\nhi\r\n",
		"100,000 parts":      "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100_000) + "--b--\r\n",
		"parts with headers": "Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			repeat(100, func(i int) string {
				return "--b\r\nContent-Type: message/rfc822\r\n\r\nTo: " + strings.Repeat("a@b,", 15_000) + "\r\n\r\nx\r\n"
			}),
		"open comments":      "To: " + strings.Repeat("(", 500_000) + "\r\n\r\n",
		"open quotes":        "To: " + strings.Repeat("\"\\", 250_000) + "\r\n\r\n",
		"quotes and at":      "To: " + strings.Repeat("x .@b. ", 100_000) + "\r\n\r\n",
		"angles":             "To: " + strings.Repeat("<", 500_000) + "\r\n\r\n",
		"groups":             "To: " + strings.Repeat("a:", 300_000) + "\r\n\r\n",
		"semicolons":         "To: " + strings.Repeat("a:;", 300_000) + "\r\n\r\n",
		"encoded words":      "Subject: " + strings.Repeat("=?", 400_000) + "\r\n\r\n",
		"encoded words, too": "Subject: " + strings.Repeat("=?utf-8?q?=41?= ", 60_000) + "\r\n\r\n",
		"blobs":              "Subject: " + strings.Repeat("[a]", 300_000) + "\r\n\r\n",
		"references":         "References: " + strings.Repeat("<a@b>", 200_000) + "\r\n\r\n",
		"one long line":      "Subject: x\r\n\r\n" + strings.Repeat("-", 2_000_000),
		"false delimiters":   "Content-Type: multipart/mixed; boundary=" + strings.Repeat("-", 900) + "\r\n\r\n" + strings.Repeat(strings.Repeat("-", 900)+"\r\n", 2000),
		"open tags":          "Content-Type: text/html\r\n\r\n" + strings.Repeat("<a b=\"<!--<script ", 100_000),
		"short lines":        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + strings.Repeat("\n", 2_000_000),
	}
}

// TestWindow reads messages whose interesting places fall on all offsets around
// the window's end.
func TestWindow(t *testing.T) {
	const parts = "--bound\r\n\r\none\r\n--bound\r\n\r\ntwo\r\n--bound--\r\n"
	for shift := -40; shift < 40; shift++ {
		head := "Content-Type: multipart/mixed; boundary=bound\r\n\r\n"
		for _, fill := range []string{"x", "\n", "-"} {
			pad := window + shift - len(head)
			msg := head + strings.Repeat(fill, pad) + "\r\n" + parts
			moved := parse(t, msg)
			held, err := Parse(inMemory(msg), int64(len(msg)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(moved.Parts, held.Parts) || !bytes.Contains(moved.BodyStructure, []byte(" 3 0 NIL NIL NIL NIL)(")) {
				t.Fatalf("shift %d, %q: %s", shift, fill, moved.BodyStructure)
			}
			inPart := head + "--bound\r\n\r\n" + strings.Repeat(fill, pad) + "\r\n--bound--\r\n"
			p := parse(t, inPart)
			lines := 0
			if fill == "\n" {
				lines = pad
			}
			if want := fmt.Sprintf(" %d %d NIL NIL NIL NIL)", pad, lines); !bytes.Contains(p.BodyStructure, []byte(want)) {
				t.Fatalf("shift %d, %q: %s, want %s", shift, fill, p.BodyStructure, want)
			}
		}
	}
}

func TestReadError(t *testing.T) {
	if _, err := Parse(strings.NewReader("Subject: x\r\n\r\nhi"), 100); err == nil {
		t.Error("a message shorter than its size is no error")
	}
}
