package directory

import (
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"posthouse/internal/mail"
)

// separator stands between user and detail (RFC 5233).
const separator = '+'

// fold is the form under which an address is stored and looked up. RFC 5321
// §2.4 leaves the case of local parts to the host that owns them: here it does
// not count.
func fold(a mail.Address) mail.Address {
	return mail.Address{Local: norm.NFC.String(strings.ToLower(a.Local)), Domain: a.Domain}
}

// key is the folded address as one string. Local parts that need quotes are
// never stored, so that they need none here.
func key(a mail.Address) string { return a.Local + "@" + a.Domain }

// fromKey is the inverse of key for what is in the database.
func fromKey(s string) mail.Address {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return mail.Address{}
	}
	return mail.Address{Local: s[:at], Domain: s[at+1:]}
}

// splitDetail cuts "user+detail"; base is zero when there is no detail.
func splitDetail(a mail.Address) (base mail.Address, detail string) {
	i := strings.IndexByte(a.Local, separator)
	if i <= 0 {
		return mail.Address{}, ""
	}
	return mail.Address{Local: a.Local[:i], Domain: a.Domain}, a.Local[i+1:]
}

// checkOwn folds an address that is to be stored as an account or alias.
func checkOwn(a mail.Address) (mail.Address, error) {
	a = fold(a)
	s := a.String()
	if a.Local == "" || a.Domain == "" || s[0] == '"' || strings.ContainsRune(s, 0) {
		return a, fmt.Errorf("address %q: %w", s, ErrInvalid)
	}
	if _, err := mail.ParseAddress(s); err != nil || a.Domain[0] == '[' {
		return a, fmt.Errorf("address %q: %w", s, ErrInvalid)
	}
	return a, nil
}

// checkTarget vets an address that mail is to be sent on to.
func checkTarget(a mail.Address) (mail.Address, error) {
	if _, err := mail.ParseAddress(a.String()); err != nil {
		return a, fmt.Errorf("target %q: %w", a.String(), ErrInvalid)
	}
	return a, nil
}

// isRole reports whether the folded local part must exist in every domain (RFC 2142 §1, RFC 5321 §4.5.1).
func isRole(local string) bool { return local == "postmaster" || local == "abuse" }
