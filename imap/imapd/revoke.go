package imapd

import (
	"sync"

	"posthouse/internal/directory"
)

// revocations ends sessions whose password changed or whose account went. The
// sessions that share a channel of the directory share one goroutine.
type revocations struct {
	dir *directory.Directory

	mu      sync.Mutex
	groups  map[<-chan struct{}]*revocable
	running sync.WaitGroup
}

// revocable are the sessions that one channel ends.
type revocable struct {
	sessions map[*session]struct{}
	empty    chan struct{} // closed when the last one is gone
}

func newRevocations(dir *directory.Directory) *revocations {
	return &revocations{dir: dir, groups: make(map[<-chan struct{}]*revocable)}
}

// watch follows the account of s, which has just logged in, until the function
// returned is called.
func (r *revocations) watch(s *session) (cancel func()) {
	revoked, forget := r.dir.Revoked(s.account.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[revoked]
	if g == nil {
		g = &revocable{sessions: make(map[*session]struct{}), empty: make(chan struct{})}
		r.groups[revoked] = g
		r.running.Go(func() { r.follow(g, revoked) })
	}
	g.sessions[s] = struct{}{}
	return func() {
		defer forget()
		r.mu.Lock()
		defer r.mu.Unlock()
		if delete(g.sessions, s); len(g.sessions) == 0 {
			delete(r.groups, revoked)
			close(g.empty)
		}
	}
}

// follow waits for the revocation, and tells each session.
func (r *revocations) follow(g *revocable, revoked <-chan struct{}) {
	select {
	case <-g.empty:
		return
	case <-revoked:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range g.sessions {
		s.revoked.Store(true)
		s.conn.poke()
	}
}
