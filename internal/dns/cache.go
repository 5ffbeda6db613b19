package dns

import (
	"container/list"
	"sync"
	"time"

	wire "github.com/miekg/dns"
)

const (
	maxTTL      = 24 * time.Hour
	maxNegative = 15 * time.Minute // RFC 2308 §5 allows hours; a new domain should not wait for them
	maxRecords  = 200              // of one answer in the cache
)

// entry is one answer of a server.
type entry struct {
	kind      Kind // NoName or NoRecord; what is Temporary is never kept
	found     bool // there are records, or a CNAME that leads on
	records   []wire.RR
	name      string // where the records stand; with dangling, where to ask on
	dangling  bool   // the server followed no further than name
	authentic bool
	expires   time.Time
	failure   *Error
}

func (e *entry) err() error {
	if e.failure == nil {
		return nil
	}
	return e.failure
}

// cache holds answers, at most so many; the one unused for longest goes first.
type cache struct {
	mu     sync.Mutex
	max    int
	byQ    map[question]*list.Element
	recent *list.List // of *cached, the most recent in front
}

type cached struct {
	q question
	e entry
}

func (c *cache) init(entries int) {
	if entries <= 0 {
		entries = 20_000
	}
	c.max, c.byQ, c.recent = entries, make(map[question]*list.Element), list.New()
}

func (c *cache) get(q question) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byQ[q]
	if !ok {
		return entry{}, false
	}
	e := el.Value.(*cached).e
	if !time.Now().Before(e.expires) {
		c.recent.Remove(el)
		delete(c.byQ, q)
		return entry{}, false
	}
	c.recent.MoveToFront(el)
	return e, true
}

// put keeps an answer that may be kept.
func (c *cache) put(q question, e entry) {
	if !time.Now().Before(e.expires) || len(e.records) > maxRecords {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byQ[q]; ok {
		el.Value.(*cached).e = e
		c.recent.MoveToFront(el)
		return
	}
	c.byQ[q] = c.recent.PushFront(&cached{q, e})
	for c.recent.Len() > c.max {
		last := c.recent.Back()
		delete(c.byQ, c.recent.Remove(last).(*cached).q)
	}
}

// flights are the questions under way.
type flights struct {
	mu   sync.Mutex
	open map[question]*flight
}

type flight struct {
	done      chan struct{}
	entry     entry
	err       error
	abandoned bool // the one who asked gave up; the answer says nothing
}

// join gives the flight of a question, and whether the caller has to ask.
func (f *flights) join(q question) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if open, ok := f.open[q]; ok {
		return open, false
	}
	mine := &flight{done: make(chan struct{})}
	f.open[q] = mine
	return mine, true
}

func (f *flights) land(q question, mine *flight, e entry, err error, abandoned bool) {
	mine.entry, mine.err, mine.abandoned = e, err, abandoned && err != nil && IsTemporary(err)
	f.mu.Lock()
	delete(f.open, q)
	f.mu.Unlock()
	close(mine.done)
}
