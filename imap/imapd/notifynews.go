package imapd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"posthouse/mailstore"
)

// toldBox is what the client was told of a mailbox that it sees.
type toldBox struct {
	name     string
	account  mailstore.AccountID
	personal bool
	events   notifyEvents // that are told of it
	denied   bool         // others were asked for, which need the right r
	messages int64
	uidNext  mailstore.UID
	modSeq   mailstore.ModSeq
	validity uint32
}

// counts takes over what the mailbox is now.
func (t *toldBox) counts(m *mailstore.Mailbox) {
	t.messages, t.uidNext, t.modSeq, t.validity = m.Messages, m.UIDNext, m.HighestModSeq, m.UIDValidity
}

// standing is what all that is watched looks like now.
type standing struct {
	boxes []mailstore.Reached
	subs  map[string]bool
	sums  map[mailstore.AnnotationKey]string
}

func (s *session) standing(ctx context.Context, n *notification) (st standing, err error) {
	if st.boxes, err = s.reaches(ctx); err != nil {
		return st, err
	}
	names, err := s.srv.Store.Subscriptions(ctx, s.acct())
	if err != nil {
		return st, err
	}
	st.subs = make(map[string]bool, len(names))
	for _, name := range names {
		st.subs[name] = true
	}
	if n.events&metadataEvents != 0 {
		st.sums, err = s.srv.Store.MetadataSums(ctx, s.acct())
	}
	if err == nil && n.events != 0 && len(st.boxes) > maxNotifyMailboxes {
		err = errNotifyTooMuch
	}
	return st, err
}

// eventsOf gives the events of a mailbox or name: those of the first group that is
// about it.
func (n *notification) eventsOf(name string, personal, subscribed bool) notifyEvents {
	for _, g := range n.groups {
		about := false
		switch g.filter {
		case filterPersonal:
			about = personal
		case filterSubscribed:
			about = subscribed
		case filterMailboxes:
			about = slices.Contains(g.names, name)
		case filterSubtree:
			about = slices.ContainsFunc(g.names, func(top string) bool { return within(name, top) })
		case filterSubtreeOne:
			i := strings.LastIndexByte(name, '/')
			about = slices.Contains(g.names, name) || i >= 0 && slices.Contains(g.names, name[:i])
		}
		if about {
			return g.events
		}
	}
	return 0
}

// within reports whether a name is top, or below it.
func within(name, top string) bool {
	rest, ok := strings.CutPrefix(name, top)
	return ok && (rest == "" || rest[0] == '/')
}

// box makes what is kept of a mailbox, with nothing told of its messages.
func (n *notification) box(r *mailstore.Reached, subs map[string]bool) *toldBox {
	t := &toldBox{name: r.Name, account: r.Account, personal: r.Personal, uidNext: 1}
	t.events = n.eventsOf(r.Name, r.Personal, subs[r.Name])
	if reading := t.events & (messageEvents | mailboxMetadataChange); !r.Rights.Has(mailstore.RightRead) {
		t.events &^= reading
		t.denied = reading != 0
	}
	return t
}

// startNotify begins to watch. First the accounts are, then their mailboxes, and
// only then the state is read: nothing falls between. Until all that succeeded,
// what was told before goes on.
func (s *session) startNotify(ctx context.Context, n *notification) error {
	n.watch = s.srv.Store.WatchMany()
	n.watch.Follow(nil, []mailstore.AccountID{s.acct()}, s.account.Address.Domain)
	st, err := s.standing(ctx, n)
	if err == nil {
		n.told = make(map[mailstore.MailboxID]*toldBox, len(st.boxes))
		for i := range st.boxes {
			n.told[st.boxes[i].ID] = n.box(&st.boxes[i], st.subs)
		}
		s.follow(n)
		st, err = s.standing(ctx, n)
	}
	if err != nil {
		n.watch.Close()
		return err
	}
	n.subs, n.sums = st.subs, st.sums
	clear(n.told)
	for i := range st.boxes {
		r := &st.boxes[i]
		t := n.box(r, st.subs)
		if !t.denied {
			t.counts(&r.Mailbox)
		}
		n.told[r.ID] = t
		if err := s.firstStatus(ctx, n, r, t); err != nil {
			n.watch.Close()
			return err
		}
	}
	s.dropNotify()
	n.stop = s.pokeOn(n.watch)
	s.notify = n
	return nil
}

// firstStatus tells, before the tagged OK, what counts from now on (§3.1), and of
// which mailboxes that were named nothing can be told.
func (s *session) firstStatus(ctx context.Context, n *notification, r *mailstore.Reached, t *toldBox) error {
	selected := s.box != nil && s.box.id == r.ID
	if t.denied && !selected {
		s.listed(r.Name, []string{noAccess}, "")
		return nil
	}
	if !n.status || t.events&messageEvents == 0 || selected {
		return nil
	}
	items := []statusItem{"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN"}
	if s.enabled[condstore] || t.events&flagChange != 0 {
		items = append(items, "HIGHESTMODSEQ")
	}
	return s.status(ctx, r.Mailbox, items)
}

