package mailstore

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
)

// verify is what segments leave to the packs.
type verify struct {
	packs map[int64]uint8 // which texts of these have to be looked into
	all   uint8           // which of all that are covered
}

// fewTexts are rather looked into than looked up.
const fewTexts = 16

// searchSegments decides what the words of the covered texts can decide, and
// says what of them has to be looked into.
func (q *search) searchSegments(m *matcher) (verify, error) {
	v := verify{packs: map[int64]uint8{}, all: m.needs()}
	if len(q.index.segments) == 0 || len(m.docs.docs) <= fewTexts {
		return v, nil
	}
	plans, whole := wordPlans(m.leaves)
	plans = slices.DeleteFunc(plans, func(p wordPlan) bool { return p.side()&whole != 0 })
	if len(plans) == 0 {
		return v, nil
	}
	v.all = whole
	hits, err := q.findWords(m, plans)
	if err != nil {
		return v, err
	}
	if err := q.readPostings(hits); err != nil {
		return v, err
	}
	found := make([]segmentFound, len(hits))
	err = parallel(len(hits), func(i int) (err error) {
		found[i], err = hits[i].resolve(plans)
		return err
	})
	if err != nil {
		return v, err
	}
	sides := m.needs() &^ whole
	packs := 0
	for i, h := range hits {
		packs += len(h.seg.packs)
		if h.scan {
			h.leave(sides, v.packs)
		} else {
			h.apply(m, plans, &found[i], sides, v.packs)
		}
	}
	for _, side := range []uint8{seenHead, seenBody} {
		n := 0
		for _, of := range v.packs {
			n += int(of & side / side)
		}
		if 2*n > packs {
			v.all |= side
		}
	}
	return v, nil
}

// segmentFound is the outcome of one segment, by plan.
type segmentFound struct {
	texts   []bitset // that match, or may
	certain []bool   // texts match
}

// resolve makes sets of texts of the words' postings.
func (h *segmentHits) resolve(plans []wordPlan) (f segmentFound, err error) {
	if h.scan {
		return f, nil
	}
	words := h.words
	for _, plan := range plans {
		texts, err := h.texts(words[:len(plan.pieces)])
		if err != nil {
			return f, err
		}
		f.texts, f.certain = append(f.texts, texts), append(f.certain, plan.exact)
		words = words[len(plan.pieces):]
	}
	return f, nil
}

// leave adds the packs with texts of the mailbox.
func (h *segmentHits) leave(sides uint8, packs map[int64]uint8) {
	for i, p := range h.seg.packs {
		for o := p.first; o < h.seg.packEnd(i); o++ {
			if h.places[o] >= 0 {
				packs[p.no] |= sides
				break
			}
		}
	}
}

// apply marks the matches, and adds the packs of texts that only may match.
func (h *segmentHits) apply(m *matcher, plans []wordPlan, f *segmentFound, sides uint8, packs map[int64]uint8) {
	for _, place := range h.places {
		if place >= 0 {
			m.seen[place] |= sides
		}
	}
	for _, side := range []uint8{seenHead, seenBody} {
		if side&sides == 0 {
			continue
		}
		doubtful := newBitset(len(h.seg.blobs))
		for _, o := range h.seg.long {
			doubtful.set(o)
		}
		for i := range plans {
			if plan := &plans[i]; plan.side() != side {
				continue
			} else if f.certain[i] {
				h.mark(m, plan.leaf, f.texts[i])
			} else {
				for k := range doubtful {
					doubtful[k] |= f.texts[i][k]
				}
			}
		}
		h.doubt(m, doubtful, side, packs)
	}
}

// mark marks texts that match a leaf.
func (h *segmentHits) mark(m *matcher, leaf int, texts bitset) {
	texts.each(func(o int32) {
		if place := h.places[o]; place >= 0 {
			m.masks[place] |= 1 << leaf
		}
	})
}

// doubt takes back that texts were seen, until their packs were.
func (h *segmentHits) doubt(m *matcher, texts bitset, side uint8, packs map[int64]uint8) {
	k := 0
	texts.each(func(o int32) {
		place := h.places[o]
		if place < 0 {
			return
		}
		for h.seg.packEnd(k) <= o {
			k++
		}
		m.seen[place] &^= side
		packs[h.seg.packs[k].no] |= side
	})
}

