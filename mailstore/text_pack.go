package mailstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/klauspost/compress/zstd"

	"posthouse/internal/message"
)

// A pack holds the folded texts of up to packTexts bodies of one account, each
// ended by 0x00, which folded text has not, as one zstd frame; their headers'
// texts stand in a frame of their own, so that SEARCH BODY does not read them.
//
// S2 in place of zstd decodes a pack three times as fast in a loop over one
// pack, but hardly faster over the 1,000 packs of a mailbox, for half as much
// space again: it was measured, and left.
const (
	packTexts  = 16
	packOctets = 128 << 10 // of body texts; a larger text is alone
)

// maxPack bounds what a frame of a pack decompresses to: texts up to packOctets
// and one more, or the headers of packTexts messages.
const maxPack = packTexts*(message.MaxHeaderText+1) + message.MaxText

var (
	packEncoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)))
	packDecoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(maxPack)))
)

// packText is one text on its way into a pack.
type packText struct {
	blob         int64
	header, body []byte
}

// pack is one row of text_pack.
type pack struct {
	firstNo  int64
	blobs    []int64
	z, heads []byte
}

// encodePack compresses texts.
func encodePack(firstNo int64, texts []packText) pack {
	p := pack{firstNo: firstNo}
	var bodies, heads []byte
	for i := range texts {
		t := &texts[i]
		p.blobs = append(p.blobs, t.blob)
		bodies = append(append(bodies, t.body...), 0)
		heads = append(append(heads, t.header...), 0)
	}
	p.z, p.heads = packEncoder.EncodeAll(bodies, nil), packEncoder.EncodeAll(heads, nil)
	return p
}

// decodePack is the reverse.
func decodePack(p *pack) ([]packText, error) {
	bodies, err := packDecoder.DecodeAll(p.z, nil)
	if err != nil {
		return nil, fmt.Errorf("decode pack %d: %w", p.firstNo, err)
	}
	heads, err := packDecoder.DecodeAll(p.heads, nil)
	if err != nil {
		return nil, fmt.Errorf("decode pack %d: %w", p.firstNo, err)
	}
	b, h := bytes.SplitAfter(bodies, []byte{0}), bytes.SplitAfter(heads, []byte{0})
	if len(b) != len(p.blobs)+1 || len(h) != len(p.blobs)+1 {
		return nil, fmt.Errorf("pack %d has %d and %d texts for %d bodies", p.firstNo, len(b)-1, len(h)-1, len(p.blobs))
	}
	texts := make([]packText, len(p.blobs))
	for i, blob := range p.blobs {
		texts[i] = packText{blob, bytes.TrimSuffix(h[i], []byte{0}), bytes.TrimSuffix(b[i], []byte{0})}
	}
	return texts, nil
}

// find gives where in the texts from on the leaf matches next, or -1.
func (l *textLeaf) find(texts []byte, from int) int {
	if l.fuzzy != nil {
		return l.findFuzzy(texts, from)
	}
	needle := l.needle
	if len(needle) == 0 {
		needle = l.mark
	}
	for {
		i := bytes.Index(texts[from:], needle)
		if i < 0 {
			return -1
		}
		i += from
		if l.mark == nil || len(l.needle) == 0 {
			return i
		}
		field := bytes.LastIndexByte(texts[:i], l.mark[0])
		if field >= 0 && bytes.HasPrefix(texts[field:], l.mark) {
			if from = field + len(l.mark); i >= from {
				return i
			}
			continue // found in the field's name
		}
		next := bytes.IndexByte(texts[i:], l.mark[0]) // not in this field
		if next < 0 {
			return -1
		}
		from = i + next
	}
}

// hit is what a pack says about a body.
type hit struct {
	place int32 // in matcher.masks
	tally tally // where tallies are kept: of the leaf of the mask
	mask  uint64
}

