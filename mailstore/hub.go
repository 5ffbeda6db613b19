package mailstore

import "sync"

// Watch tells of changes. C gets a value after at least one change since the
// last; several changes may give one value, and a value may come without a
// change. Subscribe first, then read the state.
type Watch struct {
	C <-chan struct{}

	c   chan struct{}
	hub *hub
	key watchKey
}

// watchKey is what is watched: one of the two is zero.
type watchKey struct {
	mailbox MailboxID
	account AccountID
}

// hub passes changes on to the sessions of this process.
type hub struct {
	mu      sync.Mutex
	watches map[watchKey]map[*Watch]struct{}
	polled  map[MailboxID]ModSeq // what the last poll saw, of watched mailboxes
}

func newHub() *hub {
	return &hub{watches: map[watchKey]map[*Watch]struct{}{}, polled: map[MailboxID]ModSeq{}}
}

func (h *hub) watch(key watchKey) *Watch {
	w := &Watch{c: make(chan struct{}, 1), hub: h, key: key}
	w.C = w.c
	h.mu.Lock()
	defer h.mu.Unlock()
	set := h.watches[key]
	if set == nil {
		set = map[*Watch]struct{}{}
		h.watches[key] = set
	}
	set[w] = struct{}{}
	return w
}

// Close ends the watch. C is not closed.
func (w *Watch) Close() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches[w.key], w)
	if len(h.watches[w.key]) == 0 {
		delete(h.watches, w.key)
		delete(h.polled, w.key.mailbox)
	}
}

// publish wakes who watches these keys. It never blocks.
func (h *hub) publish(keys ...watchKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		for w := range h.watches[key] {
			w.poke()
		}
	}
}

// publishAll wakes everyone: changes may have been missed.
func (h *hub) publishAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range h.watches {
		for w := range set {
			w.poke()
		}
	}
}

func (w *Watch) poke() {
	select {
	case w.c <- struct{}{}:
	default: // one value is waiting already
	}
}

// mailboxes gives the mailboxes that somebody watches.
func (h *hub) mailboxes() []MailboxID {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]MailboxID, 0, len(h.watches))
	for key := range h.watches {
		if key.mailbox != 0 {
			ids = append(ids, key.mailbox)
		}
	}
	return ids
}

// sawModSeq takes the mod-sequence that a poll read and wakes the watchers when
// it is another than the last one polled.
func (h *hub) sawModSeq(mbox MailboxID, m ModSeq) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := watchKey{mailbox: mbox}
	if h.watches[key] == nil || h.polled[mbox] == m {
		return
	}
	h.polled[mbox] = m
	for w := range h.watches[key] {
		w.poke()
	}
}

// Watch tells of changes to a mailbox: those of this process at once, those of
// others within milliseconds, or at worst with the next poll.
func (s *Store) Watch(mbox MailboxID) *Watch { return s.hub.watch(watchKey{mailbox: mbox}) }

// WatchAccount tells of mailboxes created, renamed, deleted or (un)subscribed.
func (s *Store) WatchAccount(acct AccountID) *Watch { return s.hub.watch(watchKey{account: acct}) }

// changed is called after a commit that changed these mailboxes.
func (s *Store) changed(ids ...MailboxID) {
	keys := make([]watchKey, len(ids))
	for i, id := range ids {
		keys[i].mailbox = id
	}
	s.hub.publish(keys...)
	s.notify.add(keys...)
}

// changedAccount is called after a commit that changed the account's tree of
// mailboxes or its subscriptions.
func (s *Store) changedAccount(acct AccountID) {
	key := watchKey{account: acct}
	s.hub.publish(key)
	s.notify.add(key)
}