// findWords looks the plans up in all segments: those in memory, and the others
// as they are read. Where a segment has few texts of the mailbox that would
// cost more than to look into these.
func (q *search) findWords(m *matcher, plans []wordPlan) ([]*segmentHits, error) {
	hits := make([]*segmentHits, len(q.index.segments))
	small := int64(4*len(m.docs.docs)) < q.index.covered
	bare, err := q.bareSegments(small)
	if err != nil {
		return nil, err
	}
	segments := make([]*segment, len(hits))
	var missing []int64
	at := map[int64]int{}
	for i, ref := range q.index.segments {
		segments[i] = q.s.searches.segment(ref.id)
		if s := bare[ref.id]; s != nil {
			if places := m.docs.placesOf(s); s.few(places, segments[i] != nil) {
				hits[i] = &segmentHits{seg: s, places: places, scan: true}
				continue
			}
		}
		if segments[i] == nil {
			missing = append(missing, ref.firstNo)
			at[ref.firstNo] = i
		}
	}
	look := func(i int, s *segment) {
		hits[i] = s.find(plans)
		hits[i].places = m.docs.placesOf(s)
	}
	if err := parallel(len(hits), func(i int) error {
		if hits[i] == nil && segments[i] != nil {
			look(i, segments[i])
		}
		return nil
	}); err != nil || len(missing) == 0 {
		return hits, err
	}
	rows, err := q.tx.Query(q.ctx, `SELECT first_no, ids, vocab, skips FROM text_segment WHERE account_id = $1 AND first_no = ANY($2)`, q.acct, missing)
	if err != nil {
		return nil, err
	}
	ahead := newCrew()
	var no int64
	var r segmentRow
	_, err = pgx.ForEachRow(rows, []any{&no, &r.ids, &r.vocab, &r.skips}, func() error {
		i, row := at[no], r
		r = segmentRow{}
		return ahead.run(func() error {
			ref := q.index.segments[i]
			s := &segment{id: ref.id, firstNo: ref.firstNo, span: ref.span}
			if err := decodeSegment(s, &row); err != nil {
				return err
			}
			look(i, s)
			if !q.s.searches.putSegment(s) {
				bare := *s // what is looked up later needs no vocabulary
				bare.vocab = nil
				hits[i].seg = &bare
			}
			return nil
		})
	})
	if err = errors.Join(err, ahead.wait()); err != nil {
		return nil, err
	}
	for _, h := range hits {
		if h == nil {
			return nil, errSegment // gone within a snapshot
		}
	}
	return hits, nil
}

// few reports whether it is cheaper to look into the packs that hold texts of the
// mailbox than to look words up, in a vocabulary that is in memory or not.
func (s *segment) few(places []int32, inMemory bool) bool {
	packs := 0
	for i, p := range s.packs {
		for o := p.first; o < s.packEnd(i); o++ {
			if places[o] >= 0 {
				packs++
				break
			}
		}
	}
	if inMemory {
		return packs*128 <= len(s.packs)
	}
	return packs*16 <= len(s.packs)
}

// bareSegments gives the segments without their words, by id, for a mailbox that is small beside
// its account: those in memory, and the others as they are read.
func (q *search) bareSegments(small bool) (map[int64]*segment, error) {
	if !small {
		return nil, nil
	}
	bare := make(map[int64]*segment, len(q.index.segments))
	refs := map[int64]segmentRef{}
	var missing []int64
	for _, ref := range q.index.segments {
		if s := q.s.searches.bareSegment(ref.id); s != nil {
			bare[ref.id] = s
		} else {
			refs[ref.firstNo], missing = ref, append(missing, ref.firstNo)
		}
	}
	if len(missing) == 0 {
		return bare, nil
	}
	rows, err := q.tx.Query(q.ctx, `SELECT first_no, ids FROM text_segment WHERE account_id = $1 AND first_no = ANY($2)`, q.acct, missing)
	if err != nil {
		return nil, err
	}
	var no int64
	var ids []byte
	_, err = pgx.ForEachRow(rows, []any{&no, &ids}, func() error {
		ref := refs[no]
		s := &segment{id: ref.id, firstNo: ref.firstNo, span: ref.span}
		if err := s.decodeIDs(ids); err != nil {
			return err
		}
		bare[ref.id] = s
		q.s.searches.putBareSegment(s)
		return nil
	})
	return bare, err
}

// readPostings reads the blocks that the words found are in, in one round trip.
func (q *search) readPostings(hits []*segmentHits) error {
	var nos []int64
	var offsets, lengths []int32
	var into []*postRange
	for _, h := range hits {
		for k := range h.ranges {
			r := &h.ranges[k]
			from, to := h.seg.blocks[r.first].post, h.seg.blocks[r.end].post
			nos, offsets, lengths = append(nos, h.seg.firstNo), append(offsets, int32(from)+1), append(lengths, int32(to-from))
			into = append(into, r)
		}
	}
	if len(into) == 0 {
		return nil
	}
	rows, err := q.tx.Query(q.ctx, `SELECT w.i, substring(s.post FROM w.at FOR w.n) FROM unnest($2::bigint[], $3::int[], $4::int[]) WITH ORDINALITY AS w(no, at, n, i)
		JOIN text_segment s ON s.account_id = $1 AND s.first_no = w.no`, q.acct, nos, offsets, lengths)
	if err != nil {
		return err
	}
	var i int64
	var post []byte
	_, err = pgx.ForEachRow(rows, []any{&i, &post}, func() error {
		into[i-1].post, post = post, nil
		return nil
	})
	return err
}

// crew runs functions on as many goroutines as there are processors, of all
// crews of this process together; whoever wants more waits.
type crew struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	err error
}

func newCrew() *crew { return &crew{} }

// run starts f, or gives the first error so far.
func (c *crew) run(f func() error) error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return err
	}
	decompressions <- struct{}{}
	c.wg.Go(func() {
		defer func() { <-decompressions }()
		if err := contained(f); err != nil {
			c.mu.Lock()
			c.err = errors.Join(c.err, err)
			c.mu.Unlock()
		}
	})
	return nil
}

// contained runs f on a goroutine of no session, where a panic would end the
// process: it is an error here.
func contained(f func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	return f()
}

func (c *crew) wait() error {
	c.wg.Wait()
	return c.err
}

// parallel runs f for 0 to n-1 on all processors.
func parallel(n int, f func(int) error) error {
	if n == 1 || runtime.GOMAXPROCS(0) == 1 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	c := newCrew()
	for i := range n {
		if err := c.run(func() error { return f(i) }); err != nil {
			break
		}
	}
	return c.wait()
}
