package imapd

import (
	"context"
	"errors"
	"strings"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// This file reads and resolves the mailboxes that ESEARCH looks into (RFC 7377
// §2.2): multisearch.go.

// maxMultiBoxes bounds the mailboxes of one command. maxSources bounds what the
// client names in one list.
const (
	maxMultiBoxes = 10_000
	maxSources    = 1000
)

// sources are the mailboxes that a client means.
type sources struct {
	selected, personal, inboxes, subscribed bool
	named                                   []string
	trees                                   []sourceTree
}

// sourceTree is a mailbox and those below it; "" is above all of the user's own.
type sourceTree struct {
	top string
	one bool // one level only
}

// sources reads [IN (source-mbox) SP] (§2.2): without it the selected mailbox is
// meant.
func (p *searchParser) sources() (*sources, error) {
	src := new(sources)
	word, err := p.peekWord()
	if err != nil {
		return nil, err
	}
	if word == "IN" {
		p.word = ""
		if err := p.lex.SP(); err != nil {
			return nil, err
		}
		n := 0
		if err := p.lex.List(func() error { n++; return p.source(src) }); err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, bad("No mailboxes to search")
		}
		if err := p.lex.SP(); err != nil {
			return nil, err
		}
	} else {
		src.selected = true
	}
	if src.selected && p.s.box == nil {
		return nil, bad("No mailbox is selected")
	}
	return src, nil
}

// source reads one filter-mailboxes (RFC 5465 §8, RFC 7377 §2.2). There is no
// "selected-delayed" here, and no scope option is defined yet.
func (p *searchParser) source(src *sources) error {
	word, err := p.lex.Keyword()
	if err != nil {
		return err
	}
	switch word {
	case "SELECTED":
		src.selected = true
	case "PERSONAL":
		src.personal = true
	case "INBOXES":
		src.inboxes = true
	case "SUBSCRIBED":
		src.subscribed = true
	case "MAILBOXES":
		return p.sourceNames(func(name string) {
			if name != "" {
				src.named = append(src.named, name)
			}
		})
	case "SUBTREE", "SUBTREE-ONE":
		return p.sourceNames(func(name string) { src.trees = append(src.trees, sourceTree{name, word == "SUBTREE-ONE"}) })
	default:
		return wire.Syntaxf("unknown mailboxes to search")
	}
	return nil
}

// sourceNames reads SP one-or-more-mailbox.
func (p *searchParser) sourceNames(add func(name string)) error {
	if err := p.lex.SP(); err != nil {
		return err
	}
	n := 0
	one := func() error {
		raw, err := p.lex.Astring()
		if err != nil {
			return err
		}
		if n++; n > maxSources {
			return no("LIMIT", "More than %d mailboxes", maxSources)
		}
		if raw == "" { // above all mailboxes, and none itself
			add("")
			return nil
		}
		name, err := wire.DecodeMailbox(raw, p.s.utf8())
		if _, malformed := errors.AsType[*wire.SyntaxError](err); err == nil || malformed {
			if err == nil {
				add(name)
			}
			return err
		}
		return nil // no mailbox can have such a name
	}
	if !p.lex.IsList() {
		return one()
	}
	if err := p.lex.List(one); err != nil {
		return err
	}
	if n == 0 {
		return bad("No mailboxes to search")
	}
	return nil
}

// mailboxes are those that are meant and may be read, each once: the selected one
// first, then the user's own. One that is named need not be seen by LIST (RFC 7377 §2.2).
func (src *sources) mailboxes(ctx context.Context, s *session) (found []mailstore.Reached, err error) {
	have := map[mailstore.MailboxID]bool{}
	add := func(m mailstore.Reached) error {
		if !have[m.ID] && m.Rights.Has(mailstore.RightRead) {
			have[m.ID], found = true, append(found, m)
		}
		if len(found) > maxMultiBoxes {
			return no("LIMIT", "More than %d mailboxes", maxMultiBoxes)
		}
		return nil
	}
	if src.selected {
		m, err := s.srv.Store.ReachID(ctx, s.acct(), s.box.id)
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, inBox(err)
		}
	}
	if src.personal || src.inboxes || src.subscribed || len(src.trees) > 0 {
		if err := src.seen(ctx, s, add); err != nil {
			return nil, err
		}
	}
	for _, name := range src.named {
		m, err := s.reach(ctx, name, mailstore.RightRead)
		if errors.Is(err, mailstore.ErrNoMailbox) || errors.Is(err, errNoRight) {
			continue
		}
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// seen adds the mailboxes that LIST shows and the sources mean.
func (src *sources) seen(ctx context.Context, s *session, add func(mailstore.Reached) error) error {
	all, err := s.reaches(ctx)
	if err != nil {
		return err
	}
	subscribed := map[string]bool{}
	if src.subscribed {
		names, err := s.srv.Store.Subscriptions(ctx, s.acct())
		if err != nil {
			return err
		}
		for _, name := range names {
			subscribed[name] = true
		}
	}
	for _, m := range all {
		if src.personal && m.Personal || src.inboxes && m.Personal && m.Own == "INBOX" || subscribed[m.Name] || src.inTree(&m) {
			if err := add(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// inTree reports whether a subtree has the mailbox.
func (src *sources) inTree(m *mailstore.Reached) bool {
	for _, t := range src.trees {
		below, ok := m.Name, m.Personal
		if t.top != "" {
			if m.Name == t.top {
				return true
			}
			below, ok = strings.CutPrefix(m.Name, t.top+string(wire.Delimiter))
		}
		if ok && !(t.one && strings.IndexByte(below, wire.Delimiter) >= 0) {
			return true
		}
	}
	return false
}
