package mail

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// ParseDomain gives the lower-case A-label form of a domain name.
func ParseDomain(s string) (string, error) {
	if s == "" || len(s) > MaxDomain {
		return "", fmt.Errorf("%w: domain of %d octets", ErrAddress, len(s))
	}
	a, err := idna.Lookup.ToASCII(s)
	if err != nil || len(a) > MaxDomain {
		return "", fmt.Errorf("%w: domain %q", ErrAddress, s)
	}
	return strings.ToLower(a), nil
}

func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '.' && !isAtext(c) {
			return false
		}
	}
	return true
}

// isAtext is atext of RFC 5322 §3.2.3, widened by RFC 6531 §3.3.
func isAtext(c byte) bool {
	return c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// ParseAddress parses a Mailbox as it stands between the angle brackets of a
// path: a dot-string or quoted local part, and a domain or address literal.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || len(s) > MaxPath+2 {
		return Address{}, fmt.Errorf("%w: %q", ErrAddress, s)
	}
	domain, err := ParseDomain(s[at+1:])
	if err != nil {
		return Address{}, err
	}
	if local := s[:at]; isDotString(local) && len(local) <= MaxLocal {
		return Address{Local: local, Domain: domain}, nil
	}
	return Address{}, fmt.Errorf("%w: %q", ErrAddress, s)
}
