// Package mail holds the domain's types: addresses, envelopes and errors that
// carry their decision. It knows nothing of sockets or databases.
package mail

import (
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 §4.5.3.1, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 254 // without the angle brackets
)

// Address is a mailbox of RFC 5321 §4.1.2 (and RFC 6531 §3.3). Local is kept as
// received, unquoted. Domain is in lower-case A-label form, or an address
// literal with its brackets. The zero value is the null reverse-path.
type Address struct {
	Local, Domain string
}

// ErrAddress is matched by every error of ParseAddress and ParseDomain.
var ErrAddress = errors.New("malformed address")

// IsZero reports whether a is the null reverse-path "<>".
func (a Address) IsZero() bool { return a == Address{} }

// IsASCII reports whether a needs no SMTPUTF8 (its domain never does).
func (a Address) IsASCII() bool { return isASCII(a.Local) }

// String is the address as it stands in a path, its local part quoted where
// RFC 5321 asks for it; empty for the null reverse-path.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if a.Domain == "" { // <Postmaster>, RFC 5321 §4.5.1
		return quoteLocal(a.Local)
	}
	return quoteLocal(a.Local) + "@" + a.Domain
}

// UnicodeDomain is the domain with its A-labels decoded, for people to read.
func (a Address) UnicodeDomain() string {
	u, err := idna.Lookup.ToUnicode(a.Domain)
	if err != nil {
		return a.Domain
	}
	return u
}

func quoteLocal(s string) string {
	if isDotString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
