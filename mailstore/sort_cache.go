package mailstore

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Bounds of what SORT and THREAD take in this process: what they keep of the
// mailboxes that were sorted last, and how many mailboxes are read at a time.
// The keys of 100,000 messages take 1 to 6 MB for each criterion.
const (
	sortCacheBytes = 64 << 20
	sortLoads      = 2
)

// sortCache keeps sort keys of whole mailboxes within a budget of bytes, the
// least recently used go first. Messages do not change and UIDs become visible
// in their order, so keys stay true, and are completed by what came since. Keys
// of what was swept stay in; nobody asks for them.
type sortCache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	byName map[sortName]*list.Element // of *sortEntry
	order  *list.List                 // most recently used first

	loads chan struct{} // sortLoads at most
}

// sortName names the keys of a mailbox for one criterion.
type sortName struct {
	mailbox MailboxID
	key     SortKey
}

// sortEntry holds a column; who has its turn may replace it.
type sortEntry struct {
	name sortName
	turn chan struct{} // holds one token
	col  *sortColumn   // nil: nothing was read yet
	size int64         // counted in the cache; guarded by its mu, as is used
	used time.Time
}

func newSortCache(budget int64) *sortCache {
	return &sortCache{budget: budget, byName: map[sortName]*list.Element{}, order: list.New(), loads: make(chan struct{}, sortLoads)}
}

// take gives the entry, for the caller alone until it calls give.
func (c *sortCache) take(ctx context.Context, name sortName) (*sortEntry, error) {
	c.mu.Lock()
	el := c.byName[name]
	if el == nil {
		e := &sortEntry{name: name, turn: make(chan struct{}, 1)}
		e.turn <- struct{}{}
		el = c.order.PushFront(e)
		c.byName[name] = el
	}
	c.order.MoveToFront(el)
	e := el.Value.(*sortEntry)
	e.used = time.Now()
	c.mu.Unlock()
	select {
	case <-e.turn:
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// give ends a turn. The entry is counted anew, and leaves the cache if it has
// nothing in it or more than half of the budget.
func (c *sortCache) give(e *sortEntry) {
	size := int64(0)
	if e.col != nil {
		size = e.col.size()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { e.turn <- struct{}{} }()
	el := c.byName[e.name]
	if el == nil || el.Value.(*sortEntry) != e { // it has left
		return
	}
	c.used += size - e.size
	e.size = size
	if size == 0 || size > c.budget/2 {
		c.remove(el)
	}
	for c.used > c.budget {
		c.remove(c.order.Back())
	}
}

func (c *sortCache) remove(el *list.Element) {
	e := c.order.Remove(el).(*sortEntry)
	delete(c.byName, e.name)
	c.used -= e.size
	e.size = 0
}

// has reports whether there are keys of the mailbox in the cache.
func (c *sortCache) has(name sortName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byName[name]
	return el != nil && el.Value.(*sortEntry).size > 0
}

// dropIdle drops what was not used since.
func (c *sortCache) dropIdle(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for el := c.order.Back(); el != nil && el.Value.(*sortEntry).used.Before(since); el = c.order.Back() {
		c.remove(el)
	}
}
