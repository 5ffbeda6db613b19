package imapd

import (
	"context"
	"slices"

	"posthouse/mailstore"
)

// CONTEXT=SEARCH and CONTEXT=SORT (RFC 5267 §4): a client that asks for UPDATE is
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
	sort     []mailstore.SortCriterion // empty: SEARCH
	found    results                   // UIDs, as the client was told
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
	case p.momentary || p.modSeqs > 0 || ranked(x.sort):
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
		s.writeUpdate(n.old, x, n.Expunged, nil)
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
	before := x.found.uids()
	gone, come := changed.Intersect(before).Subtract(now), now.Subtract(before)
	var order []mailstore.UID
	if len(x.sort) > 0 && !come.IsEmpty() {
		order, err = s.srv.Store.Sort(ctx, box.account, box.id, box.view, s.present(before.Subtract(gone).Union(come)), x.sort)
		if err != nil {
			return err
		}
	}
	s.writeUpdate(box.view, x, gone, nil)
	s.writeUpdate(box.view, x, nil, &addition{come, order})
	return nil
}

// addition are messages that come into a result; order is the whole result after
// that, if it has one.
type addition struct {
	come  mailstore.UIDSet
	order []mailstore.UID
}

// writeUpdate changes a result and tells it: REMOVEFROM for those of gone that are
// in it, or ADDTO. Positions of a sorted result count from 1, those of others are
// 0: in mailbox order.
func (s *session) writeUpdate(view *mailstore.View, x *searchContext, gone mailstore.UIDSet, add *addition) {
	var word string
	var runs []run
	if add == nil {
		word, runs = "REMOVEFROM", x.remove(gone)
	} else {
		word, runs = "ADDTO", x.add(add)
	}
	if len(runs) == 0 {
		return
	}
	s.enc.Raw("* ESEARCH " + tagCorrelator(x.tag))
	if x.uid {
		s.enc.Raw(" UID")
	}
	s.enc.Raw(" " + word + " (")
	for i, r := range runs {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.Number(uint64(r.position))
		s.enc.SP()
		uids := r.uids
		if !x.uid {
			uids = numbersOf(view, uids)
		}
		s.enc.Bytes(uids.AppendTo(nil))
	}
	s.enc.Raw(")\r\n")
}

// run is a pair of an update: messages that stand in a row in the result, in
// mailbox order.
type run struct {
	position int
	uids     mailstore.UIDSet
}

// remove takes messages out of the result. The last ones come first, so that the
// positions of the others hold.
func (x *searchContext) remove(gone mailstore.UIDSet) []run {
	if len(x.sort) == 0 {
		was := x.found.set.Intersect(gone)
		if was.IsEmpty() {
			return nil
		}
		x.found.set = x.found.set.Subtract(was)
		return []run{{0, was}}
	}
	runs := runsOf(x.found.order, gone)
	slices.Reverse(runs)
	x.found.order = slices.DeleteFunc(slices.Clone(x.found.order), gone.Contains)
	return runs
}

// add puts messages into the result. The first ones come first: those behind them
// stand where they are told to when all before are in.
func (x *searchContext) add(a *addition) []run {
	if a.come.IsEmpty() {
		return nil
	}
	if len(x.sort) == 0 {
		x.found.set = x.found.set.Union(a.come)
		return []run{{0, a.come}}
	}
	x.found.order = a.order
	return runsOf(a.order, a.come)
}

// runsOf are the messages of a set where they stand in an order: in a row and one
// after the other in the mailbox they are one run.
func runsOf(order []mailstore.UID, set mailstore.UIDSet) (runs []run) {
	for i, uid := range order {
		if !set.Contains(uid) {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].position+runs[n-1].uids.Len() == i+1 && order[i-1] < uid {
			runs[n-1].uids.Add(uid)
			continue
		}
		runs = append(runs, run{i + 1, mailstore.UIDs(uid)})
	}
	return runs
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
