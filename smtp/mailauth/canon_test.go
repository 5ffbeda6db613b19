package mailauth

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// relaxedReference is RFC 6376 §3.4.4 done step by step on the whole body.
func relaxedReference(body string) string {
	lines := strings.Split(body, "\r\n")
	for i, l := range lines {
		l = regexp.MustCompile("[ \t]+").ReplaceAllString(l, " ")
		lines[i] = strings.TrimRight(l, " ")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// bodyHash hashes a body that arrives in pieces of a size.
func bodyHash(body string, piece int) string {
	c := relaxedBody{sum: sha256.New()}
	for rest := []byte(body); len(rest) > 0; {
		n := min(piece, len(rest))
		c.Write(rest[:n])
		rest = rest[n:]
	}
	return fmt.Sprintf("%x", c.Sum())
}

func sha(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// TestRelaxedBody holds the canonical form of bodies, the example of RFC 6376
// §3.4.5 among them, however they are cut on their way.
func TestRelaxedBody(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"RFC 6376 §3.4.5", " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"},
		{"empty", "", ""},
		{"a line end", "\r\n", ""},
		{"line ends", "\r\n\r\n\r\n", ""},
		{"blanks only", " \t ", ""},
		{"lines of blanks", " \r\n\t\r\n  ", ""},
		{"no line end", "text", "text\r\n"},
		{"no line end, blanks", "text \t", "text\r\n"},
		{"inner empty lines", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"},
		{"empty lines first", "\r\n\r\na\r\n", "\r\n\r\na\r\n"},
		{"inner lines of blanks", "a\r\n \t \r\nb", "a\r\n\r\nb\r\n"},
		{"leading blanks are one", "\t \ta", " a\r\n"},
		{"8-bit", "\xc3\xa4 \t\xff\r\n", "\xc3\xa4 \xff\r\n"},
		{"no-break space is no blank", "a\u00a0 \r\n", "a\u00a0\r\n"},
		{"vertical tab is no blank", "a\v\r\n", "a\v\r\n"},
		{"bare CR", "a \rb\r\n", "a \rb\r\n"},
		{"CR at the end", "a\r", "a\r\r\n"},
		{"CR CR LF", "a \r\r\n", "a \r\r\n"},
		{"bare LF", "a \nb", "a \nb\r\n"},
		{"NUL", "a\x00 \x00\r\n", "a\x00 \x00\r\n"},
		{"dots", ".\r\n..\r\n", ".\r\n..\r\n"},
	} {
		for _, piece := range []int{1, 2, 3, 1000} {
			if got := bodyHash(tt.body, piece); got != sha(tt.want) {
				t.Errorf("%s, in pieces of %d: not the hash of %q", tt.name, piece, tt.want)
			}
		}
		if got := relaxedReference(tt.body); got != tt.want {
			t.Errorf("%s: the reference gives %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestRelaxedBodyRandom compares with the reference over bodies made of what is
// special.
func TestRelaxedBodyRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	parts := []string{" ", "\t", "\r\n", "\r", "\n", "a", "bc", "\xe4", strings.Repeat("x", 5000), "\r\n\r\n"}
	for range 3000 {
		var b strings.Builder
		for range r.IntN(20) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		if got, want := bodyHash(b.String(), 1+r.IntN(7)), sha(relaxedReference(b.String())); got != want {
			t.Fatalf("body %q", b.String())
		}
	}
}

// TestRelaxedField holds the canonical form of header fields.
func TestRelaxedField(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"A: X\r\n", "a:X"},                                      // RFC 6376 §3.4.5
		{"B : Y\t\r\n\tZ  \r\n", "b:Y Z"},                        // the same
		{"Subject:\r\n", "subject:"},                             // empty
		{"Subject: \t \r\n", "subject:"},                         // blanks
		{"SUBJECT:a:b\r\n", "subject:a:b"},                       // colons
		{"To: a,\r\n \tb,\r\n\r\n", "to:a, b,"},                  // folding
		{"Subject: \xc3\xa4  \xff\r\n", "subject:\xc3\xa4 \xff"}, // 8-bit
		{"X-Y \t:\r\n 1", "x-y:1"},
	} {
		name, value, _ := bytes.Cut([]byte(tt.raw), []byte(":"))
		if got := string(relaxedField(nil, name, value)); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func TestSplitHeader(t *testing.T) {
	got := splitHeader([]byte(" not a field\r\nFrom: a\r\n\tb\r\nno colon\r\nTO :c\r\nX: d"))
	var names []string
	for _, f := range got {
		names = append(names, f.name+"="+string(f.value))
	}
	if want := "[from= a\r\n\tb\r\n to=c\r\n x= d]"; fmt.Sprint(names) != want {
		t.Errorf("%q, want %q", fmt.Sprint(names), want)
	}
}

// TestDigest holds that header and body are told apart wherever a read ends.
func TestDigest(t *testing.T) {
	for _, tt := range []struct{ header, body string }{
		{"From: a\r\nTo: b\r\n", "\r\nbody\r\n"},
		{"From: a\r\n", ""},
		{"", "body\r\n"},
		{"", ""},
		{"From: a\r\n", "\r\n\r\nFrom: b\r\n\r\n"},
	} {
		msg := tt.header + "\r\n" + tt.body
		for size := 1; size <= len(msg)+1; size++ {
			header, sum, err := digest(strings.NewReader(msg), make([]byte, size))
			if err != nil || string(header) != tt.header || fmt.Sprintf("%x", sum) != sha(relaxedReference(tt.body)) {
				t.Errorf("%q in reads of %d: header %q, %v", msg, size, header, err)
			}
		}
	}
	if header, _, err := digest(strings.NewReader("From: a\r\n"), make([]byte, 4)); err != nil || string(header) != "From: a\r\n" {
		t.Errorf("no empty line: %q, %v", header, err)
	}
}
