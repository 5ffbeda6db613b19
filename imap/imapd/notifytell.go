package imapd

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// treeNews tells of mailboxes, subscriptions and annotations that came, went or
// changed, and of messages in any mailbox that is watched: all is read anew.
func (s *session) treeNews(ctx context.Context, n *notification) error {
	st, err := s.standing(ctx, n)
	if err != nil {
		return err
	}
	told := n.told
	n.told = make(map[mailstore.MailboxID]*toldBox, len(st.boxes))
	for i := range st.boxes {
		r := &st.boxes[i]
		t := n.box(r, st.subs)
		if old := told[r.ID]; old == nil && r.Messages == 0 && !t.denied {
			t.counts(&r.Mailbox) // its being there is all that is new
		} else if old != nil && !t.denied && !old.denied {
			t.messages, t.uidNext, t.modSeq, t.validity = old.messages, old.uidNext, old.modSeq, old.validity
		}
		n.told[r.ID] = t
	}
	before := n.subs
	sums := n.sums
	n.subs, n.sums = st.subs, st.sums
	s.follow(n)
	tree := newNotifyTree(&st)
	listed := s.tellNames(n, told, before, tree)
	s.tellAccess(n, told, listed, tree)
	s.tellSubscriptions(n, before, listed, tree)
	s.tellAnnotations(n, sums)
	// The watch is of new mailboxes only since a moment ago: they are read again.
	boxes := slices.Collect(maps.Keys(n.told))
	return s.boxNews(ctx, n, boxes)
}

// notifyTree is what the attributes of names are made of.
type notifyTree struct {
	byName   map[string]*mailstore.Reached
	children map[string]bool
	subs     map[string]bool
}

func newNotifyTree(st *standing) *notifyTree {
	t := &notifyTree{byName: make(map[string]*mailstore.Reached, len(st.boxes)), children: map[string]bool{}, subs: st.subs}
	for i := range st.boxes {
		t.byName[st.boxes[i].Name] = &st.boxes[i]
		for above := range ancestors(st.boxes[i].Name) {
			t.children[above] = true
		}
	}
	return t
}

// attributes of a name, computed as LIST does.
func (t *notifyTree) attributes(name string) (attrs []string) {
	box := t.byName[name]
	if box == nil {
		attrs = append(attrs, string(imap.MailboxAttrNonExistent))
	}
	if t.subs[name] {
		attrs = append(attrs, string(imap.MailboxAttrSubscribed))
	}
	if t.children[name] {
		attrs = append(attrs, string(imap.MailboxAttrHasChildren))
	} else if box != nil {
		attrs = append(attrs, string(imap.MailboxAttrHasNoChildren))
	}
	if box != nil && box.SpecialUse != mailstore.None {
		attrs = append(attrs, box.SpecialUse.String())
	}
	return attrs
}

// own reports whether the session's own command is about a name: what it did is
// not told (§3). Creating makes what is above, renaming moves what is below.
func (s *session) own(name string) bool {
	return slices.ContainsFunc(s.named, func(of string) bool { return within(name, of) || within(of, name) })
}

// tellNames tells of mailboxes created, renamed and deleted (§5.4), and gives the
// names told. To get or lose the right to see one is the same.
func (s *session) tellNames(n *notification, told map[mailstore.MailboxID]*toldBox, subs map[string]bool, tree *notifyTree) map[string]bool {
	listed := map[string]bool{}
	tell := func(name, old string, events notifyEvents) {
		if events&mailboxName != 0 && !s.own(name) && (old == "" || !s.own(old)) {
			listed[name] = true
			s.listed(name, tree.attributes(name), old)
		}
	}
	for _, id := range sortedIDs(told) {
		was := told[id]
		switch now := n.told[id]; {
		case now == nil && tree.byName[was.name] == nil:
			tell(was.name, "", n.eventsOf(was.name, was.personal, subs[was.name]))
		case now != nil && now.name != was.name:
			tell(now.name, was.name, now.events|n.eventsOf(was.name, was.personal, subs[was.name]))
		}
	}
	for _, id := range sortedIDs(n.told) {
		if now := n.told[id]; told[id] == nil {
			tell(now.name, "", now.events)
		}
	}
	return listed
}

