package imapd

import (
	"context"
	"strings"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

const codeUseAttr = "USEATTR" // RFC 6154 §3

// maxImplied bounds how many mailboxes a session remembers to have created.
const maxImplied = 1000

// cmdCreate is CREATE (RFC 3501 §6.3.3), with the special use of RFC 6154 §3. It
// creates the missing levels above. What is created is subscribed (see
// cmdSubscribe), unless the name ends in the delimiter: then it is a place for
// other mailboxes.
func (s *session) cmdCreate(ctx context.Context, c *command) error {
	raw, err := c.lex.Astring()
	if err != nil {
		return err
	}
	name, err := s.newMailbox(raw)
	if err != nil {
		return err
	}
	uses, err := parseCreateParams(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	above, own, err := s.reachParent(ctx, name)
	if err != nil {
		return err
	}
	use := mailstore.None
	if above.Account == s.acct() {
		use, err = s.specialUse(ctx, uses)
	} else if len(uses) > 0 { // a special use is the owner's to give
		err = no(codeUseAttr, "Special uses are for mailboxes of your own")
	}
	if err != nil {
		return err
	}
	m, err := s.srv.Store.CreateMailboxAs(ctx, s.acct(), above.Account, own, use)
	if err = s.taken(ctx, name, err); err != nil {
		return err
	}
	s.implied = append(s.implied, m.Above...)
	if strings.HasSuffix(raw, string(wire.Delimiter)) {
		err = s.srv.Store.TakeBackSubscriptions(ctx, s.acct(), []string{m.Name})
	} else {
		s.implied = append(s.implied, m.Name)
	}
	s.implied = s.implied[max(0, len(s.implied)-maxImplied):]
	c.code = "MAILBOXID (" + mailboxID(m.ID) + ")" // RFC 8474 §4.1
	s.listOldName(m.Name, raw, false)
	return err
}

// newMailboxArg reads the name of a mailbox that is to be: it may end in the
// delimiter, by which a client says that it will create names below.
func (s *session) newMailboxArg(lex *wire.Lexer) (string, error) {
	raw, err := lex.Astring()
	if err != nil {
		return "", err
	}
	return s.newMailbox(raw)
}

func (s *session) newMailbox(raw string) (string, error) {
	return s.decodeName(strings.TrimSuffix(raw, string(wire.Delimiter)))
}

// parseCreateParams reads [SP "(" "USE" SP "(" [attribute …] ")" ")"] (RFC 4466).
func parseCreateParams(lex *wire.Lexer) (uses []string, err error) {
	if !lex.Accept(' ') || lex.AtEnd() {
		return nil, nil
	}
	err = lex.List(func() error {
		param, err := lex.Keyword()
		if err != nil {
			return err
		}
		if param != "USE" {
			return bad("Unknown CREATE parameter")
		}
		if err := lex.SP(); err != nil {
			return err
		}
		flags, err := lex.FlagList()
		for _, f := range flags {
			uses = append(uses, string(f))
		}
		return err
	})
	return uses, err
}

// creatable are the special uses that a mailbox can be created with. \All and
// \Flagged would be views of other mailboxes, which are not offered.
var creatable = []mailstore.SpecialUse{mailstore.Sent, mailstore.Drafts, mailstore.Trash, mailstore.Junk, mailstore.Archive, mailstore.Important}

// specialUse is the use asked for. A mailbox has one, and a use one mailbox:
// clients look for the one place where sent mail goes.
func (s *session) specialUse(ctx context.Context, names []string) (mailstore.SpecialUse, error) {
	if len(names) == 0 {
		return mailstore.None, nil
	}
	use := mailstore.None
	for _, known := range creatable {
		if strings.EqualFold(known.String(), names[0]) {
			use = known
		}
	}
	if use == mailstore.None {
		return use, no(codeUseAttr, "That special use is not supported")
	}
	if len(names) > 1 {
		return use, no(codeUseAttr, "A mailbox can have one special use only")
	}
	boxes, err := s.srv.Store.Mailboxes(ctx, s.acct())
	if err != nil {
		return use, err
	}
	for _, m := range boxes {
		if m.SpecialUse == use {
			return use, no(codeUseAttr, "Another mailbox has that special use")
		}
	}
	return use, nil
}
