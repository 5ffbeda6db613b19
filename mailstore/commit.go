package mailstore

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Bounds of a group commit, and of the lanes that commit at the same time.
const (
	groupItems   = 64
	groupTargets = 1000
	groupBytes   = 4 << 20 // compressed
	sharedLanes  = 3       // see lanePatience
	commitTime   = time.Minute
	ownTime      = 5 * time.Minute // with the largest body on a slow disk
)

// lanePatience is how long a group may take before another lane opens beside
// it. One lane makes the largest groups: against two, Postgres spends 0.8 of the
// processor time per message at 8 connections. But a group that hangs must not
// hold up everybody's mail.
const lanePatience = 50 * time.Millisecond

// committer shares transactions among deliveries: those that arrive while the
// lane is busy go together in the next one. A delivery that finds it free goes
// at once and alone. An account is in one shared lane at a time, so that
// groups of this process never wait for each other's mailboxes; a mailbox that
// somebody else has locked sends its delivery to a lane of its own.
type committer struct {
	s       *Store
	mu      sync.Mutex
	queue   []*item
	busy    map[AccountID]int // in a shared lane, by how many targets
	active  int               // shared lanes
	late    int               // of them, by more than lanePatience
	closed  bool
	running sync.WaitGroup
	inboxes inboxes

	own   chan struct{} // slots of lanes of their own
	turns turns
}

func newCommitter(s *Store) *committer {
	slots := max(2, int(s.pool.Config().MaxConns)/2)
	return &committer{s: s, busy: map[AccountID]int{}, own: make(chan struct{}, slots), turns: turns{held: map[AccountID]chan struct{}{}}}
}

// close lets no more deliveries in and waits for those under way.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}

// submit takes an item through its transaction. When ctx ends while the item
// still waits, it is taken out again; once it is under way its outcome counts.
func (c *committer) submit(ctx context.Context, it *item) error {
	alone := it.alone()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if alone {
		c.running.Add(1)
		c.mu.Unlock()
		defer c.running.Done()
		c.commitAlone(ctx, it)
		return it.err
	}
	c.queue = append(c.queue, it)
	c.dispatch()
	c.mu.Unlock()
	select {
	case <-it.done:
		return it.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	if i := slices.Index(c.queue, it); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.mu.Unlock()
		return dbError("deliver", ctx.Err())
	}
	c.mu.Unlock()
	<-it.done
	return it.err
}

// dispatch starts lanes while there is something to do; c.mu is held.
func (c *committer) dispatch() {
	for c.active < min(1+c.late, sharedLanes) {
		group := c.take()
		if len(group) == 0 {
			return
		}
		c.active++
		c.running.Go(func() { c.lane(group) })
	}
}

// take picks the next group: in order of arrival, without the accounts that are
// in another lane; c.mu is held.
func (c *committer) take() []*item {
	var group, rest []*item
	mine := map[AccountID]int{}
	targets, size := 0, 0
	for i, it := range c.queue {
		if len(group) == groupItems || targets >= groupTargets || size >= groupBytes {
			rest = append(rest, c.queue[i:]...)
			break
		}
		free := true
		for j := range it.targets {
			if c.busy[it.targets[j].Account] > 0 {
				free = false
				break
			}
		}
		if !free {
			rest = append(rest, it)
			continue
		}
		for j := range it.targets {
			mine[it.targets[j].Account]++
		}
		group = append(group, it)
		targets += len(it.targets)
		size += len(it.frame)
	}
	c.queue = rest
	for a, n := range mine {
		c.busy[a] += n
	}
	return group
}

// lane commits one group and settles what became of each item.
func (c *committer) lane(group []*item) {
	var late, ended bool
	patience := time.AfterFunc(lanePatience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !ended {
			late = true
			c.late++
			c.dispatch()
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	c.s.commitShared(ctx, group)
	cancel()
	for _, it := range group {
		if it.again {
			c.running.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), commitTime)
				defer cancel()
				c.commitAlone(ctx, it)
				close(it.done)
			})
			continue
		}
		close(it.done)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range group {
		for j := range it.targets {
			if a := it.targets[j].Account; c.busy[a] == 1 {
				delete(c.busy, a)
			} else {
				c.busy[a]--
			}
		}
	}
	patience.Stop()
	if ended = true; late {
		c.late--
	}
	c.active--
	c.dispatch()
}

// commitAlone takes an item through a transaction of its own. One delivery of
// an account waits for locks at a time: a locked mailbox costs one connection.
func (c *committer) commitAlone(ctx context.Context, it *item) {
	accounts := make([]AccountID, 0, len(it.targets))
	for i := range it.targets {
		accounts = append(accounts, it.targets[i].Account)
	}
	release, err := c.turns.take(ctx, accounts)
	if err != nil {
		it.err = dbError("deliver", err)
		return
	}
	defer release()
	select {
	case c.own <- struct{}{}:
		defer func() { <-c.own }()
	case <-ctx.Done():
		it.err = dbError("deliver", ctx.Err())
		return
	}
	// From here on it runs to its end: a client that hangs up must not break a commit.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownTime)
	defer cancel()
	c.s.commitOwn(ctx, it)
}

// turns lets one at a time act for an account.
type turns struct {
	mu   sync.Mutex
	held map[AccountID]chan struct{} // closed when it is free again
}

// take waits for the turn of all these accounts, in their order, so that no two
// wait for each other.
func (t *turns) take(ctx context.Context, accounts []AccountID) (release func(), err error) {
	slices.Sort(accounts)
	accounts = slices.Compact(accounts)
	var have []AccountID
	release = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, a := range have {
			close(t.held[a])
			delete(t.held, a)
		}
	}
	for len(have) < len(accounts) {
		a := accounts[len(have)]
		t.mu.Lock()
		wait, held := t.held[a]
		if !held {
			t.held[a] = make(chan struct{})
			have = append(have, a)
		}
		t.mu.Unlock()
		if !held {
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			release()
			return nil, ctx.Err()
		}
	}
	return release, nil
}
