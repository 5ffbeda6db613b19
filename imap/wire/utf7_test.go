package wire

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUTF7Vectors(t *testing.T) {
	for _, c := range []struct{ wire, text string }{
		{"INBOX", "INBOX"},
		{"", ""},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"}, // RFC 3501 §5.1.3
		{"&Jjo-!", "☺!"},
		{"Entw&APw-rfe", "Entwürfe"},
		{"&AOQA9gD8-", "äöü"},
		{"R&-D", "R&D"},
		{"&-&-", "&&"},
		{"&-&AOQ-&-", "&ä&"},
		{"&2D3eAA-", "😀"},
		{"a&AOQ-b&APY-c", "aäböc"},
	} {
		got, err := DecodeUTF7(c.wire)
		if err != nil || got != c.text {
			t.Errorf("DecodeUTF7(%q) = %q, %v; want %q", c.wire, got, err, c.text)
		}
		if got := EncodeUTF7(c.text); got != c.wire {
			t.Errorf("EncodeUTF7(%q) = %q, want %q", c.text, got, c.wire)
		}
	}
}

func TestUTF7Rejects(t *testing.T) {
	for _, s := range []string{
		"&Jjo!",              // RFC 3501 §5.1.3: not closed
		"&Jjo",               // nor here
		"&U,BTFw-&ZeVnLIqe-", // RFC 3501 §5.1.3: superfluous shift
		"&AGE-",              // "a" needs no shift
		"&AOQAYQ-",           // nor does it behind an umlaut
		"&ACY-",              // "&" is "&-"
		"&2D0-",              // half a pair
		"&3gDYPQ-",           // pair the wrong way round
		"&2D0A5A-",           // half a pair before a letter
		"&A-", "&AA-",        // too few bits
		"&AOR-",                      // stray bits
		"&AOQA-",                     // a whole superfluous digit
		"M\xfcll", "M\xef\xbf\xbdll", // 8-bit
		"R&D-x",
	} {
		if got, err := DecodeUTF7(s); !errors.Is(err, ErrUTF7) {
			t.Errorf("DecodeUTF7(%q) = %q, %v; want ErrUTF7", s, got, err)
		}
	}
}

// PROTOCOLS.md, IMAP rule 8: Thunderbird sends a raw ampersand.
func TestUTF7RawAmpersand(t *testing.T) {
	for wire, text := range map[string]string{
		"R&D": "R&D", "A & B": "A & B", "AT&T": "AT&T", "Q&A/x": "Q&A/x", "&": "&", "a&": "a&", "&&": "&&",
		"Foo&Bar": "Foo&Bar", "a&&AOQ-": "a&ä",
	} {
		if got, err := DecodeUTF7(wire); err != nil || got != text {
			t.Errorf("DecodeUTF7(%q) = %q, %v; want %q", wire, got, err, text)
		}
	}
}

// go-imap's client writes UTF-8 where IMAP4rev2 is advertised, and "&-" in it.
func TestUTF7RawUTF8(t *testing.T) {
	for wire, text := range map[string]string{"Müll": "Müll", "日本 R&-D": "日本 R&D", "ä&APY-ü": "äöü"} {
		if got, err := DecodeUTF7(wire); err != nil || got != text {
			t.Errorf("DecodeUTF7(%q) = %q, %v; want %q", wire, got, err, text)
		}
	}
}

func TestUTF7IsLinear(t *testing.T) {
	const n = 1 << 20
	for _, s := range []string{strings.Repeat("&", n), "&" + strings.Repeat("A", n), strings.Repeat("&AOQ-x", n/6)} {
		if allocs := testing.AllocsPerRun(1, func() { DecodeUTF7(s) }); allocs > 4 {
			t.Errorf("%.6q…: %v allocations", s, allocs)
		}
	}
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"&Jjo-!", "R&D", "&2D3eAA-", "&U,BTFw-/&ZeVnLIqe-", "&-&-", "&AOQ-&AOQ-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if text, err := DecodeUTF7(s); err == nil {
			if !utf8.ValidString(text) {
				t.Fatalf("%q decodes to invalid UTF-8 %q", s, text)
			}
			again, err := DecodeUTF7(EncodeUTF7(text))
			if err != nil || again != text {
				t.Fatalf("%q: %q does not survive a round trip: %q, %v", s, text, again, err)
			}
		}
		if !utf8.ValidString(s) {
			return
		}
		if got, err := DecodeUTF7(EncodeUTF7(s)); err != nil || got != s {
			t.Fatalf("%q does not survive a round trip: %q, %v", s, got, err)
		}
	})
}
