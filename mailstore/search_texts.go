package mailstore

import (
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"posthouse/internal/message"
)

// This file decides what needs the texts of headers and bodies. Texts are
// looked up in the segments and in the packs; those that are not packed yet are
// made from the body.

// maxLeaves is how many texts are looked for in one pass: the bits of a mask.
const maxLeaves = 64

// documents are messages whose headers are read: parallel slices.
type documents struct {
	uids  []UID
	blobs []int64
	raw   []int64 // size of the body as stored, without prefix
}

// documents reads which bodies the candidates have.
func (q *search) documents(cand UIDSet) (*documents, error) {
	var c condition
	which := c.candidates(q, cand)
	rows, err := q.tx.Query(q.ctx, `SELECT uid, blob_id, size - coalesce(octet_length(prefix), 0)`+which+` ORDER BY uid`, c.args...)
	if err != nil {
		return nil, err
	}
	d := &documents{}
	var uid, blob, raw int64
	at := 0
	_, err = pgx.ForEachRow(rows, []any{&uid, &blob, &raw}, func() error {
		for at < len(cand) && int64(cand[at].Hi) < uid {
			at++
		}
		if at < len(cand) && int64(cand[at].Lo) <= uid {
			d.uids, d.blobs, d.raw = append(d.uids, UID(uid)), append(d.blobs, blob), append(d.raw, raw)
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
	docs, err := q.openTexts(cand)
	if err != nil {
		return nil, err
	}
	m := newMatcher(leaves, docs)
	left, err := q.searchSegments(m)
	if err != nil {
		return nil, err
	}
	if err := q.searchPacks(m, left); err != nil {
		return nil, err
	}
	if err := q.searchBodies(m, cand); err != nil {
		return nil, err
	}
	own, err := q.searchPrefixes(m, cand)
	if err != nil {
		return nil, err
	}
	return m.result(met, own, cand), q.ctx.Err()
}

// result gives the candidates that meet the criteria, with what each message's
// own prefix adds to its body's mask.
func (m *matcher) result(met func(uint64) bool, own map[UID]uint64, cand UIDSet) UIDSet {
	none := met(0) // so it is for most; the others are listed
	var others []UID
	for i, place := 0, 0; i < len(m.docs.docs); i++ {
		if d := m.docs.docs[i]; d.blob != m.docs.docs[place].blob {
			place = i
		}
		mask := m.masks[place]
		uid := m.docs.docs[i].uid
		if len(own) > 0 {
			mask |= own[uid]
		}
		if mask != 0 && met(mask) != none {
			others = append(others, uid)
		}
	}
	slices.Sort(others)
	var found UIDSet
	for _, uid := range others {
		found.Add(uid)
	}
	if none {
		return cand.Subtract(found)
	}
	return cand.Intersect(found)
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
	header, body bool       // where
	mark         []byte     // of the field it has to be in; nil: anywhere
	needle       []byte     // folded; empty: the field has to be there
	fuzzy        *fuzzyWord // nil: the needle as it stands
}

func newTextLeaf(n node) textLeaf {
	l := textLeaf{header: n.op != SearchBody, body: n.op != SearchHeader, needle: []byte(n.needle), fuzzy: n.fuzzy}
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
	leaves  []textLeaf
	docs    *docTable
	masks   []uint64 // by place in docs
	seen    []uint8  // what of the body's texts was looked at
	tallies []tally  // by place, then leaf; nil: nothing is counted
}

// The texts of a message.
const (
	seenHead = 1 << iota
	seenBody
)

func newMatcher(leaves []textLeaf, docs *docTable) *matcher {
	return &matcher{leaves: leaves, docs: docs, masks: make([]uint64, len(docs.docs)), seen: make([]uint8, len(docs.docs))}
}

// needs is what has to be seen of each body.
func (m *matcher) needs() (seen uint8) {
	if inHeaders(m.leaves) != 0 {
		seen |= seenHead
	}
	if inBodies(m.leaves) != 0 {
		seen |= seenBody
	}
	return seen
}

// leaf is the one of a bit.
func (m *matcher) leaf(bit uint64) *textLeaf { return &m.leaves[bits.TrailingZeros64(bit)] }

// look says which of these leaves match one text.
func (m *matcher) look(text []byte, which uint64) (mask uint64) {
	for rest := which; rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros64(rest); m.leaves[i].find(text, 0) >= 0 {
			mask |= 1 << i
		}
	}
	return mask
}

// bodiesAtOnce is how many small bodies are fetched in one round trip.
const bodiesAtOnce = 32

// searchBodies looks into the bodies of candidates that no pack has.
func (q *search) searchBodies(m *matcher, cand UIDSet) error {
	needs := m.needs()
	var unseen []int64
	for i, place := 0, 0; i < len(m.docs.docs); i++ {
		d := m.docs.docs[i]
		if d.blob != m.docs.docs[place].blob {
			place = i
		}
		if m.seen[place]&needs != needs && cand.Contains(d.uid) {
			m.seen[place] = needs
			unseen = append(unseen, d.blob)
		}
	}
	for len(unseen) > 0 {
		n := min(len(unseen), bodiesAtOnce)
		if err := q.searchSome(m, unseen[:n]); err != nil {
			return err
		}
		unseen = unseen[n:]
	}
	return nil
}

// searchSome looks into some bodies: those of one frame at once, larger ones
// frame by frame.
func (q *search) searchSome(m *matcher, blobs []int64) error {
	rows, err := q.tx.Query(q.ctx, `SELECT id, raw_size FROM blob WHERE id = ANY($1)`, blobs)
	if err != nil {
		return err
	}
	var small []int64
	large := map[int64]int64{} // body → size
	var id, size int64
	if _, err = pgx.ForEachRow(rows, []any{&id, &size}, func() error {
		if size <= frameSize {
			small = append(small, id)
		} else {
			large[id] = size
		}
		return nil
	}); err != nil {
		return err
	}
	for id, size := range large {
		if err := q.searchBody(m, id, size, &bodyInTx{q: q, blob: id}); err != nil {
			return err
		}
	}
	return q.searchSmall(m, small)
}

// searchSmall looks into bodies of one frame.
func (q *search) searchSmall(m *matcher, ids []int64) error {
	if len(ids) == 0 {
		return nil
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
	place := m.docs.place(blob, -1)
	if place < 0 {
		return nil
	}
	if m.tallies != nil {
		of := m.tallies[int(place)*len(m.leaves):]
		add := func(leaf int, t tally) { of[leaf].add(t) }
		m.tally(header, inHeaders(m.leaves), true, add)
		m.tally(body, inBodies(m.leaves), false, add)
	} else {
		m.masks[place] |= m.look(header, inHeaders(m.leaves)) | m.look(body, inBodies(m.leaves))
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
