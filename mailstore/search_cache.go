package mailstore

import (
	"container/list"
	"sync"
	"time"
)

// How much memory what searches have read may take in this process.
const (
	searchCacheBytes = 96 << 20         // vocabularies of about 200,000 messages
	searchCacheIdle  = 10 * time.Minute // unused for that long, it goes
)

// searchCache keeps decompressed segments and mailboxes' tables of bodies within
// a budget; the least recently used go first. What it gives is not changed, so a
// search may go on with what has left it.
type searchCache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	byKey  map[searchKey]*list.Element // of *searchItem
	order  *list.List                  // most recently used first
}

// searchKey names a segment by its id, or a mailbox.
type searchKey struct {
	segment  int64
	bare     bool // without its words
	prefixes bool // of the mailbox
	mailbox  MailboxID
}

type searchItem struct {
	key      searchKey
	segment  *segment
	docs     *docTable
	prefixes *prefixTable
	size     int64
	used     time.Time
}

func newSearchCache(budget int64) *searchCache {
	return &searchCache{budget: budget, byKey: map[searchKey]*list.Element{}, order: list.New()}
}

func (c *searchCache) get(key searchKey) *searchItem {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	item := e.Value.(*searchItem)
	item.used = time.Now()
	return item
}

func (c *searchCache) segment(id int64) *segment {
	if item := c.get(searchKey{segment: id}); item != nil {
		return item.segment
	}
	return nil
}

// bareSegment is a segment that may lack its words.
func (c *searchCache) bareSegment(id int64) *segment {
	if s := c.segment(id); s != nil {
		return s
	}
	if item := c.get(searchKey{segment: id, bare: true}); item != nil {
		return item.segment
	}
	return nil
}

func (c *searchCache) docs(mbox MailboxID) (*docTable, bool) {
	if item := c.get(searchKey{mailbox: mbox}); item != nil {
		return item.docs, true
	}
	return nil, false
}

// prefixes is the table of a mailbox, perhaps an empty one.
func (c *searchCache) prefixes(mbox MailboxID) *prefixTable {
	if item := c.get(searchKey{mailbox: mbox, prefixes: true}); item != nil {
		return item.prefixes
	}
	return &prefixTable{}
}

// putPrefixes keeps t unless a longer table of the mailbox is there.
func (c *searchCache) putPrefixes(mbox MailboxID, t *prefixTable) {
	if c.prefixes(mbox).last < t.last {
		c.put(&searchItem{key: searchKey{mailbox: mbox, prefixes: true}, prefixes: t, size: t.size()})
	}
}

// putSegment keeps s; kept says that it fits.
func (c *searchCache) putSegment(s *segment) (kept bool) {
	return c.put(&searchItem{key: searchKey{segment: s.id}, segment: s, size: s.size()})
}

func (c *searchCache) putBareSegment(s *segment) {
	c.put(&searchItem{key: searchKey{segment: s.id, bare: true}, segment: s, size: s.size()})
}

// putDocs keeps t unless a longer table of the mailbox is there.
func (c *searchCache) putDocs(mbox MailboxID, t *docTable, size int64) {
	if old, ok := c.docs(mbox); !ok || old.last < t.last {
		c.put(&searchItem{key: searchKey{mailbox: mbox}, docs: t, size: size})
	}
}

func (c *searchCache) put(item *searchItem) (kept bool) {
	if item.size > c.budget/2 {
		return false
	}
	item.used = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[item.key]; e != nil {
		c.remove(e)
	}
	c.byKey[item.key] = c.order.PushFront(item)
	for c.used += item.size; c.used > c.budget; {
		c.remove(c.order.Back())
	}
	return true
}

func (c *searchCache) remove(e *list.Element) {
	item := c.order.Remove(e).(*searchItem)
	delete(c.byKey, item.key)
	c.used -= item.size
}

// dropIdle drops what was not used since.
func (c *searchCache) dropIdle(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Back(); e != nil && e.Value.(*searchItem).used.Before(since); e = c.order.Back() {
		c.remove(e)
	}
}