// searchTexts looks for the leaves of the mask in the texts of a pack.
func (m *matcher) searchTexts(texts []byte, blobs []int64, mask uint64, hits []hit) []hit {
	var ends [2 * packTexts]int
	n := 0
	for at := 0; at < len(texts) && n < len(ends) && n < len(blobs); n++ {
		end := bytes.IndexByte(texts[at:], 0)
		if end < 0 {
			break
		}
		at += end + 1
		ends[n] = at
	}
	for i := range m.leaves {
		if mask&(1<<i) == 0 {
			continue
		}
		for k, from := 0, 0; k < n; {
			at := m.leaves[i].find(texts, from)
			if at < 0 {
				break
			}
			for k < n && ends[k] <= at {
				k++
			}
			if k == n {
				break
			}
			if place := m.docs.place(blobs[k], -1); place >= 0 {
				hits = append(hits, hit{place: place, mask: 1 << i})
			}
			from = ends[k]
			k++
		}
	}
	return hits
}

// hitsOf is searchTexts, or where tallies are kept counts.
func (m *matcher) hitsOf(texts []byte, blobs []int64, mask uint64, head bool, hits []hit) []hit {
	if m.tallies == nil {
		return m.searchTexts(texts, blobs, mask, hits)
	}
	for _, blob := range blobs {
		end := bytes.IndexByte(texts, 0)
		if end < 0 {
			break
		}
		if place := m.docs.place(blob, -1); place >= 0 {
			m.tally(texts[:end], mask, head, func(leaf int, t tally) {
				hits = append(hits, hit{place, t, 1 << leaf})
			})
		}
		texts = texts[end+1:]
	}
	return hits
}

// decompressions bounds how many packs are decompressed at a time in this
// process, whatever the number of searches.
var decompressions = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))

// searchPacks looks into the packs that hold wanted bodies: into all that no
// segment covers, and of the others into what the segments left.
func (q *search) searchPacks(m *matcher, left verify) error {
	head, body := inHeaders(m.leaves), inBodies(m.leaves)
	if err := q.searchRange(m, head, body, q.index.covered, q.index.next); err != nil {
		return err
	}
	of := func(sides uint8) (h, b uint64) {
		if sides&seenHead != 0 {
			h = head
		}
		if sides&seenBody != 0 {
			b = body
		}
		return h, b
	}
	if h, b := of(left.all); h|b != 0 { // of all packs that segments cover
		if err := q.searchRange(m, h, b, 0, q.index.covered); err != nil {
			return err
		}
	}
	for _, sides := range []uint8{seenHead, seenBody, seenHead | seenBody} {
		var nos []int64
		for no, doubtful := range left.packs {
			if doubtful&^left.all == sides {
				nos = append(nos, no)
			}
		}
		if h, b := of(sides); len(nos) > 0 {
			if err := q.scanPacks(m, h, b, `first_no = ANY($2)`, nos); err != nil {
				return err
			}
		}
	}
	return nil
}

// searchRange looks into packs from a number, below another. Where the mailbox
// has few of these texts, the packs that hold them are found first.
func (q *search) searchRange(m *matcher, head, body uint64, from, below int64) error {
	const which = `first_no >= $2 AND first_no < $3`
	switch {
	case from >= below || len(m.docs.docs) == 0:
		return nil
	case below-from <= int64(2*len(m.docs.docs)+4*packTexts):
		return q.scanPacks(m, head, body, which, from, below)
	}
	rows, err := q.tx.Query(q.ctx, `SELECT first_no, blob_ids FROM text_pack WHERE account_id = $1 AND `+which, q.acct, from, below)
	if err != nil {
		return err
	}
	var wanted []int64
	var no int64
	var blobs []int64
	if _, err = pgx.ForEachRow(rows, []any{&no, &blobs}, func() error {
		if slices.ContainsFunc(blobs, func(b int64) bool { return m.docs.place(b, -1) >= 0 }) {
			wanted = append(wanted, no)
		}
		return nil
	}); err != nil || len(wanted) == 0 {
		return err
	}
	return q.scanPacks(m, head, body, `first_no = ANY($2)`, wanted)
}

