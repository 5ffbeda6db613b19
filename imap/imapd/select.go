package imapd

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// selectParams are the parameters that SELECT and EXAMINE take (RFC 4466 §2.4).
// A handler reads its own arguments, and is told which selection it is for.
var selectParams = map[string]func(s *session, lex *wire.Lexer, sel *selection) error{}

// selection is a SELECT or EXAMINE.
type selection struct {
	name      string
	readOnly  bool
	condstore bool    // CONDSTORE was asked for
	resync    *resync // QRESYNC was asked for
}

// cmdSelect is SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2).
func (s *session) cmdSelect(ctx context.Context, c *command) error {
	name, nameErr := s.mailboxArg(c.lex)
	sel := &selection{name: name, readOnly: c.name == "EXAMINE"}
	if nameErr == nil {
		if err := s.selectParams(c.lex, sel); err != nil {
			return err
		}
		if err := c.lex.End(); err != nil {
			return err
		}
	}
	if _, malformed := errors.AsType[*wire.SyntaxError](nameErr); malformed {
		return nameErr // no SELECT at all
	}
	if s.box != nil {
		s.enc.Raw("* OK [CLOSED] The mailbox that was selected is not any more\r\n") // RFC 7162 §3.2.11
	}
	s.unselect() // whether or not the new one exists
	if sel.condstore {
		s.aware()
	}
	if nameErr != nil {
		return nameErr
	}
	box, err := s.open(ctx, sel)
	if err != nil {
		return err
	}
	s.box, s.state = box, selected
	s.greet(box)
	s.listOldName(sel.name, s.wrote, true)
	if sel.resync != nil {
		if err := s.resync(ctx, sel.resync); err != nil {
			s.unselect()
			return err
		}
	}
	c.code, c.text = "READ-WRITE", "SELECT completed"
	if box.readOnly {
		c.code, c.text = "READ-ONLY", "SELECT completed"
	}
	if sel.readOnly {
		c.code, c.text = "READ-ONLY", "EXAMINE completed"
	}
	return nil
}

func (s *session) selectParams(lex *wire.Lexer, sel *selection) error {
	if !lex.Accept(' ') {
		return nil
	}
	return lex.List(func() error {
		word, err := lex.Keyword()
		if err != nil {
			return err
		}
		param, ok := selectParams[word]
		if !ok {
			return wire.Syntaxf("unknown parameter")
		}
		return param(s, lex, sel)
	})
}

// open loads a mailbox. The watch comes first, so that nothing falls between.
func (s *session) open(ctx context.Context, sel *selection) (*mailbox, error) {
	found, err := s.reach(ctx, sel.name, mailstore.RightRead)
	if err != nil {
		return nil, err
	}
	box := &mailbox{id: found.ID, account: found.Account, rights: found.Rights, personal: found.Personal,
		examined: sel.readOnly, recents: found.Personal || found.Shared, watch: s.srv.Store.Watch(found.ID)}
	box.readOnly = box.examined || !box.rights.Any(mailstore.ChangeRights)
	var row mailstore.Mailbox
	if box.view, row, err = s.srv.Store.Load(ctx, box.account, box.id); err != nil {
		box.watch.Close()
		return nil, err
	}
	box.validity, box.told = row.UIDValidity, box.view.ModSeq()
	first := row.FirstRecent
	if last := box.view.Len(); last > 0 && !box.readOnly && box.recents && !s.rev2() {
		first, err = s.srv.Store.ClaimRecent(ctx, box.account, box.id, box.view.UID(last)+1)
		if err != nil {
			box.watch.Close()
			return nil, err
		}
	}
	if lo := box.view.SeqFrom(first); lo <= box.view.Len() && box.recents && !s.rev2() {
		box.recent = box.view.UIDs(lo, box.view.Len())
	}
	return box, nil
}

// greet writes the untagged responses of SELECT.
func (s *session) greet(box *mailbox) {
	s.writeFlags(box)
	s.untaggedNumber(box.view.Len(), "EXISTS")
	if !s.rev2() {
		s.untaggedNumber(box.recent.Len(), "RECENT")
	}
	if first := firstUnseen(box.view); first > 0 && !s.rev2() {
		s.enc.Raw("* OK [UNSEEN ")
		s.enc.Number(uint64(first))
		s.enc.Raw("] First unseen message\r\n")
	}
	s.enc.Raw("* OK [UIDVALIDITY ")
	s.enc.Number(uint64(box.validity))
	s.enc.Raw("] UIDs are valid\r\n* OK [UIDNEXT ")
	s.enc.Number(uint64(box.view.UIDNext()))
	s.enc.Raw("] Predicted next UID\r\n* OK [MAILBOXID (" + mailboxID(box.id) + ")] The mailbox's id\r\n")
	s.enc.Raw("* OK [" + highestModSeq(box.told) + "] Highest\r\n")
}

func (s *session) untaggedNumber(n int, what string) {
	s.enc.Raw("* ")
	s.enc.Number(uint64(n))
	s.enc.Raw(" " + what + "\r\n")
}

func firstUnseen(v *mailstore.View) int {
	first := 0
	v.Each(1, v.Len(), func(seq int, _ mailstore.UID, flags mailstore.Flags) bool {
		if flags&mailstore.FlagSeen == 0 {
			first = seq
		}
		return first == 0
	})
	return first
}

// writeFlags writes FLAGS and PERMANENTFLAGS: at SELECT, and when there is a new
// keyword. The flags of a mailbox opened by EXAMINE cannot be changed.
func (s *session) writeFlags(box *mailbox) {
	all := systemFlagNames
	room := 0
	for _, k := range box.view.Keywords() {
		if k == "" {
			room++
			continue
		}
		all += " " + k
	}
	s.enc.Raw("* FLAGS (" + all + ")\r\n* OK [PERMANENTFLAGS (")
	if !box.readOnly {
		s.enc.Raw(box.permanent(all, room+mailstore.MaxKeywords-len(box.view.Keywords()) > 0))
	}
	s.enc.Raw(")] Flags permitted\r\n")
}

// permanent are those of the flags that the user may change (RFC 4314 §5.1.1).
func (box *mailbox) permanent(all string, room bool) string {
	if room {
		all += ` \*`
	}
	if box.rights.Has(mailstore.RightSeen | mailstore.RightWrite | mailstore.RightDelete) {
		return all
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(all), func(name string) bool {
		return !box.rights.Has(flagRight(name))
	}), " ")
}

// systemFlags are the flags of RFC 3501 §2.3.2 that are stored.
var systemFlags = []struct {
	flag imap.Flag
	bit  mailstore.Flags
}{
	{imap.FlagAnswered, mailstore.FlagAnswered}, {imap.FlagFlagged, mailstore.FlagFlagged},
	{imap.FlagDeleted, mailstore.FlagDeleted}, {imap.FlagSeen, mailstore.FlagSeen}, {imap.FlagDraft, mailstore.FlagDraft},
}

var systemFlagNames = func() string {
	var names []string
	for _, f := range systemFlags {
		names = append(names, string(f.flag))
	}
	return strings.Join(names, " ")
}()

// cmdClose is CLOSE (RFC 3501 §6.4.2): it expunges without a word.
func (s *session) cmdClose(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	box := s.box
	defer s.unselect()
	if s.may(mailstore.RightExpunge) != nil {
		return nil
	}
	_, err := s.srv.Store.Expunge(ctx, box.account, box.id, nil)
	return err
}

// cmdUnselect is UNSELECT (RFC 3691): CLOSE without expunging.
func (s *session) cmdUnselect(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.unselect()
	return nil
}
