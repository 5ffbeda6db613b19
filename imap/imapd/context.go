package imapd

import (
	"context"
	"slices"

	"posthouse/mailstore"
)

// CONTEXT=SEARCH (RFC 5267 §4): a client that asks for UPDATE is
// told how the result of its search changes, until it cancels that or leaves the
// mailbox. CONTEXT itself is a hint that needs nothing: keys are kept anyhow.

// maxContexts bounds the searches of a session that are kept up to date: their
// results are held in memory.
const maxContexts = 16

func init() {
	returnOptions["UPDATE"] = func(_ *searchParser, want *searchReturn) error { want.update = true; return nil }
	returnOptions["CONTEXT"] = func(*searchParser, *searchReturn) error { return nil }
}

// searchContext is a search whose result the client keeps.
type searchContext struct {
	tag      string
	uid      bool
	criteria mailstore.Criteria
	found    mailstore.UIDSet // as the client was told
}

// freshTag refuses UPDATE with a tag that is in use for it (§4.3).
func (s *session) freshTag(want *searchReturn, tag string) error {
	if want.update && s.contextOf(tag) >= 0 {
		return bad("Tag reuse")
	}
	return nil
}

func (s *session) contextOf(tag string) int {
	return slices.IndexFunc(s.box.contexts, func(x *searchContext) bool { return x.tag == tag })
}

// keepContext begins updates, if they are asked for, or refuses them and only
// them (§4.3.1). It comes before the result is told.
func (s *session) keepContext(p *searchParser, want *searchReturn, x searchContext) {
	if !want.update {
		return
	}
	refuse := ""
	switch {
	case p.momentary || p.modSeqs > 0:
		refuse = "The result changes without news"
	case len(s.box.contexts) >= maxContexts:
		refuse = "Too many contexts"
	}
	if refuse != "" {
		s.enc.Raw(`* NO [NOUPDATE "` + x.tag + `"] ` + refuse + "\r\n")
		return
	}
	s.box.contexts = append(s.box.contexts, &x)
}

// noteChanged remembers what came or has other flags, until tellContexts.
func (box *mailbox) noteChanged(ch mailstore.Changes) {
	if len(box.contexts) > 0 {
		box.changed = box.changed.Union(ch.Added).Union(ch.Flagged)
	}
}

// shrinkContexts tells which expunged messages leave results: before EXPUNGE, so
// that numbers mean what they did (§4.3.4).
func (s *session) shrinkContexts(n news) {
	if n.Expunged.IsEmpty() {
		return
	}
	for _, x := range s.box.contexts {
		s.writeUpdate(n.old, x, "REMOVEFROM", x.found.Intersect(n.Expunged))
		x.found = x.found.Subtract(n.Expunged)
	}
}

// tellContexts looks at what changed and tells what it means for results: after
// EXISTS, so that numbers of new messages are known (§4.3.3). What cannot be looked
// at now is looked at later.
func (s *session) tellContexts(ctx context.Context) {
	box := s.box
	if box.changed.IsEmpty() {
		return
	}
	changed := s.present(box.changed)
	for _, x := range box.contexts {
		if changed.IsEmpty() {
			break
		}
		if err := s.updateContext(ctx, x, changed); err != nil {
			s.log.Error("a search was not kept up to date", "event", "imap.context", "error", err)
			return
		}
	}
	box.changed = nil
}

// updateContext asks which of the messages that changed are found now.
func (s *session) updateContext(ctx context.Context, x *searchContext, changed mailstore.UIDSet) error {
	box := s.box
	criteria := mailstore.Criteria{Op: mailstore.SearchAnd, Sub: []mailstore.Criteria{{Op: mailstore.SearchUIDs, UIDs: changed}, x.criteria}}
	now, err := s.srv.Store.Search(ctx, box.account, box.id, box.view, &criteria)
	if err != nil {
		return err
	}
	gone, come := changed.Intersect(x.found).Subtract(now), now.Subtract(x.found)
	x.found = x.found.Subtract(gone).Union(come)
	s.writeUpdate(box.view, x, "REMOVEFROM", gone)
	s.writeUpdate(box.view, x, "ADDTO", come)
	return nil
}

// writeUpdate tells what comes into a result, or leaves it. The position is 0: a
// search has no order of its own (§4.3.2).
func (s *session) writeUpdate(view *mailstore.View, x *searchContext, word string, uids mailstore.UIDSet) {
	if uids.IsEmpty() {
		return
	}
	s.enc.Raw("* ESEARCH " + tagCorrelator(x.tag))
	if x.uid {
		s.enc.Raw(" UID")
	} else {
		uids = numbersOf(view, uids)
	}
	s.enc.Raw(" " + word + " (0 ")
	s.enc.Bytes(uids.AppendTo(nil))
	s.enc.Raw(")\r\n")
}

// cmdCancelUpdate is CANCELUPDATE (§4.3.5).
func (s *session) cmdCancelUpdate(ctx context.Context, c *command) error {
	var tags []string
	for first := true; first || !c.lex.AtEnd(); first = false {
		if !first {
			if err := c.lex.SP(); err != nil {
				return err
			}
		}
		tag, err := c.lex.QuotedOrLiteral()
		if err != nil {
			return err
		}
		if tags = append(tags, tag); len(tags) > maxContexts {
			return bad("More tags than there are contexts")
		}
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	for _, tag := range tags {
		if s.contextOf(tag) < 0 {
			return bad("No search with that tag is kept up to date")
		}
	}
	s.box.contexts = slices.DeleteFunc(s.box.contexts, func(x *searchContext) bool { return slices.Contains(tags, x.tag) })
	return nil
}