// scanPacks looks for leaves in the headers and bodies of the account's packs
// that the condition names. Two goroutines decompress and look while the next packs come.
func (q *search) scanPacks(m *matcher, head, body uint64, which string, args ...any) error {
	columns, seen := `, NULL::bytea`, uint8(0)
	if body != 0 {
		columns, seen = `, z`, seenBody
	}
	if head != 0 {
		columns, seen = columns+`, heads`, seen|seenHead
	} else {
		columns += `, NULL::bytea`
	}
	rows, err := q.tx.Query(q.ctx, `SELECT first_no, blob_ids`+columns+` FROM text_pack WHERE account_id = $1 AND `+which, append([]any{q.acct}, args...)...)
	if err != nil {
		return err
	}
	work, free := make(chan *pack, packsAhead), make(chan *pack, packsAhead)
	for range packsAhead {
		free <- &pack{}
	}
	results := make(chan searched, 2)
	for range cap(results) {
		go func() { results <- m.lookAll(work, free, head, body) }()
	}
	var no int64
	var blobs []int64
	var z, heads pgtype.DriverBytes
	_, err = pgx.ForEachRow(rows, []any{&no, &blobs, &z, &heads}, func() error {
		if !m.mark(blobs, seen) {
			return nil
		}
		p := <-free
		p.firstNo, p.blobs, p.z, p.heads = no, blobs, append(p.z[:0], z...), append(p.heads[:0], heads...)
		blobs = nil
		work <- p
		return nil
	})
	close(work)
	for range cap(results) {
		r := <-results
		for _, h := range r.hits {
			m.masks[h.place] |= h.mask
			if m.tallies != nil {
				m.tallies[int(h.place)*len(m.leaves)+bits.TrailingZeros64(h.mask)].add(h.tally)
			}
		}
		err = errors.Join(err, r.err)
	}
	return err
}

// mark marks what of a pack's bodies is seen; any says that one is wanted.
func (m *matcher) mark(blobs []int64, seen uint8) (any bool) {
	near := int32(-1)
	for _, b := range blobs {
		if place := m.docs.place(b, near); place >= 0 {
			m.seen[place] |= seen
			any, near = true, place
		}
	}
	return any
}

// searched is what one goroutine found.
type searched struct {
	hits []hit
	err  error
}

// packsAhead bounds the packs in memory beside those being searched.
const packsAhead = 6

// lookAll searches packs until there are no more, and gives them back; after an
// error it only does that.
func (m *matcher) lookAll(work <-chan *pack, free chan<- *pack, head, body uint64) (r searched) {
	var buf []byte
	for p := range work {
		if r.err != nil {
			free <- p
			continue
		}
		buf, r.err = m.lookInto(p, head, body, &r, buf)
		if r.err != nil {
			r.err = fmt.Errorf("decode pack %d: %w", p.firstNo, r.err)
		}
		free <- p
	}
	return r
}

// lookInto searches one pack. It runs in goroutines of no session, where a panic
// would end the process: here it is the search's error.
func (m *matcher) lookInto(p *pack, head, body uint64, r *searched, buf []byte) (_ []byte, err error) {
	decompressions <- struct{}{}
	defer func() {
		<-decompressions
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	if len(p.z) > 0 {
		if buf, err = packDecoder.DecodeAll(p.z, buf[:0]); err != nil {
			return buf, err
		}
		r.hits = m.hitsOf(buf, p.blobs, body, false, r.hits)
	}
	if len(p.heads) > 0 {
		if buf, err = packDecoder.DecodeAll(p.heads, buf[:0]); err != nil {
			return buf, err
		}
		r.hits = m.hitsOf(buf, p.blobs, head, true, r.hits)
	}
	return buf, nil
}

// readFrame reads one frame of a body inside a transaction.
func readFrame(ctx context.Context, tx pgx.Tx, blob, n int64, into []byte) ([]byte, error) {
	var z []byte
	err := tx.QueryRow(ctx, `SELECT data FROM blob_chunk WHERE blob_id = $1 AND seq = $2`, blob, n).Scan(&z)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	out, err := decoder.DecodeAll(z, into[:0])
	if err != nil {
		return nil, fmt.Errorf("decode frame %d of body %d: %w", n, blob, err)
	}
	return out, nil
}
