package imapd

import (
	"context"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
)

// enableable are the extensions that a client can switch on, and what that does.
// The other names are ignored (RFC 5161 §3.1), as is UTF8=ACCEPT of mutt while it
// is not advertised.
var enableable = map[imap.Cap]func(*session){}

// cmdEnable is ENABLE (RFC 5161). It always answers with ENABLED: iOS waits for it.
func (s *session) cmdEnable(ctx context.Context, c *command) error {
	var names []imap.Cap
	for {
		name, err := c.lex.Keyword()
		if err != nil {
			return err
		}
		names = append(names, imap.Cap(name))
		if c.lex.AtEnd() {
			break
		}
		if err := c.lex.SP(); err != nil {
			return err
		}
		if len(names) > 100 {
			return wire.Syntaxf("too many capabilities")
		}
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw("* ENABLED")
	for _, name := range names {
		switchOn, ok := enableable[name]
		if !ok || s.enabled[name] {
			continue
		}
		if s.enabled == nil {
			s.enabled = make(map[imap.Cap]bool)
		}
		s.enabled[name] = true
		switchOn(s)
		s.enc.Raw(" " + string(name))
	}
	s.enc.CRLF()
	return nil
}
