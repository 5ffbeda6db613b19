package imapd

import "posthouse/imap/wire"

// This file is UTF8=ACCEPT (RFC 6855): mailbox names in UTF-8 both ways, and
// messages with UTF-8 headers by APPEND's data extension. Strings in UTF-8 are
// read at all times.
//
// One rule of §4 is left out with intent: without ENABLE an APPEND whose header
// has 8-bit octets would have to be refused. Old mail is full of them, and mbsync
// and offlineimap could then never bring it over; it is stored as it is.

func init() {
	enableable["UTF8=ACCEPT"] = func(*session) {}
	appendData["UTF8"] = func(a *appending, m *appended) error {
		a.open(m)
		return a.utf8Literal(m)
	}
}

// utf8 reports whether the client speaks UTF-8 in mailbox names: by UTF8=ACCEPT
// or by IMAP4rev2.
func (s *session) utf8() bool { return s.enabled["UTF8=ACCEPT"] || s.enabled["IMAP4REV2"] }

// utf8Literal reads SP "(" literal8 ")" (§4).
func (a *appending) utf8Literal(m *appended) error {
	if err := a.lex.SP(); err != nil {
		return err
	}
	if err := a.lex.Enter(); err != nil {
		return err
	}
	if !a.lex.IsLiteral() {
		return wire.Syntaxf("expected a literal")
	}
	lit, err := a.lex.Literal()
	if err != nil {
		return err
	}
	if !a.s.utf8() {
		return no("", "ENABLE UTF8=ACCEPT comes first")
	}
	if err := a.admit(m, lit.Size); err != nil {
		return err
	}
	if err := a.receive(lit, m); err != nil {
		return err
	}
	return a.lex.Leave()
}
