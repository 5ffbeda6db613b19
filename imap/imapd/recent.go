package imapd

import (
	"sync"

	"posthouse/mailstore"
)

// recents spares the database: of many sessions of a process that hear of the
// same new message only the first asks for its \Recent.
type recents struct {
	mu      sync.Mutex
	claimed map[mailstore.MailboxID]mailstore.UID // asked for up to here
}

// maxRecents bounds the memory; what is forgotten is asked for again.
const maxRecents = 10_000

// first reports whether nobody asked for uid yet.
func (r *recents) first(id mailstore.MailboxID, uid mailstore.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed[id] >= uid {
		return false
	}
	if r.claimed == nil || len(r.claimed) >= maxRecents {
		r.claimed = make(map[mailstore.MailboxID]mailstore.UID)
	}
	r.claimed[id] = uid
	return true
}
