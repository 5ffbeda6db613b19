package mailstore

import (
	"hash/fnv"
	"sync"
)

// Watch tells of changes. C gets a value after at least one change since the
// last; several changes may give one value, and a value may come without a
// change. Subscribe first, then read the state.
type Watch struct {
	C <-chan struct{}

	c       chan struct{}
	hub     *hub
	keys    map[watchKey]struct{}
	changed map[watchKey]struct{} // since the last Changed; nil: nobody asks
}

// watchKey is what is watched: two of the three are zero.
type watchKey struct {
	mailbox MailboxID
	account AccountID
	anyone  uint32 // all accounts of a domain, see anyoneOf
}

// anyoneOf is the key of what is granted to everybody in a domain. A number has
// its place in every notification; that two domains share one costs a look.
func anyoneOf(domain string) watchKey {
	h := fnv.New32a()
	h.Write([]byte(domain))
	return watchKey{anyone: max(h.Sum32(), 1)}
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

func (h *hub) watch(keys ...watchKey) *Watch {
	w := &Watch{c: make(chan struct{}, 1), hub: h, keys: make(map[watchKey]struct{}, len(keys))}
	w.C = w.c
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		h.add(w, key)
	}
	return w
}

// add and remove change what a watch is of; mu is held.
func (h *hub) add(w *Watch, key watchKey) {
	w.keys[key] = struct{}{}
	set := h.watches[key]
	if set == nil {
		set = map[*Watch]struct{}{}
		h.watches[key] = set
	}
	set[w] = struct{}{}
}

func (h *hub) remove(w *Watch, key watchKey) {
	delete(w.keys, key)
	delete(h.watches[key], w)
	if len(h.watches[key]) == 0 {
		delete(h.watches, key)
		delete(h.polled, key.mailbox)
	}
}

// Close ends the watch. C is not closed.
func (w *Watch) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for key := range w.keys {
		w.hub.remove(w, key)
	}
}

// Follow has the watch be of these mailboxes and accounts, of what is granted to
// anyone of the domain, and of nothing else. What happened elsewhere is forgotten.
func (w *Watch) Follow(boxes []MailboxID, accounts []AccountID, domain string) {
	want := make(map[watchKey]struct{}, len(boxes)+len(accounts)+1)
	want[anyoneOf(domain)] = struct{}{}
	for _, id := range boxes {
		want[watchKey{mailbox: id}] = struct{}{}
	}
	for _, id := range accounts {
		want[watchKey{account: id}] = struct{}{}
	}
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range w.keys {
		if _, keep := want[key]; !keep {
			h.remove(w, key)
			delete(w.changed, key)
		}
	}
	for key := range want {
		if _, has := w.keys[key]; !has {
			h.add(w, key)
		}
	}
}

// Changed gives the mailboxes that changed since it was last asked, and whether
// an account did, or the rights of anyone. Only a watch made by WatchMany knows.
func (w *Watch) Changed() (boxes []MailboxID, accounts bool) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for key := range w.changed {
		if key.mailbox != 0 {
			boxes = append(boxes, key.mailbox)
		} else {
			accounts = true
		}
	}
	clear(w.changed)
	return boxes, accounts
}

// publish wakes who watches these keys. It never blocks.
func (h *hub) publish(keys ...watchKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		for w := range h.watches[key] {
			w.poke(key)
		}
	}
}

// publishAll wakes everyone: changes may have been missed.
func (h *hub) publishAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, set := range h.watches {
		for w := range set {
			w.poke(key)
		}
	}
}

func (w *Watch) poke(key watchKey) {
	if w.changed != nil {
		w.changed[key] = struct{}{}
	}
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
		w.poke(key)
	}
}

// Watch tells of changes to a mailbox: those of this process at once, those of
// others within milliseconds, or at worst with the next poll.
func (s *Store) Watch(mbox MailboxID) *Watch { return s.hub.watch(watchKey{mailbox: mbox}) }

// WatchAccount tells of mailboxes created, renamed, deleted or (un)subscribed, of
// rights and of annotations.
func (s *Store) WatchAccount(acct AccountID) *Watch { return s.hub.watch(watchKey{account: acct}) }

// WatchMany is a watch of nothing yet: see Follow and Changed. What it remembers
// is bounded by what it follows.
func (s *Store) WatchMany() *Watch {
	w := s.hub.watch()
	w.changed = map[watchKey]struct{}{}
	return w
}

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

// changedAnyone is called after a commit that changed what everybody in a domain
// may do somewhere.
func (s *Store) changedAnyone(domain string) {
	key := anyoneOf(domain)
	s.hub.publish(key)
	s.notify.add(key)
}
