package mailstore

import "sync"

// handoverOctets bounds what is kept of bodies for the indexer, in octets.
const handoverOctets = 8 << 20

// handover passes bodies that were just delivered here on to the indexer, which
// would read them from the database and decompress them again a moment later. It
// is a cache: what is pending says table text_todo.
type handover struct {
	mu     sync.Mutex
	bodies map[int64][]byte // by blob id
	octets int
}

// put keeps a body. When there is no room all others are forgotten: they may
// have been packed by another node, or there is too much mail to keep up with.
func (h *handover) put(blob int64, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bodies == nil || h.octets+cap(body) > handoverOctets {
		h.bodies, h.octets = map[int64][]byte{}, 0
	}
	h.bodies[blob] = body
	h.octets += cap(body)
}

// take gives a body and forgets it.
func (h *handover) take(blob int64) ([]byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	body, ok := h.bodies[blob]
	if ok {
		delete(h.bodies, blob)
		h.octets -= cap(body)
	}
	return body, ok
}

func (h *handover) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bodies, h.octets = nil, 0
}

// handOver keeps the bodies of a group that was committed.
func (s *Store) handOver(group []*item) {
	if s.opt.Index < 0 {
		return // nobody would take them
	}
	for _, it := range group {
		if body, ok := it.d.Body.Bytes(); ok && it.err == nil && !it.again {
			s.index.fresh.put(it.blob, body)
		}
	}
}
