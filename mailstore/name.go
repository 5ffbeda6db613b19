package mailstore

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Delimiter separates the levels of mailbox names.
const Delimiter = "/"

// MaxName is the longest mailbox name, in octets of UTF-8; MaxLevels the
// deepest.
const (
	MaxName   = 1000
	MaxLevels = 100
)

const inbox = "INBOX"

// CanonicalName gives the form of a mailbox name under which it is stored: NFC,
// INBOX in capitals as the whole name or as its first level.
func CanonicalName(name string) string {
	name = norm.NFC.String(name)
	first, rest, below := strings.Cut(name, Delimiter)
	if !strings.EqualFold(first, inbox) {
		return name
	}
	if below {
		return inbox + Delimiter + rest
	}
	return inbox
}

// newName checks a name that is to be created and gives its canonical form.
func newName(name string) (string, error) {
	name = CanonicalName(strings.TrimSuffix(name, Delimiter))
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return "", ErrNameInvalid
	}
	levels := strings.Split(name, Delimiter)
	if len(levels) > MaxLevels || levels[0] == "Other Users" || levels[0] == "Shared" {
		return "", ErrNameInvalid
	}
	for _, level := range levels {
		if level == "" || level == "." || level == ".." {
			return "", ErrNameInvalid
		}
	}
	for _, r := range name {
		// RFC 5198 §2: no controls, nor the separators that end a line
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return "", ErrNameInvalid
		}
	}
	return name, nil
}

// cleanText makes s fit for a text column: Postgres takes neither U+0000 nor
// invalid UTF-8.
func cleanText(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	return strings.ReplaceAll(s, "\x00", "\ufffd")
}
