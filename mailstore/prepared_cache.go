package mailstore

import (
	"container/list"
	"context"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
)

// What FETCH answers with is prepared at delivery and never changes. Programs ask
// for it again and again, of whole mailboxes, and to read a row costs more than
// to send it: so it is kept in memory, within a budget, in blocks of the UIDs of
// one mailbox and one field. A block that is not asked for goes after a while.

const (
	blockUIDs     = 256
	preparedBytes = 48 << 20        // of blocks, per process
	preparedIdle  = 2 * time.Minute // how long a block stays that nobody asks for
)

// blockKey names a block: UIDs from n*blockUIDs on.
type blockKey struct {
	mbox  MailboxID
	field Fields // one bit
	n     UID
}

// block holds one field of up to blockUIDs messages.
type block struct {
	have [blockUIDs / 64]uint64
	ends []uint32 // of the value of the i-th message that it has, in data
	data []byte
}

// packed is a block as it is kept, immutable: one message is much like another,
// and to undo S2 costs less than to miss.
type packed struct {
	block        // without data
	s2    []byte // of data
}

func (b *block) pack() *packed {
	out := &packed{block: block{have: b.have, ends: slices.Clone(b.ends)}}
	out.s2 = slices.Clone(s2.Encode(nil, b.data))
	return out
}

// unpack gives the block, whose values stand in buf if they have room there.
func (p *packed) unpack(buf []byte) (block, error) {
	b := p.block
	var err error
	b.data, err = s2.Decode(buf[:cap(buf)], p.s2)
	return b, err
}

// newBlock has room for n messages.
func newBlock(n int) *block { return &block{ends: make([]uint32, 0, n)} }

// add appends the value of a message with a higher UID than those before.
func (b *block) add(uid UID, value []byte) {
	i := uid % blockUIDs
	b.have[i/64] |= 1 << (i % 64)
	b.data = append(b.data, value...)
	b.ends = append(b.ends, uint32(len(b.data)))
}

// get gives the value of a message; it is not to be changed.
func (b *block) get(uid UID) (value []byte, ok bool) {
	i := uid % blockUIDs
	word := b.have[i/64]
	if word&(1<<(i%64)) == 0 {
		return nil, false
	}
	at := bits.OnesCount64(word & (1<<(i%64) - 1))
	for _, w := range b.have[:i/64] {
		at += bits.OnesCount64(w)
	}
	begin := uint32(0)
	if at > 0 {
		begin = b.ends[at-1]
	}
	return b.data[begin:b.ends[at]:b.ends[at]], true
}

// covers reports whether the block has all of the set, which lies within it.
func (b *block) covers(uids UIDSet) bool {
	for uid := range uids.Each {
		if i := uid % blockUIDs; b.have[i/64]&(1<<(i%64)) == 0 {
			return false
		}
	}
	return true
}

// size is about what the block takes in memory, in bytes.
func (p *packed) size() int64 { return 300 + 4*int64(cap(p.ends)) + int64(cap(p.s2)) }

// Sizes stand in blocks as eight octets.
func sizeValue(size int64) []byte    { return binary.BigEndian.AppendUint64(nil, uint64(size)) }
func sizeOfValue(value []byte) int64 { return int64(binary.BigEndian.Uint64(value)) }

// preparedCache keeps blocks; the least recently used go first.
type preparedCache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	blocks map[blockKey]*list.Element // of *kept
	order  *list.List                 // most recently used first
}

type kept struct {
	key   blockKey
	block *packed
	asked time.Time
}

func newPreparedCache(budget int64) *preparedCache {
	return &preparedCache{budget: budget, blocks: map[blockKey]*list.Element{}, order: list.New()}
}

func (c *preparedCache) get(key blockKey) *packed {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.blocks[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	k := e.Value.(*kept)
	k.asked = time.Now()
	return k.block
}

// put keeps a block, unless one that has more messages is there.
func (c *preparedCache) put(key blockKey, b *packed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.blocks[key]; e != nil {
		if len(e.Value.(*kept).block.ends) >= len(b.ends) {
			return
		}
		c.remove(e)
	}
	c.blocks[key] = c.order.PushFront(&kept{key, b, time.Now()})
	c.used += b.size()
	for c.used > c.budget && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

func (c *preparedCache) remove(e *list.Element) {
	k := c.order.Remove(e).(*kept)
	c.used -= k.block.size()
	delete(c.blocks, k.key)
}

// drop removes what was not asked for since.
func (c *preparedCache) drop(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Back(); e != nil && e.Value.(*kept).asked.Before(since); e = c.order.Back() {
		c.remove(e)
	}
}

// runPrepared is the goroutine that drops what nobody asks for.
func (s *Store) runPrepared(ctx context.Context) {
	for pause(ctx, preparedIdle/4) {
		s.prepared.drop(time.Now().Add(-preparedIdle))
	}
}
