package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestDecodeMailbox(t *testing.T) {
	for _, c := range []struct {
		raw  string
		utf8 bool
		want string
	}{
		{"inbox", false, "INBOX"},
		{"InBoX", false, "INBOX"},
		{"inbox/a", false, "INBOX/a"},
		{"inboxes", false, "inboxes"},
		{"a/inbox", false, "a/inbox"},
		{"&AGEDCA-", false, ""}, // "a" hidden in base64
		{"a&Awg-", false, "ä"},  // a + combining diaeresis becomes one letter
		{"Müll", true, "Müll"},
		{"mu\u0308ll & more", true, "müll & more"},
		{"a.b..c", false, "a.b..c"},
		{"100%", false, "100%"},
		{strings.Repeat("x", 1000), false, strings.Repeat("x", 1000)},
		{strings.Repeat("a/", 99) + "a", false, strings.Repeat("a/", 99) + "a"},
	} {
		got, err := DecodeMailbox(c.raw, c.utf8)
		if c.want == "" {
			if err == nil {
				t.Errorf("DecodeMailbox(%q) = %q, want an error", c.raw, got)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("DecodeMailbox(%q, %v) = %q, %v; want %q", c.raw, c.utf8, got, err, c.want)
		}
		back, err := DecodeMailbox(EncodeMailbox(got, c.utf8), c.utf8)
		if err != nil || back != got {
			t.Errorf("%q does not survive a round trip: %q, %v", got, back, err)
		}
	}
}

// TRUST.md row 10 at the level of names.
func TestTRUST10BadMailboxNames(t *testing.T) {
	for _, raw := range []string{
		"", "/", "//", "/a", "a/", "a//b", ".", "..", "../etc/passwd", "a/../b", "a/./b", "a/..",
		"a\x00b", "a\x01b", "a\x7fb", "a\rb", "a\nb", "&AAA-", "&AAoADQ-", "&ICg-", "&AIU-",
		"M\xfcll", "&AGE-", "&Jjo!",
		strings.Repeat("x", 1001), strings.Repeat("x", 1<<20), strings.Repeat("a/", 20000) + "a",
		strings.Repeat("a/", 100) + "a", strings.Repeat("&AOQ-/", 400) + "x",
	} {
		_, err := DecodeMailbox(raw, false)
		if _, ok := errors.AsType[NameError](err); !ok {
			t.Errorf("DecodeMailbox(%.30q) is %v, want a NameError", raw, err)
		}
	}
	for _, raw := range []string{"M\xfcll", "a\x00", "\u2028", strings.Repeat("ä", 501)} {
		if _, err := DecodeMailbox(raw, true); err == nil {
			t.Errorf("DecodeMailbox(%.30q, UTF-8) is accepted", raw)
		}
	}
}

func TestEncodeMailboxIsQuoted(t *testing.T) {
	for _, c := range []struct {
		name string
		utf8 bool
		want string
	}{
		{"INBOX", false, `"INBOX"`},
		{`a"b\c`, false, `"a\"b\\c"`},
		{"ä&", false, `"&AOQ-&-"`},
		{"ä&", true, `"ä&"`},
		{strings.Repeat("x", 1000), false, `"` + strings.Repeat("x", 1000) + `"`},
	} {
		var out strings.Builder
		e := NewEncoder(&out)
		e.Mailbox(c.name, c.utf8)
		if err := e.Flush(); err != nil || out.String() != c.want {
			t.Errorf("%q is written %s, %v; want %s", c.name, out.String(), err, c.want)
		}
	}
}
