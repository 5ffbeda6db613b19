package mailstore

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/jackc/pgx/v5"
)

// verify is what segments leave to the packs: nil means nothing.
type verify struct {
	packs map[int64]bool // of these, the bodies have to be looked into
	all   bool           // of all that are covered
}

// fewTexts are rather looked into than looked up.
const fewTexts = 16

// searchSegments decides what the words of the covered texts can decide, and
// says what of them has to be looked into.
func (q *search) searchSegments(m *matcher) (verify, error) {
	if len(q.index.segments) == 0 || len(m.docs.docs) <= fewTexts {
		return verify{all: true}, nil
	}
	plans, whole := wordPlans(m.leaves)
	if whole || len(plans) == 0 {
		return verify{all: true}, nil
	}
	hits, err := q.findWords(m, plans)
	if err != nil {
		return verify{}, err
	}
	if err := q.readPostings(hits); err != nil {
		return verify{}, err
	}
	found := make([]segmentFound, len(hits))
	err = parallel(len(hits), func(i int) (err error) {
		found[i], err = hits[i].resolve(plans)
		return err
	})
	if err != nil {
		return verify{}, err
	}
	v := verify{packs: map[int64]bool{}}
	packs := 0
	for i, h := range hits {
		packs += len(h.seg.packs)
		h.apply(m, plans, &found[i], v.packs)
	}
	v.all = 2*len(v.packs) > packs
	return v, nil
}

// segmentFound is the outcome of one segment, by plan.
type segmentFound struct {
	texts   []bitset // that match, or may
	certain []bool   // texts match
}

// resolve makes sets of texts of the words' postings.
func (h *segmentHits) resolve(plans []wordPlan) (f segmentFound, err error) {
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

// apply marks the matches, and adds the packs of texts that only may match.
func (h *segmentHits) apply(m *matcher, plans []wordPlan, f *segmentFound, packs map[int64]bool) {
	for _, place := range h.places {
		if place >= 0 {
			m.seen[place] |= seenBody
		}
	}
	doubtful := newBitset(len(h.seg.blobs))
	for _, o := range h.seg.long {
		doubtful.set(o)
	}
	for i, plan := range plans {
		if !f.certain[i] {
			for k := range doubtful {
				doubtful[k] |= f.texts[i][k]
			}
			continue
		}
		f.texts[i].each(func(o int32) {
			if place := h.places[o]; place >= 0 {
				m.masks[place] |= 1 << plan.leaf
			}
		})
	}
	k := 0
	doubtful.each(func(o int32) {
		place := h.places[o]
		if place < 0 {
			return
		}
		for h.seg.packEnd(k) <= o {
			k++
		}
		m.seen[place] &^= seenBody // until its pack was
		packs[h.seg.packs[k].no] = true
	})
}

// findWords looks the plans up in all segments: those in memory, and the others
// as they are read.
func (q *search) findWords(m *matcher, plans []wordPlan) ([]*segmentHits, error) {
	hits := make([]*segmentHits, len(q.index.segments))
	segments := make([]*segment, len(hits))
	var missing []int64
	at := map[int64]int{}
	for i, ref := range q.index.segments {
		if segments[i] = q.s.searches.segment(ref.id); segments[i] == nil {
			missing = append(missing, ref.firstNo)
			at[ref.firstNo] = i
		}
	}
	look := func(i int, s *segment) {
		hits[i] = s.find(plans)
		hits[i].places = m.docs.placesOf(s)
	}
	if err := parallel(len(hits), func(i int) error {
		if segments[i] != nil {
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