// tellAccess tells of mailboxes that are watched no more, for the user may not read
// them, and of those that are again (§5.9); the counts of these follow.
func (s *session) tellAccess(n *notification, told map[mailstore.MailboxID]*toldBox, listed map[string]bool, tree *notifyTree) {
	for _, id := range sortedIDs(n.told) {
		now, was := n.told[id], told[id]
		if id == n.of || listed[now.name] || s.own(now.name) {
			continue
		}
		switch {
		case now.denied && (was == nil || !was.denied):
			listed[now.name] = true
			s.listed(now.name, append([]string{noAccess}, tree.attributes(now.name)...), "")
		case was != nil && was.denied && !now.denied && now.events != 0:
			listed[now.name] = true
			s.listed(now.name, tree.attributes(now.name), "")
		}
	}
}

// noAccess is the attribute of a mailbox that the user sees but may not read (§3.1).
const noAccess = `\NoAccess`

func sortedIDs(m map[mailstore.MailboxID]*toldBox) []mailstore.MailboxID {
	return slices.SortedFunc(maps.Keys(m), func(a, b mailstore.MailboxID) int { return strings.Compare(m[a].name, m[b].name) })
}

// tellSubscriptions tells of names subscribed and unsubscribed (§5.5).
func (s *session) tellSubscriptions(n *notification, before, listed map[string]bool, tree *notifyTree) {
	if n.events&subscriptionChange == 0 {
		return
	}
	var changed []string
	for name := range before {
		if !n.subs[name] {
			changed = append(changed, name)
		}
	}
	for name := range n.subs {
		if !before[name] {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	for _, name := range changed {
		if listed[name] || s.own(name) || n.eventsOf(name, !foreign(name), true)&subscriptionChange == 0 {
			continue
		}
		s.listed(name, tree.attributes(name), "")
	}
}

// listed writes a LIST that nobody asked for; old is the name before a rename.
func (s *session) listed(name string, attrs []string, old string) {
	s.enc.Raw("* LIST (" + strings.Join(attrs, " ") + `) "/" `)
	s.enc.Mailbox(name, s.utf8())
	if old != "" {
		s.enc.Raw(` ("OLDNAME" (`)
		s.enc.Mailbox(old, s.utf8())
		s.enc.Raw("))")
	}
	s.enc.CRLF()
}

// tellAnnotations tells which entries changed, without their values (§5.6, §5.7;
// RFC 5464 §4.4.2).
func (s *session) tellAnnotations(n *notification, before map[mailstore.AnnotationKey]string) {
	if n.events&metadataEvents == 0 {
		return
	}
	changed := map[mailstore.MailboxID][]string{}
	for key, sum := range before {
		if n.sums[key] != sum {
			changed[key.Mailbox] = append(changed[key.Mailbox], key.Entry)
		}
	}
	for key := range n.sums {
		if _, was := before[key]; !was {
			changed[key.Mailbox] = append(changed[key.Mailbox], key.Entry)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		name, events := "", n.events&serverMetadataChange
		if id != 0 {
			t := n.told[id]
			if t == nil {
				continue // it went, and its annotations with it
			}
			name, events = t.name, t.events&mailboxMetadataChange
		}
		if events == 0 || slices.Contains(s.named, name) {
			continue
		}
		slices.Sort(changed[id])
		s.enc.Raw("* METADATA ")
		s.enc.Mailbox(name, s.utf8())
		for _, entry := range changed[id] {
			s.enc.SP()
			s.entryName(entry)
		}
		s.enc.CRLF()
	}
}

// entryName writes the name of an annotation.
func (s *session) entryName(entry string) {
	if strings.ContainsAny(entry, ` (){"\]`) {
		s.enc.String(entry)
	} else {
		s.enc.Raw(entry)
	}
}

// fetchNew gives of new messages in the selected mailbox what NOTIFY asked for,
// but not of those that the client put there itself (§5.2).
func (s *session) fetchNew(ctx context.Context, added mailstore.UIDSet) {
	if s.notify == nil || len(s.notify.items) == 0 {
		return
	}
	if added = added.Subtract(s.placed); added.IsEmpty() {
		return
	}
	f := &fetch{s: s, ctx: ctx, items: slices.Clone(s.notify.items)}
	if s.enabled[qresync] && !f.has("UID") { // RFC 7162 §3.2.4
		f.items = append([]fetchItem{fetchAttributes["UID"]}, f.items...)
	}
	if s.enabled[condstore] && f.has("FLAGS") && !f.has("MODSEQ") { // §3.2
		f.items = append(f.items, fetchAttributes["MODSEQ"])
	}
	f.prepare()
	f.marks = false
	f.needsModSeq = f.fetchesModSeq()
	if _, err := f.run(added); err != nil {
		s.overflow("new messages not fetched", err)
	}
}
