package mail

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ParseDomain gives the lower-case A-label form of a domain name.
//
// A name is labels of letters, digits and inner hyphens (RFC 5321 §4.1.2), of
// at most 63 octets. Underscores are accepted, too: the DNS carries them and
// hosts so named send mail. U-labels become A-labels (RFC 6531 §3.7.1). A
// trailing dot is refused: no Mailbox has one.
func ParseDomain(s string) (string, error) {
	if s == "" || len(s) > 4*MaxDomain || !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: domain of %d octets, or not UTF-8", ErrAddress, len(s))
	}
	if !isASCII(s) {
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", fmt.Errorf("%w: domain %q: %w", ErrAddress, s, err)
		}
		s = a
	}
	if len(s) > MaxDomain {
		return "", fmt.Errorf("%w: domain of %d octets", ErrAddress, len(s))
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("%w: domain %q: %w", ErrAddress, s, err)
		}
	}
	return strings.ToLower(s), nil
}

func checkLabel(s string) error {
	if s == "" || len(s) > 63 {
		return fmt.Errorf("label of %d octets", len(s))
	}
	if s[0] == '-' || s[len(s)-1] == '-' {
		return fmt.Errorf("label %q begins or ends with a hyphen", s)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '_' {
			return fmt.Errorf("character %q", rune(c))
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// parseLiteral gives the canonical form of an address literal, RFC 5321 §4.1.3.
// General-address-literals are refused: no tag but IPv6 was ever registered.
func parseLiteral(s string) (string, error) {
	inner := strings.TrimSuffix(s[1:], "]")
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || s[len(s)-1] != ']' || ip.Zone() != "" || ip.Is4() == v6 {
		return "", fmt.Errorf("%w: address literal %q", ErrAddress, s)
	}
	if v6 {
		return "[IPv6:" + ip.String() + "]", nil
	}
	return "[" + ip.String() + "]", nil
}

// ParseAddress parses a Mailbox (RFC 5321 §4.1.2, RFC 6531 §3.3) as it stands
// between the angle brackets of a path: a dot-string or quoted local part, and
// a domain or address literal. A quoted local part is unquoted, so that
// "alice"@example.test and alice@example.test are the same address.
//
// It refuses controls and NUL, invalid UTF-8, an empty local part, and what
// exceeds MaxLocal, MaxDomain or MaxPath.
func ParseAddress(s string) (Address, error) {
	if len(s) > 4*MaxPath {
		return Address{}, fmt.Errorf("%w: %d octets", ErrAddress, len(s))
	}
	local, domain, err := splitLocal(s)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %q: %w", ErrAddress, s, err)
	}
	if local == "" || len(local) > MaxLocal {
		return Address{}, fmt.Errorf("%w: local part of %d octets", ErrAddress, len(local))
	}
	if err := checkText(local); err != nil {
		return Address{}, fmt.Errorf("%w: local part %q: %w", ErrAddress, local, err)
	}
	a := Address{Local: local}
	if strings.HasPrefix(domain, "[") {
		a.Domain, err = parseLiteral(domain)
	} else {
		a.Domain, err = ParseDomain(domain)
	}
	if err != nil {
		return Address{}, err
	}
	if n := len(a.String()); n > MaxPath {
		return Address{}, fmt.Errorf("%w: %d octets", ErrAddress, n)
	}
	return a, nil
}

// splitLocal takes the local part off, unquoted, and the @ behind it.
func splitLocal(s string) (local, domain string, err error) {
	if strings.HasPrefix(s, `"`) {
		return splitQuoted(s)
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok {
		return "", "", fmt.Errorf("no @")
	}
	if !isDotString(local) {
		return "", "", fmt.Errorf("local part is neither a dot-string nor quoted")
	}
	return local, domain, nil
}

func splitQuoted(s string) (local, domain string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			if i+1 == len(s) || s[i+1] != '@' {
				return "", "", fmt.Errorf("no @ after the quoted local part")
			}
			return b.String(), s[i+2:], nil
		case '\\':
			i++
			if i == len(s) || s[i] >= 0x80 { // quoted-pairSMTP: %d32-126
				return "", "", fmt.Errorf("bad quoted pair")
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("quoted local part does not end")
}

// checkText refuses what may stand in no local part, quoted or not: controls
// of ASCII and of ISO 8859 (C1), line and paragraph separators, bad UTF-8.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("not UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("control character %U", r)
		}
	}
	return nil
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
	return c >= 0x80 || isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
