package imapd

import (
	"context"
	"slices"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// statusItem is a status-att of RFC 3501 §9, in upper case.
type statusItem string

// statusItems are the items known, each with its value.
var statusItems = map[statusItem]func(m *mailstore.Mailbox, recent int64) uint64{
	"MESSAGES":    func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.Messages) },
	"RECENT":      func(_ *mailstore.Mailbox, recent int64) uint64 { return uint64(recent) },
	"UIDNEXT":     func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.UIDNext) },
	"UIDVALIDITY": func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.UIDValidity) },
	"UNSEEN":      func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.Unseen) },
	"SIZE":        func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.Bytes) }, // RFC 8438
}

// statusTexts are the items whose value is no number, or takes a question more.
// Those of extensions are added by the files that honour them.
var statusTexts = map[statusItem]func(s *session, ctx context.Context, m *mailstore.Mailbox) (string, error){}

// cmdStatus is STATUS (RFC 3501 §6.3.10), of the selected mailbox too.
func (s *session) cmdStatus(ctx context.Context, c *command) error {
	name, err := s.mailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	items, err := parseStatusItems(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	box, err := s.reach(ctx, name, mailstore.RightRead)
	if err != nil {
		return err
	}
	return s.writeStatus(ctx, box.Mailbox, items)
}

// parseStatusItems reads the parenthesised items of STATUS and LIST RETURN.
func parseStatusItems(lex *wire.Lexer) ([]statusItem, error) {
	var items []statusItem
	err := lex.List(func() error {
		word, err := lex.Keyword()
		if err != nil {
			return err
		}
		item := statusItem(word)
		if statusItems[item] == nil && statusTexts[item] == nil {
			return bad("Unknown STATUS item")
		}
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
		return nil
	})
	if err == nil && len(items) == 0 {
		err = bad("No STATUS items")
	}
	return items, err
}

// writeStatus answers from the mailbox's row alone, but for RECENT where some are,
// and what statusTexts ask.
func (s *session) writeStatus(ctx context.Context, m mailstore.Mailbox, items []statusItem) error {
	if slices.Contains(items, "HIGHESTMODSEQ") {
		s.aware()
	}
	return s.status(ctx, m, items)
}

// status writes a STATUS response.
func (s *session) status(ctx context.Context, m mailstore.Mailbox, items []statusItem) error {
	var recent int64
	if slices.Contains(items, "RECENT") {
		var err error
		if recent, err = s.unclaimed(ctx, m); err != nil {
			return err
		}
	}
	texts := make([]string, len(items))
	for i, item := range items {
		if text := statusTexts[item]; text != nil {
			var err error
			if texts[i], err = text(s, ctx, &m); err != nil {
				return err
			}
		}
	}
	s.enc.Raw("* STATUS ")
	s.enc.Mailbox(m.Name, s.utf8())
	s.enc.Raw(" (")
	for i, item := range items {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.Raw(string(item))
		s.enc.SP()
		if number := statusItems[item]; number != nil {
			s.enc.Number(number(&m, recent))
		} else {
			s.enc.Raw(texts[i])
		}
	}
	s.enc.Raw(")\r\n")
	return nil
}

// unclaimed counts the messages that no session was given as \Recent yet. What
// arrived and was expunged since must not count, so where something arrived the
// view is asked.
func (s *session) unclaimed(ctx context.Context, m mailstore.Mailbox) (int64, error) {
	if m.FirstRecent >= m.UIDNext || m.Messages == 0 {
		return 0, nil
	}
	view, _, err := s.srv.Store.Load(ctx, m.Account, m.ID)
	if err != nil {
		return 0, err
	}
	// The row is as it was read before: what came later is not in its counts either.
	return int64(view.SeqFrom(m.UIDNext) - view.SeqFrom(m.FirstRecent)), nil
}
