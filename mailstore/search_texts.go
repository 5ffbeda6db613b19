package mailstore

import (
	"fmt"
	"io"
	"math/bits"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"posthouse/internal/message"
)

// This file decides what needs the texts of headers and bodies. Texts are
// looked up in the packs; those that are not packed yet are made from the body.

// maxLeaves is how many texts are looked for in one pass: the bits of a mask.
const maxLeaves = 64

// documents are the messages that a search looks into: parallel slices.
type documents struct {
	uids     []UID
	blobs    []int64
	raw      []int64  // size of the body as stored, without prefix
	prefixes [][]byte // nil unless asked for
}

// documents reads which bodies the candidates have.
func (q *search) documents(cand UIDSet, prefixes bool) (*documents, error) {
	var c condition
	which := c.candidates(q, cand)
	prefix := "NULL::bytea"
	if prefixes {
		prefix = "prefix"
	}
	rows, err := q.tx.Query(q.ctx, `SELECT uid, blob_id, size - coalesce(octet_length(prefix), 0), `+prefix+which+` ORDER BY uid`, c.args...)
	if err != nil {
		return nil, err
	}
	d := &documents{}
	var uid, blob, raw int64
	var p []byte
	at := 0
	_, err = pgx.ForEachRow(rows, []any{&uid, &blob, &raw, &p}, func() error {
		for at < len(cand) && int64(cand[at].Hi) < uid {
			at++
		}
		if at < len(cand) && int64(cand[at].Lo) <= uid {
			d.uids, d.blobs, d.raw, d.prefixes = append(d.uids, UID(uid)), append(d.blobs, blob), append(d.raw, raw), append(d.prefixes, p)
			p = nil
		}
		return nil
	})
	return d, err
}

// texts gives the messages among cand that meet n, which uses texts only.
func (q *search) texts(n node, cand UIDSet) (UIDSet, error) {
	var leaves []textLeaf
	met := compile(n, &leaves)
	if len(leaves) > maxLeaves {
		return q.pieces(n, cand, q.texts)
	}
	docs, err := q.documents(cand, inHeaders(leaves) != 0)
	if err != nil {
		return nil, err
	}
	m := newMatcher(leaves, docs.blobs)
	if err := q.searchPacks(m); err != nil {
		return nil, err
	}
	if err := q.searchBodies(m, docs); err != nil {
		return nil, err
	}
	var found UIDSet
	for i, uid := range docs.uids {
		mask := m.masks[m.index[docs.blobs[i]]]
		if missing := inHeaders(leaves) &^ mask; missing != 0 && len(docs.prefixes[i]) > 0 {
			mask |= m.prefix(missing, docs.prefixes[i])
		}
		if met(mask) {
			found.Add(uid)
		}
	}
	return found, q.ctx.Err()
}

// compile makes a test of a mask of matched leaves, and lists the leaves.
func compile(n node, leaves *[]textLeaf) func(mask uint64) bool {
	switch n.op {
	case SearchNot:
		sub := compile(n.sub[0], leaves)
		return func(mask uint64) bool { return !sub(mask) }
	case SearchAnd, SearchOr:
		subs := make([]func(uint64) bool, len(n.sub))
		for i := range n.sub {
			subs[i] = compile(n.sub[i], leaves)
		}
		end := n.op == SearchOr // what ends the question
		return func(mask uint64) bool {
			for _, sub := range subs {
				if sub(mask) == end {
					return end
				}
			}
			return !end
		}
	}
	bit := uint64(1) << (len(*leaves) % maxLeaves)
	*leaves = append(*leaves, newTextLeaf(n))
	return func(mask uint64) bool { return mask&bit != 0 }
}

// textLeaf is one text to look for.
type textLeaf struct {
	header, body bool   // where
	mark         []byte // of the field it has to be in; nil: anywhere
	needle       []byte // folded; empty: the field has to be there
}

func newTextLeaf(n node) textLeaf {
	l := textLeaf{header: n.op != SearchBody, body: n.op != SearchHeader, needle: []byte(n.needle)}
	if n.op == SearchHeader {
		l.mark = message.FieldMark(n.field)
	}
	return l
}

// inHeaders is the mask of the leaves that look at headers, inBodies of those
// that look at bodies.
func inHeaders(leaves []textLeaf) (mask uint64) {
	for i := range leaves {
		if leaves[i].header {
			mask |= 1 << i
		}
	}
	return mask
}

