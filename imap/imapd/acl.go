package imapd

import (
	"context"
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/mailstore"
)

// This file is ACL (RFC 4314): seeing and changing who may do what with a mailbox.
// Identifiers are the addresses of accounts and "anyone", which is everybody in
// the domain of the mailbox's owner; with "-" before them they take rights away.
// What follows from the lists is decided in mailstore's reach.go.

// cmdGetACL is GETACL (§3.3).
func (s *session) cmdGetACL(ctx context.Context, c *command) error {
	name, err := s.mailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	box, err := s.reach(ctx, name, mailstore.RightAdmin)
	if err != nil {
		return err
	}
	list, err := s.srv.Store.ACL(ctx, box.ID)
	if err != nil {
		return err
	}
	s.enc.Raw("* ACL ")
	s.enc.Mailbox(box.Name, s.utf8())
	for i := range list {
		s.enc.SP()
		s.writeAstring(list[i].Identifier())
		s.writeRights(list[i].Rights)
	}
	s.enc.CRLF()
	return s.enc.Err()
}

// writeRights writes rights as an astring, with the virtual ones of §2.1.1.
func (s *session) writeRights(r mailstore.Rights) {
	if text := r.Wire(); text != "" {
		s.enc.Raw(" " + text)
	} else {
		s.enc.Raw(` ""`)
	}
}

// writeAstring writes a word as it is, or as a string.
func (s *session) writeAstring(text string) {
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`(){%*"\\`, r) }) < 0 {
		s.enc.Raw(text)
	} else {
		s.enc.String(text)
	}
}

// aclArgs reads the name of a mailbox and an identifier.
func (s *session) aclArgs(lex *wire.Lexer) (name, identifier string, err error) {
	if name, err = s.mailboxArg(lex); err != nil {
		return "", "", err
	}
	if err := lex.SP(); err != nil {
		return "", "", err
	}
	identifier, err = lex.Astring()
	return name, identifier, err
}

// cmdSetACL is SETACL (§3.1).
func (s *session) cmdSetACL(ctx context.Context, c *command) error {
	name, identifier, err := s.aclArgs(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	text, err := c.lex.Astring()
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	op := mailstore.SetRights
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		op, text = mailstore.AddRights, rest
	} else if rest, ok := strings.CutPrefix(text, "-"); ok {
		op, text = mailstore.RemoveRights, rest
	}
	rights, ok := mailstore.ParseRights(text)
	if !ok {
		return bad("There are no other rights than lrswipkxtea, and c and d for some of them")
	}
	return s.setACL(ctx, name, identifier, op, rights)
}

// cmdDeleteACL is DELETEACL (§3.2).
func (s *session) cmdDeleteACL(ctx context.Context, c *command) error {
	name, identifier, err := s.aclArgs(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	return s.setACL(ctx, name, identifier, mailstore.SetRights, 0)
}

func (s *session) setACL(ctx context.Context, name, identifier string, op mailstore.RightsOp, rights mailstore.Rights) error {
	box, err := s.reach(ctx, name, mailstore.RightAdmin)
	if err != nil {
		return err
	}
	who, err := s.grantee(ctx, identifier)
	if err != nil {
		return err
	}
	if err := s.srv.Store.SetACL(ctx, box.ID, who, op, rights); err != nil {
		return err
	}
	if s.box != nil && s.box.id == box.ID {
		return s.askRights(ctx)
	}
	return nil
}

// errNoGrantee refuses an identifier that is nobody's.
var errNoGrantee = no(imap.ResponseCodeCannot, "Rights are given to addresses of accounts here, and to anyone")

// grantee finds who an identifier means. It is an address as users log in with.
func (s *session) grantee(ctx context.Context, identifier string) (mailstore.Grantee, error) {
	var who mailstore.Grantee
	name, negative := strings.CutPrefix(identifier, "-")
	who.Negative = negative
	switch {
	case name == "":
		return who, bad("An identifier is missing") // §3
	case name == mailstore.Anyone:
		return who, nil
	}
	addr, err := mail.ParseAddress(name)
	if err != nil {
		return who, errNoGrantee
	}
	acct, err := s.srv.Directory.Account(ctx, addr)
	if errors.Is(err, directory.ErrNotFound) {
		return who, errNoGrantee
	}
	who.Account = mailstore.AccountID(acct.ID)
	return who, err
}

// cmdListRights is LISTRIGHTS (§3.4): no rights are tied together, c is kx and d
// is te. What an owner has always is required.
func (s *session) cmdListRights(ctx context.Context, c *command) error {
	name, identifier, err := s.aclArgs(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	box, err := s.reach(ctx, name, mailstore.RightAdmin)
	if err != nil {
		return err
	}
	who, err := s.grantee(ctx, identifier)
	if err != nil {
		return err
	}
	required := mailstore.Rights(0)
	if who.Account == box.Account && !who.Negative {
		required = mailstore.OwnerKeeps
	}
	s.enc.Raw("* LISTRIGHTS ")
	s.enc.Mailbox(box.Name, s.utf8())
	s.enc.SP()
	s.writeAstring(identifier) // as the client wrote it
	s.writeRights(required)
	for _, letter := range (mailstore.AllRights &^ required).Wire() {
		s.enc.Raw(" " + string(letter))
	}
	s.enc.CRLF()
	return s.enc.Err()
}

// cmdMyRights is MYRIGHTS (§3.5), for who has any right but s, w, p, t and e.
func (s *session) cmdMyRights(ctx context.Context, c *command) error {
	name, err := s.mailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	box, err := s.reach(ctx, name, 0)
	if err != nil {
		return err
	}
	if err := allowed(&box, box.Rights.Any(mailstore.RightLookup|mailstore.RightRead|mailstore.RightInsert|
		mailstore.RightCreate|mailstore.RightDeleteMailbox|mailstore.RightAdmin)); err != nil {
		return err
	}
	s.writeMyRights(&box)
	return s.enc.Err()
}

// writeMyRights writes the MYRIGHTS response (§3.8), also for LIST (RFC 8440).
func (s *session) writeMyRights(box *mailstore.Reached) {
	s.enc.Raw("* MYRIGHTS ")
	s.enc.Mailbox(box.Name, s.utf8())
	s.writeRights(box.Rights)
	s.enc.CRLF()
}
