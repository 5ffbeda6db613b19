package imapd

import (
	"context"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
)

// enableable are the extensions that a client can switch on, and what that does.
// The other names are ignored (RFC 5161 §3.1).
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
	answer, masked := "* ENABLED", s.masked()
	for _, name := range names {
		switchOn, ok := enableable[name]
		if !ok || s.enabled[name] || masked(name) {
			continue
		}
		switchOn(s) // may have something to say, before the answer
		s.enable(name)
		answer += " " + properCap(name)
	}
	s.enc.Raw(answer + "\r\n")
	return nil
}

// enable notes that an extension is switched on.
func (s *session) enable(name imap.Cap) {
	if s.enabled == nil {
		s.enabled = make(map[imap.Cap]bool)
	}
	s.enabled[name] = true
}