// follow has the watch be of what is told of now.
func (s *session) follow(n *notification) {
	n.of = 0
	var boxes []mailstore.MailboxID
	if s.box != nil {
		n.of = s.box.id
		boxes = append(boxes, n.of)
	}
	accounts := []mailstore.AccountID{s.acct()}
	for id, t := range n.told {
		if t.events&messageEvents != 0 && id != n.of {
			boxes = append(boxes, id)
		}
		if !t.personal && !slices.Contains(accounts, t.account) {
			accounts = append(accounts, t.account)
		}
	}
	n.watch.Follow(boxes, accounts, s.account.Address.Domain)
}

// dropNotify ends what was asked for; nothing is told any more.
func (s *session) dropNotify() {
	n := s.notify
	s.notify = nil
	if n != nil && n.watch != nil {
		n.stop()
		n.watch.Close()
	}
}

// leave notes what the client was told of a mailbox that is not selected any more.
func (n *notification) leave(box *mailbox) {
	if n == nil || n.watch == nil {
		return
	}
	if t := n.told[box.id]; t != nil {
		t.messages, t.uidNext, t.modSeq = int64(box.view.Len()), box.view.UIDNext(), box.told
		n.left = append(n.left, box.id)
	}
}

// between is called while the session waits for a command: what a client that
// never asked for NOTIFY would not be told now.
func (s *session) between(ctx context.Context) error {
	n := s.notify
	if n == nil {
		return nil
	}
	n.collect() // under the hub's lock: after it the mailbox's own watch has its sign, too
	if s.box != nil && n.selected != 0 {
		if err := s.sync(ctx, n.delayed); err != nil {
			return err
		}
	}
	s.named = s.named[:0]
	s.notices(ctx)
	return s.enc.Flush()
}

// notices tells what happened elsewhere than in the selected mailbox. What cannot
// be told ends the notifications, and the client hears so (§5.8).
func (s *session) notices(ctx context.Context) {
	n := s.notify
	if n == nil || n.watch == nil {
		return
	}
	if id := s.selectedID(); id != n.of {
		s.follow(n)
	}
	n.collect()
	boxes, tree := n.left, n.tree
	n.left, n.tree = nil, false
	var err error
	switch {
	case tree:
		err = s.treeNews(ctx, n)
	case len(boxes) > 0:
		err = s.boxNews(ctx, n, boxes)
	}
	if err != nil {
		s.overflow("news not read", err)
	}
}

// collect takes what the watch saw.
func (n *notification) collect() {
	if n.watch == nil {
		return
	}
	boxes, tree := n.watch.Changed()
	n.left = append(n.left, boxes...)
	n.tree = n.tree || tree
}

func (s *session) selectedID() mailstore.MailboxID {
	if s.box == nil {
		return 0
	}
	return s.box.id
}

// overflow ends the notifications, as if NOTIFY NONE had come.
func (s *session) overflow(why string, err error) {
	level := slog.LevelError
	if errors.Is(err, errNotifyTooMuch) { // no fault of ours
		level = slog.LevelInfo
	}
	s.log.Log(context.Background(), level, why, "event", "imap.notify", "error", err)
	s.enc.Raw("* OK [NOTIFICATIONOVERFLOW] Notifications have ended, ask for them again\r\n")
	s.dropNotify()
	s.notify = &notification{}
}

// fewBoxes is up to how many mailboxes are asked for one by one.
const fewBoxes = 8

// boxNews tells what changed in mailboxes that are not selected.
func (s *session) boxNews(ctx context.Context, n *notification, ids []mailstore.MailboxID) error {
	ids = slices.DeleteFunc(ids, func(id mailstore.MailboxID) bool {
		t := n.told[id]
		return id == n.of || t == nil || t.events&messageEvents == 0
	})
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > fewBoxes {
		all, err := s.reaches(ctx)
		if err != nil {
			return err
		}
		for i := range all {
			if _, changed := slices.BinarySearch(ids, all[i].ID); changed {
				if err := s.statusNews(ctx, n, &all[i]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, id := range ids {
		r, err := s.srv.Store.ReachID(ctx, s.acct(), id)
		switch {
		case errors.Is(err, mailstore.ErrNoMailbox): // the account's news tell
		case err != nil:
			return err
		default:
			if err := s.statusNews(ctx, n, &r); err != nil {
				return err
			}
		}
	}
	return nil
}

// statusNews tells what changed in one mailbox (§5.1 to §5.3).
func (s *session) statusNews(ctx context.Context, n *notification, r *mailstore.Reached) error {
	t := n.told[r.ID]
	if t == nil || r.ID == n.of || t.events&messageEvents == 0 || !r.Rights.Has(mailstore.RightRead) {
		return nil
	}
	var items []statusItem
	counted := r.UIDNext != t.uidNext || r.Messages != t.messages
	changed := r.HighestModSeq != t.modSeq
	if counted || r.UIDValidity != t.validity {
		items = append(items, "MESSAGES", "UIDNEXT", "UNSEEN")
	}
	switch {
	case changed && t.events&flagChange != 0:
		items = append(items, "UIDVALIDITY", "HIGHESTMODSEQ")
		if !counted {
			items = append(items, "UNSEEN")
		}
	case counted && s.enabled[condstore]:
		items = append(items, "UIDVALIDITY", "HIGHESTMODSEQ")
	case r.UIDValidity != t.validity:
		items = append(items, "UIDVALIDITY")
	}
	t.counts(&r.Mailbox)
	if len(items) == 0 {
		return nil
	}
	return s.status(ctx, r.Mailbox, items)
}
