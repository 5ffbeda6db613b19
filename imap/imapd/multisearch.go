package imapd

import (
	"context"
	"errors"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// MULTISEARCH (RFC 7377): ESEARCH looks into many mailboxes, selected or not. What
// is selected is not touched. A mailbox in which nothing is found is not
// mentioned, whatever RETURN asks for (§2.1); neither is one that is not there, or that the
// user may not read.

// cmdESearch is ESEARCH [IN (sources)] [RETURN (options)] [CHARSET name] keys.
func (s *session) cmdESearch(ctx context.Context, c *command) error {
	if s.box != nil {
		if err := s.sync(ctx, true); err != nil {
			return err
		}
	}
	want := new(searchReturn)
	p := &searchParser{s: s, ctx: ctx, lex: c.lex, decode: decodeUTF8, late: new(lateKeys)}
	src, err := p.sources()
	if err == nil {
		err = p.preamble(want)
	}
	if err != nil {
		return err
	}
	if !want.extended {
		want.extended, want.all = true, true
	}
	criteria, err := p.program()
	if err == nil {
		err = p.fitsMany(want)
	}
	if err != nil {
		return err
	}
	boxes, err := src.mailboxes(ctx, s)
	if err != nil {
		return err
	}
	if err := p.fitsOthers(want, boxes); err != nil {
		return err
	}
	for i := range boxes {
		if err := p.searchIn(c, &boxes[i], want, criteria); err != nil && !errors.Is(err, mailstore.ErrNoMailbox) {
			return err // a mailbox that is gone by now was not found
		}
	}
	if want.save && len(boxes) == 0 && s.box != nil {
		s.box.saved = nil
	}
	return s.enc.Err()
}

// fitsMany refuses what makes no sense with more than the selected mailbox.
func (p *searchParser) fitsMany(want *searchReturn) error {
	switch {
	case want.relevancy && p.fuzzy == 0:
		return errNoFuzzy
	case want.update:
		return bad("UPDATE is for SEARCH")
	case want.save && p.s.box == nil:
		return bad("No mailbox is selected whose result could be saved")
	case p.late.numbered && p.s.box == nil:
		return bad("Sequence numbers are of the selected mailbox")
	}
	return nil
}

// fitsOthers refuses what speaks of the selected mailbox, where others are
// searched.
func (p *searchParser) fitsOthers(want *searchReturn, boxes []mailstore.Reached) error {
	for i := range boxes {
		switch {
		case p.s.box != nil && boxes[i].ID == p.s.box.id:
		case p.late.numbered:
			return bad("Sequence numbers are of the selected mailbox")
		case p.late.saved:
			return no("", "The saved result is of the selected mailbox")
		case want.save:
			return no("", "Only a result of the selected mailbox can be saved")
		}
	}
	return nil
}

// searchIn searches one mailbox, and answers if anything is found.
func (p *searchParser) searchIn(c *command, at *mailstore.Reached, want *searchReturn, criteria mailstore.Criteria) error {
	s, one := p.s, *want
	box := s.box
	if box == nil || box.id != at.ID {
		if at.Messages == 0 {
			return nil
		}
		box = &mailbox{id: at.ID, account: at.Account, validity: at.UIDValidity}
	}
	var found results
	var top mailstore.ModSeq
	err := s.slowly(p.ctx, c, func(ctx context.Context) (err error) {
		if box.view == nil {
			var row mailstore.Mailbox
			if box.view, row, err = s.srv.Store.Load(ctx, box.account, box.id); err != nil {
				return err
			}
			box.validity = row.UIDValidity
		}
		bound, err := p.late.bind(ctx, s, box, criteria)
		if err == nil {
			found.set, err = s.srv.Store.Search(ctx, box.account, box.id, box.view, &bound)
		}
		if err == nil {
			err = one.score(ctx, s, box, &bound, found)
		}
		if err == nil && p.modSeqs > 0 && found.len() > 0 && one.tells() {
			top, err = s.highestOf(ctx, box.view, one.told(found))
		}
		return err
	})
	if box == s.box {
		s.saveResult(&one, found, err)
	}
	if err != nil || found.len() == 0 || !one.tells() {
		return err
	}
	s.enc.Raw(`* ESEARCH (TAG "` + c.tag + `" MAILBOX `)
	s.enc.Mailbox(at.Name, s.utf8())
	s.enc.Raw(" UIDVALIDITY ")
	s.enc.Number(uint64(box.validity))
	s.enc.Byte(')')
	s.writeReturnData(true, &one, found, top)
	return s.enc.Err()
}

// lateKeys are the keys of a program that mean something else in each mailbox:
// they stand in the criteria as SearchUIDs, with their place in asked, counted from 1, as Size.
type lateKeys struct {
	asked    []func(ctx context.Context, s *session, box *mailbox) (mailstore.UIDSet, error)
	numbered bool // sequence numbers are among them
	saved    bool // "$" is
}

func (l *lateKeys) add(ask func(ctx context.Context, s *session, box *mailbox) (mailstore.UIDSet, error)) mailstore.Criteria {
	l.asked = append(l.asked, ask)
	return mailstore.Criteria{Op: mailstore.SearchUIDs, Size: int64(len(l.asked))}
}

// uids is a set of UIDs, in which "*" is each mailbox's last, or "$".
func (l *lateKeys) uids(set wire.NumSet) mailstore.Criteria {
	if set.Saved() {
		l.saved = true
		return l.add(func(_ context.Context, s *session, _ *mailbox) (mailstore.UIDSet, error) { return s.savedResult(), nil })
	}
	return l.add(func(_ context.Context, _ *session, box *mailbox) (uids mailstore.UIDSet, _ error) {
		if box.view.Len() == 0 {
			return nil, nil
		}
		for _, r := range set.Within(uint32(box.view.UID(box.view.Len()))) {
			uids.AddRange(mailstore.UID(r.First), mailstore.UID(r.Last))
		}
		return uids, nil
	})
}

// numbers is a set of sequence numbers, of the selected mailbox.
func (l *lateKeys) numbers(set wire.NumSet) mailstore.Criteria {
	if set.Saved() {
		return l.uids(set)
	}
	l.numbered = true
	return l.add(func(_ context.Context, s *session, _ *mailbox) (mailstore.UIDSet, error) { return s.numbered(set), nil })
}

// recent is \Recent, of which only the selected mailbox knows.
func (l *lateKeys) recent() mailstore.Criteria {
	return l.add(func(_ context.Context, _ *session, box *mailbox) (mailstore.UIDSet, error) { return box.recent, nil })
}

// bind makes the criteria those of one mailbox.
func (l *lateKeys) bind(ctx context.Context, s *session, box *mailbox, c mailstore.Criteria) (mailstore.Criteria, error) {
	if c.Op == mailstore.SearchUIDs && c.Size > 0 {
		uids, err := l.asked[c.Size-1](ctx, s, box)
		return mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: uids}, err
	}
	sub := c.Sub
	c.Sub = make([]mailstore.Criteria, len(sub))
	for i := range sub {
		var err error
		if c.Sub[i], err = l.bind(ctx, s, box, sub[i]); err != nil {
			return c, err
		}
	}
	return c, nil
}
