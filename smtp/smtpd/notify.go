package smtpd

import (
	"strings"
	"unicode/utf8"

	"posthouse/internal/mail"
)

// The parameters of RFC 3461: RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT.

// Their limits, in octets, as RFC 3461 §4.2 and §4.4 have them.
const (
	maxEnvelopeID = 100
	maxOriginal   = 500
)

func dsnParam(tx *transaction, p param) *mail.Error {
	if p.key == "RET" {
		tx.Return = strings.ToUpper(p.value)
		return unless(tx.Return == "FULL" || tx.Return == "HDRS")
	}
	id, ok := xtext(p.value)
	tx.EnvelopeID = id
	return unless(ok && len(p.value) <= maxEnvelopeID)
}

// rcptParams reads the parameters of RCPT into r.
func (c *conn) rcptParams(r *mail.Recipient, params []string) *mail.Error {
	return c.eachParam(params, func(p param) *mail.Error {
		var ok bool
		switch p.key {
		case "NOTIFY":
			r.Notify, ok = notify(p.value)
		case "ORCPT":
			r.Original, ok = c.original(p.value)
		default:
			return errUnknownParam
		}
		return unless(ok)
	})
}

// notify reads NEVER, or a list of the others.
func notify(s string) (n mail.Notify, ok bool) {
	s = strings.ToUpper(s)
	if s == "NEVER" {
		return mail.NotifyNever, true
	}
	for word := range strings.SplitSeq(s, ",") {
		switch word {
		case "SUCCESS":
			n |= mail.NotifySuccess
		case "FAILURE":
			n |= mail.NotifyFailure
		case "DELAY":
			n |= mail.NotifyDelay
		default:
			return 0, false
		}
	}
	return n, true
}

// original reads an ORCPT: an address type, which is an atom, and an address of
// that type as xtext. One of type utf-8 may hold UTF-8 itself where SMTPUTF8 was
// asked for (RFC 6533 §3).
func (c *conn) original(s string) (string, bool) {
	kind, value, found := strings.Cut(s, ";")
	if !found || kind == "" || value == "" || len(s) > maxOriginal || strings.Trim(strings.ToLower(kind), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", false
	}
	decode := xtext
	if strings.EqualFold(kind, "utf-8") {
		decode = utf8Address
	}
	addr, ok := decode(value)
	if !ok || !isASCII(value) && !c.tx.SMTPUTF8 {
		return "", false
	}
	return kind + ";" + addr, true
}

// xtext is decoded after RFC 3461 §4; lower-case hex digits are common enough
// to be taken, too. What comes out has to be printable ASCII and spaces (§4.2
// and §4.4), as it will stand in a report.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		ch := s[i]
		switch {
		case ch == '+':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			ch = byte(hi<<4 | lo)
			i += 2
		case ch == '=':
			return "", false
		}
		if ch < ' ' || ch >= 0x7f {
			return "", false
		}
		b.WriteByte(ch)
	}
	return b.String(), b.Len() > 0
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// utf8Address decodes the address of RFC 6533 §3: utf-8-addr-xtext or
// utf-8-addr-unitext, in which \x{HEX} stands for a character, or a plain UTF-8
// address.
func utf8Address(s string) (string, bool) {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n <= 1 || r == '+' || r == '=':
			return "", false
		case r == '\\':
			hex, rest, ok := strings.Cut(strings.TrimPrefix(s, `\x{`), "}")
			if !ok || !strings.HasPrefix(s, `\x{`) || hex == "" || len(hex) > 6 {
				return "", false
			}
			r = 0
			for i := range len(hex) {
				d := unhex(hex[i])
				if d < 0 {
					return "", false
				}
				r = r<<4 | rune(d)
			}
			n = len(s) - len(rest)
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || !utf8.ValidRune(r) {
			return "", false
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String(), b.Len() > 0
}
