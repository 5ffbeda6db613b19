package wire

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Delimiter is the hierarchy delimiter of every mailbox name.
const Delimiter = '/'

// Bounds on mailbox names. A CREATE makes every missing parent, so the number
// of levels bounds what one short command can make.
const (
	MaxMailboxName   = 1000 // octets of UTF-8
	MaxMailboxLevels = 100
)

// NameError says why something cannot be the name of a mailbox. It is answered
// with NO [CANNOT] (RFC 5530).
type NameError string

func (e NameError) Error() string { return "mailbox name " + string(e) }

// DecodeMailbox reads the mailbox name of a command: modified UTF-7, or UTF-8
// once the client enabled UTF8=ACCEPT (RFC 6855) or IMAP4rev2. The result is in NFC, and a
// first level that spells INBOX in any case is "INBOX" (RFC 3501 §5.1). The
// error is a NameError.
func DecodeMailbox(raw string, acceptUTF8 bool) (string, error) {
	// Any octet of UTF-8 takes at most three of modified UTF-7 and two for the shifts.
	if len(raw) > 5*MaxMailboxName {
		return "", NameError("is too long")
	}
	name, err := raw, error(nil)
	if !acceptUTF8 {
		if name, err = DecodeUTF7(raw); err != nil {
			return "", err
		}
	}
	if !utf8.ValidString(name) {
		return "", NameError("is not valid UTF-8")
	}
	name = canonicalInbox(norm.NFC.String(name))
	return name, checkMailbox(name)
}

// EncodeMailbox is the inverse of DecodeMailbox.
func EncodeMailbox(name string, acceptUTF8 bool) string {
	if acceptUTF8 {
		return name
	}
	return EncodeUTF7(name)
}

// Mailbox writes a decoded mailbox name, always quoted: some clients cannot take
// one as a literal (and no name has a character that would need it).
func (e *Encoder) Mailbox(name string, acceptUTF8 bool) {
	e.Byte('"')
	for part := EncodeMailbox(name, acceptUTF8); ; {
		i := strings.IndexAny(part, `"\`)
		if i < 0 {
			e.Raw(part)
			break
		}
		e.Raw(part[:i])
		e.Byte('\\')
		e.Byte(part[i])
		part = part[i+1:]
	}
	e.Byte('"')
}

// canonicalInbox writes a first level of "inbox" in capitals.
func canonicalInbox(name string) string {
	const inbox = "INBOX"
	if len(name) >= len(inbox) && strings.EqualFold(name[:len(inbox)], inbox) &&
		(len(name) == len(inbox) || name[len(inbox)] == Delimiter) {
		return inbox + name[len(inbox):]
	}
	return name
}

// checkMailbox refuses names that no mailbox may have. Names are no paths of a
// file system here, but they become some in clients and exports: so no empty
// levels, no "." or "..", no control characters (RFC 5198 §2 and its line ends).
func checkMailbox(name string) error {
	switch {
	case name == "":
		return NameError("is empty")
	case len(name) > MaxMailboxName:
		return NameError("is longer than 1000 octets")
	case strings.Count(name, string(Delimiter)) >= MaxMailboxLevels:
		return NameError("has too many levels")
	}
	for level := range strings.SplitSeq(name, string(Delimiter)) {
		switch level {
		case "":
			return NameError("has an empty level")
		case ".", "..":
			return NameError(`has a level "` + level + `"`)
		}
	}
	for _, r := range name {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return NameError("contains a control character")
		}
	}
	return nil
}
