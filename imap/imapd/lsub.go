package imapd

import (
	"context"

	"posthouse/mailstore"
)

// cmdLsub is LSUB (RFC 3501 §6.3.9). With "%" a name that is not subscribed is
// told as \Noselect when something below it is. Special-use attributes are told
// too: Outlook looks for them here.
func (s *session) cmdLsub(ctx context.Context, c *command) error {
	var ref reference
	var p patterns
	if err := s.parseReferenceAndPattern(c.lex, &ref, &p); err != nil {
		return err
	}
	if ref.root {
		s.enc.Raw(`* LSUB (\Noselect) "/" ""` + "\r\n")
		return nil
	}
	boxes, err := s.reaches(ctx)
	if err != nil {
		return err
	}
	subscriptions, err := s.srv.Store.Subscriptions(ctx, s.acct())
	if err != nil {
		return err
	}
	t := newTree(boxes, subscriptions)
	for _, n := range t {
		n.chosen = n.subscribed
	}
	if p.percent {
		t.inform(&p)
	}
	for _, n := range t {
		if (n.chosen || n.childInfo) && p.match(n.name) {
			s.lsubOne(n)
		}
	}
	return s.enc.Err()
}

func (s *session) lsubOne(n *node) {
	s.enc.Raw("* LSUB (")
	switch {
	case !n.subscribed:
		// RFC 3501 §6.3.9: here \Noselect means "not subscribed".
		s.enc.Raw(`\Noselect \HasChildren`)
	case n.box == nil:
		s.enc.Raw(`\NonExistent`)
	default:
		if n.hasChildren {
			s.enc.Raw(`\HasChildren`)
		} else {
			s.enc.Raw(`\HasNoChildren`)
		}
		if n.box.SpecialUse != mailstore.None {
			s.enc.Raw(" " + n.box.SpecialUse.String())
		}
	}
	s.enc.Raw(`) "/" `)
	s.enc.Mailbox(n.name, s.utf8())
	s.enc.CRLF()
}
