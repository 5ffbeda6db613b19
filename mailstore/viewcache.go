package mailstore

import (
	"container/list"
	"context"
	"sync"
)

// viewCache keeps the newest view of mailboxes within a budget of bytes, the
// least recently used go first, and lets sessions that advance from the same
// view at the same time do it once.
type viewCache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	byBox  map[MailboxID]*list.Element // of cached
	order  *list.List                  // most recently used first
	steps  map[stepKey]*flight
}

type cached struct {
	view *View
	size int64
}

// stepKey names an Advance; step is its outcome.
type stepKey struct {
	view *View
	keep bool
}

type step struct {
	view    *View
	changes Changes
}

// flight is an Advance that is waited for: of the callers that arrive while one
// reads, the first reads next and the others wait for it. Nobody takes an
// answer whose reading began before the question was asked.
type flight struct {
	running chan struct{} // closed when the one that reads now is done
	next    *outcome      // of the one that reads after it; nil: nobody waits
	users   int
}

type outcome struct {
	done chan struct{}
	step step
	err  error
}

func newViewCache(budget int64) *viewCache {
	return &viewCache{budget: budget, byBox: map[MailboxID]*list.Element{}, order: list.New(), steps: map[stepKey]*flight{}}
}

func (c *viewCache) get(mbox MailboxID) *View {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byBox[mbox]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).view
}

// put keeps v unless a newer view of the mailbox is there.
func (c *viewCache) put(v *View) {
	size := v.size()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byBox[v.mailbox]; e != nil {
		if old := e.Value.(cached); old.view.modseq >= v.modseq && old.view.validity >= v.validity {
			return
		}
		c.remove(e)
	}
	c.byBox[v.mailbox] = c.order.PushFront(cached{v, size})
	c.used += size
	for c.used > c.budget && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

func (c *viewCache) remove(e *list.Element) {
	old := c.order.Remove(e).(cached)
	c.used -= old.size
	delete(c.byBox, old.view.mailbox)
}

func (c *viewCache) drop(ids ...MailboxID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if e := c.byBox[id]; e != nil {
			c.remove(e)
		}
	}
}

// share runs read, or takes the outcome of one that began after the call.
func (c *viewCache) share(ctx context.Context, key stepKey, read func() (step, error)) (step, error) {
	c.mu.Lock()
	f := c.steps[key]
	if f == nil { // nobody reads
		f = &flight{}
		c.steps[key] = f
	}
	if f.running == nil {
		return c.lead(key, f, &outcome{done: make(chan struct{})}, read)
	}
	f.users++
	if o := f.next; o != nil { // somebody will read after the one that reads now
		c.mu.Unlock()
		select {
		case <-o.done:
		case <-ctx.Done():
			return step{}, ctx.Err()
		}
		c.mu.Lock()
		f.users--
		c.tidy(key, f)
		c.mu.Unlock()
		if o.err != nil { // the reader's context may have ended, ours has not
			return read()
		}
		return o.step, nil
	}
	o := &outcome{done: make(chan struct{})}
	f.next = o
	running := f.running
	c.mu.Unlock()
	<-running
	c.mu.Lock()
	f.users--
	f.next = nil
	return c.lead(key, f, o, read)
}

// lead reads for o; c.mu is held on entry and free on return. Another caller
// may have begun to read meanwhile; two readers do no harm.
func (c *viewCache) lead(key stepKey, f *flight, o *outcome, read func() (step, error)) (step, error) {
	running := make(chan struct{})
	f.running = running
	c.mu.Unlock()
	o.step, o.err = read()
	close(o.done)
	close(running)
	c.mu.Lock()
	if f.running == running {
		f.running = nil
	}
	c.tidy(key, f)
	c.mu.Unlock()
	return o.step, o.err
}

// tidy forgets a flight that nobody uses; c.mu is held.
func (c *viewCache) tidy(key stepKey, f *flight) {
	if f.running == nil && f.next == nil && f.users == 0 && c.steps[key] == f {
		delete(c.steps, key)
	}
}