func inBodies(leaves []textLeaf) (mask uint64) {
	for i := range leaves {
		if leaves[i].body {
			mask |= 1 << i
		}
	}
	return mask
}

// matcher knows for each body which leaves match it.
type matcher struct {
	leaves []textLeaf
	index  map[int64]int32 // body → place in masks
	masks  []uint64
	seen   []bool // the body's text was looked at
}

func newMatcher(leaves []textLeaf, blobs []int64) *matcher {
	m := &matcher{leaves: leaves, index: make(map[int64]int32, len(blobs))}
	for _, b := range blobs {
		if _, ok := m.index[b]; !ok {
			m.index[b] = int32(len(m.index))
		}
	}
	m.masks, m.seen = make([]uint64, len(m.index)), make([]bool, len(m.index))
	return m
}

// prefix says which of these leaves match the fields of a recipient's prefix.
func (m *matcher) prefix(missing uint64, prefix []byte) (mask uint64) {
	text := message.AppendHeaderText(nil, prefix)
	for rest := missing; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if m.leaves[i].find(text, 0) >= 0 {
			mask |= 1 << i
		}
	}
	return mask
}

// bodiesAtOnce is how many small bodies are fetched in one round trip.
const bodiesAtOnce = 32

// searchBodies looks into the bodies that no pack has.
func (q *search) searchBodies(m *matcher, docs *documents) error {
	small := map[int64]int64{} // body → size
	for i, blob := range docs.blobs {
		k := m.index[blob]
		if m.seen[k] {
			continue
		}
		m.seen[k] = true
		if docs.raw[i] > frameSize {
			if err := q.searchBody(m, blob, docs.raw[i], &bodyInTx{q: q, blob: blob}); err != nil {
				return err
			}
			continue
		}
		if small[blob] = docs.raw[i]; len(small) == bodiesAtOnce {
			if err := q.searchSmall(m, small); err != nil {
				return err
			}
			clear(small)
		}
	}
	return q.searchSmall(m, small)
}

// searchSmall looks into bodies of one frame.
func (q *search) searchSmall(m *matcher, sizes map[int64]int64) error {
	if len(sizes) == 0 {
		return nil
	}
	ids := make([]int64, 0, len(sizes))
	for id := range sizes {
		ids = append(ids, id)
	}
	rows, err := q.tx.Query(q.ctx, `SELECT blob_id, data FROM blob_chunk WHERE blob_id = ANY($1) AND seq = 0`, ids)
	if err != nil {
		return err
	}
	var blob int64
	var z pgtype.DriverBytes
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&blob, &z}, func() error {
		if raw, err = decoder.DecodeAll(z, raw[:0]); err != nil {
			return fmt.Errorf("decode body %d: %w", blob, err)
		}
		return q.searchBody(m, blob, int64(len(raw)), inMemory(raw))
	})
	return err
}

// searchBody makes the texts of one body and matches them.
func (q *search) searchBody(m *matcher, blob, size int64, r io.ReaderAt) error {
	header, body, err := message.SearchText(r, size, message.MaxText)
	if err != nil {
		return fmt.Errorf("body %d: %w", blob, err)
	}
	for i := range m.leaves {
		l := &m.leaves[i]
		if l.header && l.find(header, 0) >= 0 || l.body && l.find(body, 0) >= 0 {
			m.masks[m.index[blob]] |= 1 << i
		}
	}
	return nil
}

// inMemory is a body that is held whole; the parser reads it without a copy.
type inMemory []byte

func (b inMemory) Bytes() ([]byte, bool) { return b, true }

func (b inMemory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// bodyInTx reads a body frame by frame inside a transaction; it holds one.
type bodyInTx struct {
	q     *search
	blob  int64
	frame int64 // number of the frame held, plus one
	data  []byte
}

// ReadAt implements io.ReaderAt.
func (b *bodyInTx) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if frame := at / frameSize; b.frame != frame+1 {
			var err error
			if b.data, err = readFrame(b.q.ctx, b.q.tx, b.blob, frame, b.data); err != nil {
				return n, err
			}
			b.frame = frame + 1
		}
		if at%frameSize >= int64(len(b.data)) {
			return n, io.EOF
		}
		n += copy(p[n:], b.data[at%frameSize:])
	}
	return n, nil
}
