package imapd

import (
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// flagNames gives flags as IMAP writes them, and remembers: a mailbox of 100,000
// messages has few combinations.
type flagNames struct {
	table []string // keywords by ordinal
	known map[shownFlags]string
}

type shownFlags struct {
	flags  mailstore.Flags
	recent bool
}

// text is "(\Seen $Forwarded)".
func (n *flagNames) text(flags mailstore.Flags, recent bool) string {
	key := shownFlags{flags, recent}
	if text, ok := n.known[key]; ok {
		return text
	}
	var names []string
	for _, f := range systemFlags {
		if flags&f.bit != 0 {
			names = append(names, string(f.flag))
		}
	}
	if recent {
		names = append(names, `\Recent`)
	}
	text := "(" + strings.Join(append(names, flags.Keywords(n.table)...), " ") + ")"
	if n.known == nil {
		n.known = make(map[shownFlags]string)
	}
	if len(n.known) < 1000 {
		n.known[key] = text
	}
	return text
}

// maxKeyword bounds the name of a keyword, in octets.
const maxKeyword = 255

// storable splits what a client wants set into system flags and keywords. Flags
// with a backslash that are not system flags cannot be set; \Recent neither
// (RFC 3501 §2.3.2).
func storable(flags []imap.Flag) (bits mailstore.Flags, keywords []string, err error) {
next:
	for _, f := range flags {
		if !strings.HasPrefix(string(f), `\`) {
			if len(f) > maxKeyword {
				return 0, nil, wire.Syntaxf("a keyword of more than %d octets", maxKeyword)
			}
			keywords = append(keywords, string(f))
			continue
		}
		for _, known := range systemFlags {
			if strings.EqualFold(string(f), string(known.flag)) {
				bits |= known.bit
				continue next
			}
		}
		return 0, nil, wire.Syntaxf("the flag %q cannot be set", string(f))
	}
	return bits, keywords, nil
}
