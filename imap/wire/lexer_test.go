package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// small are limits that a test can reach.
var small = Limits{Line: 8 << 10, String: 50, Strings: 120, Discard: 1000, MaxDepth: 5}

func testLexer(r io.Reader, asked *int) *Lexer {
	l := NewLexer(r, small)
	l.Continue = func() error { *asked++; return nil }
	return l
}

// TestSkip is TRUST row 5 at its root: whatever a handler left unread, the next
// command begins where the client meant it to.
func TestSkip(t *testing.T) {
	const next = "b NOOP\r\n"
	big := strings.Repeat("x NOOP\r\n", 100)
	tests := []struct {
		name, input string
		read        func(l *Lexer) error // after the tag; its error does not matter
		want        string               // the next tag, or "" when the stream must end
	}{
		{"nothing read", "a FOO bar\r\n" + next, nothing, "b"},
		{"all read", "a\r\n" + next, (*Lexer).End, "b"},
		{"non-sync literal unread", "a FOO {16+}\r\nx NOOP\r\ny NOOP\r\n\r\n" + next, nothing, "b"},
		{"two of them", "a FOO {8+}\r\nx NOOP\r\n {8+}\r\ny NOOP\r\n z\r\n" + next, nothing, "b"},
		{"literal8", "a FOO ~{8+}\r\nx NOOP\r\n\r\n" + next, nothing, "b"},
		{"sync literal unread, the client waits", "a FOO {16}\r\n", nothing, "b"},
		{"sync literal unread, the client does not wait", "a FOO {8}\r\nx NOOP\r\n\r\n" + next, nothing, ""},
		{"announcement half read", "a FOO {8+}\r\nx NOOP\r\n\r\n" + next, func(l *Lexer) error {
			l.SP()
			l.Atom()
			l.SP()
			l.Accept('{')
			l.Accept('8')
			return nil
		}, "b"},
		{"announced, not opened", "a {8+}\r\nx NOOP\r\n\r\n" + next, func(l *Lexer) error { l.SP(); _, err := l.Literal(); return err }, "b"},
		{"opened, half read", "a {8+}\r\nx NOOP\r\n\r\n" + next, func(l *Lexer) error {
			l.SP()
			lit, _ := l.Literal()
			r, _ := l.Open(lit)
			_, err := io.ReadFull(r, make([]byte, 3))
			return err
		}, "b"},
		{"opened, closed, the line goes on", "a {8+}\r\nx NOOP\r\n {8+}\r\ny NOOP\r\n\r\n" + next, func(l *Lexer) error {
			l.SP()
			lit, _ := l.Literal()
			if _, err := l.Open(lit); err != nil {
				return err
			}
			return l.CloseLiteral(lit)
		}, "b"},
		{"argument over the limit", fmt.Sprintf("a {%d+}\r\n%s\r\n", len(big), big) + next, astring, "b"},
		{"arguments over the sum", "a {50+}\r\n" + big[:50] + " {50+}\r\n" + big[:50] + " {50+}\r\n" + big[:50] + "\r\n" + next,
			func(l *Lexer) error { astring(l); astring(l); return astring(l) }, "b"},
		{"too big to be discarded", "a {1001+}\r\n" + big + next, astring, ""},
		{"Apple's", "a FOO {234310148+}\r\n" + big + next, nothing, ""},
		{"a number that overflows", "a FOO {99999999999999999999+}\r\n" + next, nothing, "b"}, // no literal at all
		{"the largest number", "a FOO {9223372036854775807+}\r\n" + next, nothing, ""},
		{"quoted string that looks like one", "a \"{8+}\r\nx NOOP\r\n\r\n" + next, astring, "b"},
		{"braces within the line", "a {8+} b\r\n" + next, astring, "b"},
		{"endless line", "a " + strings.Repeat("x", 9<<10) + "\r\n" + next, nothing, ""},
		{"line as long as allowed", "a " + strings.Repeat("x", 8<<10-10) + "\r\n" + next, nothing, "b"},
		{"bare LF", "a FOO\nb NOOP\n", nothing, "b"},
		{"zero", "a {0+}\r\n\r\n" + next, astring, "b"},
	}
	for _, tt := range tests {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": whole, "octets": iotest.OneByteReader} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				asked := 0
				l := testLexer(wrap(strings.NewReader(tt.input)), &asked)
				begin(t, l, "a")
				tt.read(l)
				err := l.Skip()
				if asked != 0 {
					t.Errorf("asked for %d literals", asked)
				}
				if tt.want == "" {
					if name == "octets" && strings.Contains(tt.name, "does not wait") {
						return // nothing was sent ahead, as far as we could see
					}
					if !errors.Is(err, ErrLimit) {
						t.Fatalf("skip: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(tt.input, next) || strings.HasSuffix(tt.input, "b NOOP\n") {
					begin(t, l, "b")
				}
			})
		}
	}
}

