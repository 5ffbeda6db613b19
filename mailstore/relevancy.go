package mailstore

import (
	"context"
	"math"
	"math/bits"

	"github.com/jackc/pgx/v5"
)

// Relevancy says how well messages meet the fuzzy parts of criteria (RFC 6203
// §4): from 1 to 100, in the order of the UIDs. found are messages of the view that Search
// gave for the same criteria. What counts is how like their words are to those asked for,
// then how often they stand there; a word of the header counts as much as four
// of the body. Criteria without words to compare give 100. The texts of all that was
// found are read: that takes as long as a search that no segment helps.
func (s *Store) Relevancy(ctx context.Context, acct AccountID, mbox MailboxID, v *View, c *Criteria, found UIDSet) (scores []uint8, err error) {
	q := &search{s: s, ctx: ctx, acct: acct, mbox: mbox, view: v}
	n := q.plan(c)
	leaves := fuzzyLeaves(n, nil)
	if len(leaves) == 0 || len(found) == 0 {
		scores = make([]uint8, found.Len())
		for i := range scores {
			scores[i] = 100
		}
		return scores, nil
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		q.tx = tx
		scores, err = q.score(leaves, found)
		return err
	})
	return scores, dbError("score what was found", err)
}

// fuzzyLeaves are the words that a message is better for: not those under a NOT.
func fuzzyLeaves(n node, leaves []textLeaf) []textLeaf {
	switch {
	case n.op == SearchNot:
	case n.fuzzy != nil && len(leaves) < maxFuzzyWords:
		leaves = append(leaves, newTextLeaf(n))
	default:
		for _, sub := range n.sub {
			leaves = fuzzyLeaves(sub, leaves)
		}
	}
	return leaves
}

// tally is what one body has of one word: the best likeness, and how often.
type tally struct {
	best  uint8
	times uint16
}

const timesInHeader = 4 // what a word of the header counts for

func (t *tally) add(o tally) {
	t.best = max(t.best, o.best)
	t.times = uint16(min(int(t.times)+int(o.times), math.MaxUint16))
}

// score reads the texts of the messages.
func (q *search) score(leaves []textLeaf, found UIDSet) ([]uint8, error) {
	docs, err := q.openTexts(found)
	if err != nil {
		return nil, err
	}
	m := newMatcher(leaves, docs)
	m.tallies = make([]tally, len(docs.docs)*len(leaves))
	if err := q.searchPacks(m, verify{all: m.needs()}); err != nil {
		return nil, err
	}
	if err := q.searchBodies(m, found); err != nil {
		return nil, err
	}
	byUID := make(map[UID]uint8, found.Len())
	for i, place := 0, 0; i < len(docs.docs); i++ {
		d := docs.docs[i]
		if d.blob != docs.docs[place].blob {
			place = i
		}
		byUID[d.uid] = scoreOf(m.tallies[place*len(leaves) : (place+1)*len(leaves)])
	}
	scores := make([]uint8, 0, found.Len())
	for uid := range found.Each {
		scores = append(scores, max(byUID[uid], 1))
	}
	return scores, q.ctx.Err()
}

// scoreOf makes one score of what a message has of each word: three quarters of
// the likeness for the first time, all of it for sixteen.
func scoreOf(tallies []tally) uint8 {
	sum, words := 0.0, 0
	for _, t := range tallies {
		if t.times > 0 {
			sum += float64(t.best) * min(0.75+math.Log2(float64(t.times))/16, 1)
			words++
		}
	}
	if words == 0 {
		return 1
	}
	// Words that are not there are those of another branch of an OR: each takes a tenth.
	return uint8(max(1, math.Round(sum/float64(words)*math.Pow(0.9, float64(len(tallies)-words)))))
}

// tally counts the words of one text that are like the leaves', of a body at a place.
func (m *matcher) tally(text []byte, which uint64, head bool, add func(leaf int, t tally)) {
	for rest := which; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		var t tally
		m.leaves[i].eachLike(text, newEditWalk(m.leaves[i].fuzzy), func(like int) bool {
			one := tally{uint8(like), 1}
			if head {
				one.times = timesInHeader
			}
			t.add(one)
			return true
		})
		if t.times > 0 {
			add(i, t)
		}
	}
}
