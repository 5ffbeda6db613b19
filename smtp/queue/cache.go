package queue

import "sync"

// freshOctets bounds the bodies that are kept of mail queued a moment ago.
const freshOctets = 8 << 20

// cache keeps small bodies that were just queued on this node for the session
// that will send them, which would else read them from the database and
// decompress them again some milliseconds later. It is a cache: what is not in
// it, or was queued elsewhere, is read.
type cache struct {
	mu     sync.Mutex
	bodies map[int64][]byte // by blob
	order  []int64          // as they came; some are gone
	octets int
}

// put keeps a body, in the place of the oldest where there is no room.
func (f *cache) put(blob int64, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bodies == nil {
		f.bodies = map[int64][]byte{}
	}
	if f.bodies[blob] != nil {
		return
	}
	f.bodies[blob] = body
	f.order = append(f.order, blob)
	f.octets += cap(body)
	for f.octets > freshOctets || len(f.order) > 2*len(f.bodies)+64 {
		f.drop(f.order[0])
		f.order = f.order[1:]
	}
}

func (f *cache) get(blob int64) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies[blob]
}

// forget drops bodies that nobody will ask for.
func (f *cache) forget(blobs ...int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range blobs {
		f.drop(b)
	}
	if len(f.bodies) == 0 {
		f.order = nil
	}
}

func (f *cache) drop(blob int64) {
	if body, ok := f.bodies[blob]; ok {
		delete(f.bodies, blob)
		f.octets -= cap(body)
	}
}

// Handover offers the body of items that were just queued to the sessions of
// this node. The body must not be changed any more.
func (q *Queue) Handover(blob int64, body []byte) {
	if q.scheduler.Load() != nil && len(body) > 0 && len(body) <= prefetchEach {
		q.fresh.put(blob, body)
	}
}
