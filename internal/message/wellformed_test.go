package message

import (
	"fmt"
	"testing"
	"unicode/utf8"
)

// checkParsed holds what every message must yield: IMAP text that a client can
// read, ranges inside the message, texts without control characters.
func checkParsed(t testing.TB, p *Parsed, size int64) {
	t.Helper()
	if err := wellFormed(p.Envelope); err != nil {
		t.Errorf("ENVELOPE: %v: %.300q", err, p.Envelope)
	}
	if err := wellFormed(p.BodyStructure); err != nil {
		t.Errorf("BODYSTRUCTURE: %v: %.300q", err, p.BodyStructure)
	}
	if err := wellFormed(BodyFromStructure(p.BodyStructure)); err != nil {
		t.Errorf("BODY: %v: %.300q", err, BodyFromStructure(p.BodyStructure))
	}
	ix, err := DecodeParts(p.Parts)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range ix.entities {
		if e.headerOff < 0 || e.headerLen < 0 || e.bodyLen < 0 || e.bodyOff != e.headerOff+e.headerLen || e.bodyOff+e.bodyLen > size {
			t.Fatalf("entity %d lies outside of %d octets: %+v", i, size, e)
		}
	}
	if utf8.RuneCountInString(p.Preview) > previewRunes || len(p.Preview) > previewOctets || !utf8.ValidString(p.Preview) {
		t.Errorf("preview %q", p.Preview)
	}
	for _, s := range []string{p.SortSubject, p.SortFrom, p.SortTo, p.SortCc, p.DisplayFrom, p.DisplayTo} {
		if Fold(s) != s {
			t.Errorf("sort key %q folds to %q", s, Fold(s))
		}
	}
	if !utf8.ValidString(p.HeaderText) || !utf8.ValidString(p.MessageID) {
		t.Error("not UTF-8")
	}
	for _, c := range []byte(p.HeaderText) {
		if c < ' ' && c != 1 && c != 2 && c != 3 {
			t.Errorf("%#x in %q", c, p.HeaderText)
		}
	}
}

// wellFormed reads one parenthesised list of IMAP text, independently of
// valueLen, and refuses what RFC 3501's grammar has not.
func wellFormed(s []byte) error {
	depth, i := 0, 0
	for i < len(s) {
		switch c := s[i]; {
		case c == '(':
			depth++
			i++
			continue
		case c == ')':
			if depth--; depth < 0 {
				return fmt.Errorf("closed too often at %d", i)
			}
			i++
		case c == '"':
			n, err := quotedLen(s[i:])
			if err != nil {
				return err
			}
			i += n
		case c == '{':
			var n int
			if _, err := fmt.Sscanf(string(s[i:min(len(s), i+12)]), "{%d}\r\n", &n); err != nil {
				return err
			}
			i += len(fmt.Sprintf("{%d}\r\n", n))
			if i+n > len(s) {
				return fmt.Errorf("literal beyond the end")
			}
			for _, c := range s[i : i+n] {
				if c == 0 {
					return fmt.Errorf("NUL")
				}
			}
			i += n
		case c == 'N':
			if i+3 > len(s) || string(s[i:i+3]) != "NIL" {
				return fmt.Errorf("atom at %d", i)
			}
			i += 3
		case '0' <= c && c <= '9':
			for i < len(s) && '0' <= s[i] && s[i] <= '9' {
				i++
			}
		default:
			return fmt.Errorf("%q at %d", c, i)
		}
		if depth == 0 {
			break
		}
		switch { // between values: one space, or a list's neighbour
		case i < len(s) && s[i] == ' ':
			i++
			if i < len(s) && (s[i] == ')' || s[i] == ' ') {
				return fmt.Errorf("stray space at %d", i)
			}
		case i < len(s) && (s[i] == ')' || s[i] == '(' && s[i-1] == ')'):
		default:
			return fmt.Errorf("no space at %d", i)
		}
	}
	if depth != 0 || i != len(s) {
		return fmt.Errorf("ends at %d of %d, depth %d", i, len(s), depth)
	}
	return nil
}

func quotedLen(s []byte) (int, error) {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			if i++; i >= len(s) || s[i] != '"' && s[i] != '\\' {
				return 0, fmt.Errorf("bad escape")
			}
		case c == 0 || c == '\r' || c == '\n' || c >= 0x80:
			return 0, fmt.Errorf("%#x in a quoted string", c)
		}
	}
	return 0, fmt.Errorf("open quoted string")
}
