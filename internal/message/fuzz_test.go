package message

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// inMemory is a message that the parser need not copy.
type inMemory []byte

func (b inMemory) Bytes() ([]byte, bool) { return b, true }

func (b inMemory) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, b[min(off, int64(len(b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// FuzzParse reads any octets, in memory and through the window, and holds what
// every message must yield.
func FuzzParse(f *testing.F) {
	f.Add([]byte(crlf(structureMessage)))
	f.Add([]byte(structureMessage))
	f.Add([]byte(typicalMessage(4 << 10)))
	for _, seed := range []string{
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a--\r\n",
		"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n--a--",
		"Content-Type: message/rfc822\n\nContent-Type: multipart/x; boundary=\"--\"\n\n----\n\n------\n",
		"Subject: a\x00\xff\r\nTo: \"\\\"@[], <@:>,(((:;\r\nDate: ::+\r\n\r\n\x00",
		"Content-Type: text/html; charset=utf-16; name*0*=a'b'%; name*1=\"\r\n\r\n<!--><a b='",
		"Content-Type: text/{3}\r\n\r\n--", "\r", "\n\n", "--", "", "Content-Disposition: ;=;\r\nContent-Language: ,(\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		size := int64(len(msg))
		p, err := Parse(bytes.NewReader(msg), size)
		if err != nil {
			t.Fatal(err)
		}
		checkParsed(t, p, size)
		original := bytes.Clone(msg)
		held, err := Parse(inMemory(msg), size)
		if err != nil || !bytes.Equal(msg, original) {
			t.Fatalf("the message was written to, %v", err)
		}
		if !reflect.DeepEqual(p, held) {
			t.Errorf("read through the window:\n%+v\nin memory:\n%+v", p, held)
		}
		header, body, err := SearchText(bytes.NewReader(msg), size, MaxText)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{header, body} {
			if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
				t.Errorf("text %q", text)
			}
		}
		for i, field := range strings.Split(strings.TrimSuffix(p.HeaderText, "\x03"), "\x01") {
			for value := range strings.SplitSeq(field, "\x02") {
				name := []string{"from", "to", "cc", "bcc", "subject"}[i]
				if field != "" && !HeaderHasField(header, name, value) {
					t.Errorf("%s %q is in the header text, not in %q", name, value, header)
				}
			}
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	for _, seed := range []string{"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "=?=?q?", "a\xff\r\n b", "=?utf-7?q?+AGE?=", "=?utf-16?b?AAA=?="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s := DecodeHeader(raw); !utf8.ValidString(s) {
			t.Errorf("%q: %q", raw, s)
		}
		base, _ := BaseSubject(raw)
		if again := Fold(base); again != base {
			t.Errorf("%q: base subject %q folds to %q", raw, base, again)
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, seed := range []string{"Fri, 21 Nov 1997 09:55:06 -0600", "2026-11-23T21:05:57+01:00", "18-Nov-99 5:6 PM PDT", "+::", "(", "1 Jan 103", "-T:T"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := ParseDate(s); !d.IsZero() && (d.Year() < 1 || d.Year() > 9999) {
			t.Errorf("%q: %v", s, d)
		}
	})
}

// FuzzAddresses also holds that nothing is lost: each element between commas
// that has a letter outside of comments yields an address.
func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{"a@b", "\"x\" <@r:a@b>, c (d)", "g: a@b, c;, d@e", "<<a>>", "a@[", "=?utf-8?q?,?= <a@b>", "a . b @ c . d", "\"\\", "((\\)", "a@b <c@d> e, :;"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		out := parseAddresses(nil, list)
		if err := wellFormed(append(append([]byte("("), appendAddresses(nil, out)...), ')')); err != nil {
			t.Errorf("%q: %v", list, err)
		}
		depth := 0
		for _, a := range out {
			switch a.role {
			case groupStart:
				depth++
			case groupEnd:
				depth--
			}
			if depth < 0 || depth > 1 {
				t.Fatalf("%q: groups in disorder", list)
			}
		}
		if depth != 0 {
			t.Errorf("%q: open group", list)
		}
		plain := !bytes.ContainsAny(list, "\"()<>[]:;\\=,")
		if word := bytes.IndexAny(list, "abcdefghijklmnopqrstuvwxyz0123456789"); plain && word >= 0 && len(out) != 1 {
			t.Errorf("%q: %d addresses", list, len(out))
		}
	})
}

// FuzzFold holds what makes a search exact: a part of a text, folded, is in the
// folded text, whatever stands around it.
func FuzzFold(f *testing.F) {
	f.Add("Straße\r\n und", "ße\r\n ", "x")
	f.Add("a\u00ad", " b\u00a0", "\u00b4\u00b4")
	f.Add("İstanbul", "ſK", "é\u0301")
	f.Fuzz(func(t *testing.T, before, needle, after string) {
		if !utf8.ValidString(before) || !utf8.ValidString(needle) || !utf8.ValidString(after) {
			return
		}
		text := Fold(before + needle + after)
		if !strings.Contains(text, strings.Trim(Fold(needle), " ")) {
			t.Errorf("%q is not in %q", Fold(needle), text)
		}
		if Fold(text) != text {
			t.Errorf("%q folds to %q", text, Fold(text))
		}
		if !strings.Contains(text, Fold(needle)) && before == "" {
			t.Errorf("%q is not in %q", Fold(needle), text)
		}
	})
}

func FuzzBodyFromStructure(f *testing.F) {
	f.Add([]byte(`(("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" NIL NIL NIL NIL)`))
	f.Add([]byte("(((({9999999999999}\r\n \" \\"))
	f.Fuzz(func(t *testing.T, s []byte) {
		if got := BodyFromStructure(s); len(got) > len(s) {
			t.Errorf("%q grew to %q", s, got)
		}
	})
}

func FuzzDecodeParts(f *testing.F) {
	p := parse(f, crlf(structureMessage))
	f.Add(p.Parts, uint8(2), uint8(1))
	f.Add([]byte{1, 1, 2, 0, 0, 0}, uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, packed []byte, a, b uint8) {
		ix, err := DecodeParts(packed)
		if err != nil {
			return
		}
		for s := range SectionMIME + 1 {
			for _, path := range [][]int{nil, {int(a)}, {int(a), int(b)}, {int(a), int(b), 1}} {
				ix.Range(path, s)
			}
		}
	})
}