func whole(r io.Reader) io.Reader { return r }
func nothing(*Lexer) error        { return nil }
func astring(l *Lexer) error      { l.SP(); _, err := l.Astring(); return err }
func begin(t *testing.T, l *Lexer, want string) {
	t.Helper()
	if err := l.Wait(); err != nil {
		t.Fatal(err)
	}
	l.Begin()
	if tag, err := l.Tag(); err != nil || tag != want {
		t.Fatalf("tag %q, %v; want %q", tag, err, want)
	}
}

func TestTokens(t *testing.T) {
	asked := 0
	l := testLexer(iotest.OneByteReader(strings.NewReader(
		"a1 {3}\r\nabc \"q\\\"\\\\é\" atom] nil \"\" 4294967295 (\\Seen $x (foo)) {2+}\r\n\x01\r \r\n")), &asked)
	begin(t, l, "a1")
	str := func(want string) {
		t.Helper()
		if err := l.SP(); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Astring(); err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	str("abc")
	str(`q"\é`)
	str("atom]")
	l.SP()
	if _, ok, err := l.Nstring(); ok || err != nil {
		t.Fatalf("NIL: %v %v", ok, err)
	}
	l.SP()
	if s, ok, err := l.Nstring(); s != "" || !ok || err != nil {
		t.Fatalf("empty: %q %v %v", s, ok, err)
	}
	l.SP()
	if n, err := l.Number(); n != 1<<32-1 || err != nil {
		t.Fatal(n, err)
	}
	l.SP()
	var got []string
	err := l.List(func() error {
		if l.IsList() {
			return l.List(func() error { a, err := l.Atom(); got = append(got, "("+a+")"); return err })
		}
		f, err := l.Flag()
		got = append(got, string(f))
		return err
	})
	if err != nil || strings.Join(got, " ") != `\Seen $x (foo)` {
		t.Fatalf("%q, %v", got, err)
	}
	str("\x01\r")
	if err := l.End(); err != nil {
		t.Fatal(err)
	}
	if asked != 1 {
		t.Errorf("asked for %d literals, want 1", asked)
	}
}

func TestSyntaxErrors(t *testing.T) {
	parse := map[string]func(l *Lexer) error{
		"astring": func(l *Lexer) error { _, err := l.Astring(); return err },
		"number":  func(l *Lexer) error { _, err := l.Number(); return err },
		"number64": func(l *Lexer) error {
			_, err := l.Number64()
			return err
		},
		"flags": func(l *Lexer) error { _, err := l.FlagList(); return err },
		"deep": func(l *Lexer) error {
			var item func() error
			item = func() error { return l.List(item) }
			return l.List(item)
		},
		"end": (*Lexer).End,
	}
	for _, tt := range []struct{ what, input string }{
		{"astring", ""}, {"astring", "("}, {"astring", `"open`}, {"astring", `"bad\n"`}, {"astring", "{3"}, {"astring", "{}"},
		{"astring", "{3+"}, {"astring", "{3}x"}, {"astring", "\"nul\x00\""}, {"astring", "{3+}\r\na\x00b"}, {"astring", strings.Repeat("x", MaxAtom+1)},
		{"number", "4294967296"}, {"number", "x"}, {"number", "-1"}, {"number64", "9223372036854775808"}, {"number64", strings.Repeat("9", 500)},
		{"flags", `(\)`}, {"flags", `(a  b)`}, {"flags", `(a`}, {"deep", strings.Repeat("(", 20000>>2)}, {"end", "x"}, {"end", "\rx"},
	} {
		asked := 0
		l := testLexer(strings.NewReader(tt.input+"\r\n"), &asked)
		l.Begin()
		_, ok := errors.AsType[*SyntaxError](parse[tt.what](l))
		if !ok {
			t.Errorf("%s of %.40q is no syntax error", tt.what, tt.input)
		}
	}
}

// TestMonsterMemory is TRUST row 6: what is refused is not kept.
func TestMonsterMemory(t *testing.T) {
	for name, input := range map[string]string{
		"tag":         strings.Repeat("a", 1<<20),
		"parentheses": "a " + strings.Repeat("(", 1<<20),
		"flags":       "a (" + strings.Repeat("x ", 1<<19) + ")",
		"literals":    "a (" + strings.Repeat("x {3+}\r\nabc ", 1<<16) + ")",
		"words":       "a (" + strings.Repeat("x", 1<<20) + ")",
	} {
		l := NewLexer(strings.NewReader(input+"\r\n"), User)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l.Begin()
		l.Tag()
		l.SP()
		_, err := l.FlagList()
		if err == nil && l.Skip() == nil {
			t.Errorf("%s: accepted", name)
		}
		err = l.Skip()
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 2<<20 { // garbage included: 24 octets for each literal
			t.Errorf("%s: %d octets allocated, %v", name, took, err)
		}
	}
}

// TestWait: between commands the lexer holds no buffer, and a timeout is no end.
func TestWait(t *testing.T) {
	r, w := io.Pipe()
	l := NewLexer(iotest.TimeoutReader(r), User)
	go func() { io.WriteString(w, "a NOOP\r\n"); io.WriteString(w, "b NOOP\r\n"); w.Close() }()
	begin(t, l, "a")
	if err := l.Skip(); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(); err != iotest.ErrTimeout {
		t.Fatalf("got %v, want the timeout", err)
	}
	if l.buf != nil {
		t.Error("a lexer that waits holds its buffer")
	}
	r.Close()
}

// FuzzLexer: any octets, read in any way, end in a command's end or an error,
// and never take more memory than the limits say.
func FuzzLexer(f *testing.F) {
	for _, seed := range []string{"a NOOP\r\n", "a LOGIN {5+}\r\nalice {6}\r\nsecret\r\n", "a X (((((((((", "a \"\\\"\" {3+}\r\n\x00\x00\x00\r\n", "a {1001+}\r\n"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, input []byte, plan uint8) {
		l := NewLexer(bytes.NewReader(input), small)
		l.Continue = func() error { return nil }
		for l.Wait() == nil {
			l.Begin()
			l.Tag()
			for i := 0; i < 20 && !l.AtEnd() && l.Err() == nil; i++ {
				var err error
				switch (int(plan) + i) % 6 {
				case 0:
					_, err = l.Astring()
				case 1:
					_, err = l.Number64()
				case 2:
					_, err = l.FlagList()
				case 3:
					_, _, err = l.Nstring()
				case 4:
					err = l.SP()
				case 5:
					_, err = l.Literal()
				}
				if err != nil && plan&1 == 0 {
					break
				}
			}
			if err := l.Skip(); err != nil {
				return
			}
			if !l.ended || l.used > small.Line+bufSize || l.strings > small.Strings {
				t.Fatalf("ended %v, used %d, strings %d", l.ended, l.used, l.strings)
			}
		}
	})
}

func TestEncoder(t *testing.T) {
	var out bytes.Buffer
	e := NewEncoder(&out)
	e.Raw("* ")
	e.Number(12)
	e.SP()
	e.String(`a "b" \c`)
	e.SP()
	e.String("é")
	e.SP()
	e.Nstring("", false)
	e.CRLF()
	if out.Len() != 0 {
		t.Error("written before Flush")
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "* 12 \"a \\\"b\\\" \\\\c\" {2}\r\né NIL\r\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if e.buf != nil {
		t.Error("a flushed encoder holds its buffer")
	}
	big := strings.Repeat("0123456789", 10_000)
	out.Reset()
	e.Literal(int64(len(big)))
	e.Bytes([]byte(big))
	e.CRLF()
	if err := e.Flush(); err != nil || out.String() != "{100000}\r\n"+big+"\r\n" {
		t.Errorf("%v, %d octets", err, out.Len())
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestEncoderError(t *testing.T) {
	e := NewEncoder(failing{})
	for range 10 {
		e.Raw(strings.Repeat("x", outSize))
	}
	if err := e.Flush(); err != io.ErrClosedPipe {
		t.Error(err)
	}
}
