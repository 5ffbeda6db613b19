package mailstore

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
)

// wordPlan is what segments can say about one leaf: the texts that have a word
// for each of its pieces.
type wordPlan struct {
	leaf   int
	pieces []piece
	exact  bool // these texts match, and no other but those with long words may
}

// wordPlans gives the plans of the leaves that look at bodies; whole says that
// for one of them every text has to be looked into.
func wordPlans(leaves []textLeaf) (plans []wordPlan, whole bool) {
	for i := range leaves {
		if !leaves[i].body {
			continue
		}
		p := wordPlan{leaf: i}
		if fuzzy := leaves[i].fuzzy; fuzzy != nil {
			p.pieces, p.exact = []piece{{fuzzy: fuzzy}}, true
		} else if p.pieces, p.exact = pieces(string(leaves[i].needle)); len(p.pieces) == 0 {
			return nil, true
		}
		plans = append(plans, p)
	}
	return plans, false
}

// match gives the words that the piece matches, by their numbers, rising.
func (s *segment) match(p *piece) (words []int32) {
	if p.fuzzy != nil {
		return s.matchFuzzy(p.fuzzy)
	}
	if p.first {
		return s.matchFirst(p)
	}
	pattern := p.pattern()
	word, at := 0, 1 // a word and where it begins
	for at < len(s.vocab) {
		i := bytes.Index(s.vocab[at:], pattern)
		if i < 0 {
			break
		}
		i += at
		if i-at > 64*blockWords {
			b := sort.Search(len(s.blocks), func(b int) bool { return int(s.blocks[b].vocab) > i }) - 1
			word, at = b*blockWords, int(s.blocks[b].vocab)
		}
		word += bytes.Count(s.vocab[at:i], []byte{0})
		words = append(words, int32(word))
		at, word = i+bytes.IndexByte(s.vocab[i:], 0)+1, word+1
	}
	return words
}

// matchFirst is match for a piece that begins the word.
func (s *segment) matchFirst(p *piece) (words []int32) {
	b := sort.Search(len(s.blocks)-1, func(b int) bool { return string(s.wordAt(int(s.blocks[b].vocab))) >= p.text })
	word := max(b-1, 0) * blockWords
	for at := int(s.blocks[max(b-1, 0)].vocab); at < len(s.vocab); word++ {
		w := s.wordAt(at)
		at += len(w) + 1
		if string(w) < p.text {
			continue
		}
		if !strings.HasPrefix(string(w), p.text) || p.last && len(w) > len(p.text) {
			break
		}
		words = append(words, int32(word))
	}
	return words
}

// wordAt is the word that begins at an offset in vocab.
func (s *segment) wordAt(at int) []byte {
	return s.vocab[at : at+bytes.IndexByte(s.vocab[at:], 0)]
}

// segmentHits is what a search found in one segment's vocabulary.
type segmentHits struct {
	seg    *segment  // perhaps without vocab
	places []int32   // see docTable
	words  [][]int32 // of all pieces of all plans, one after the other; a plan without a match for a piece has none
	ranges []postRange
}

// postRange is a range of blocks whose postings are read at once.
type postRange struct {
	first, end int
	post       []byte
}

// find looks the plans up in a segment.
func (s *segment) find(plans []wordPlan) *segmentHits {
	h := &segmentHits{seg: s}
	wanted := newBitset(len(s.blocks))
	for _, plan := range plans {
		from := len(h.words)
		for i := range plan.pieces {
			h.words = append(h.words, s.match(&plan.pieces[i]))
		}
		words := h.words[from:]
		for _, list := range words {
			if len(list) == 0 { // no text has all: the other pieces need not be looked up
				clear(words)
			}
		}
		for _, list := range words {
			for _, w := range list {
				wanted.set(w / blockWords)
			}
		}
	}
	const gap = 4 << 10 // octets that are rather read than left out
	wanted.each(func(b int32) {
		k := len(h.ranges) - 1
		if k >= 0 && s.blocks[b].post-s.blocks[h.ranges[k].end].post <= gap {
			h.ranges[k].end = int(b) + 1
			return
		}
		h.ranges = append(h.ranges, postRange{first: int(b), end: int(b) + 1})
	})
	return h
}

// texts gives the texts that a plan's words are in, those that have all. words
// are the plan's.
func (h *segmentHits) texts(words [][]int32) (bitset, error) {
	var all bitset
	for _, list := range words {
		some := newBitset(len(h.seg.blobs))
		r := postReader{h: h}
		for _, w := range list {
			posting, bitmap, err := r.seek(int(w))
			if err == nil {
				err = some.addPostings(posting, bitmap, len(h.seg.blobs))
			}
			if err != nil {
				return nil, fmt.Errorf("post of segment %d: %w", h.seg.firstNo, err)
			}
		}
		if all == nil {
			all = some
			continue
		}
		for i := range all {
			all[i] &= some[i]
		}
	}
	return all, nil
}

// postReader reads the postings of rising words.
type postReader struct {
	h    *segmentHits
	k    int    // range
	word int    // whose postings rest begins with
	rest []byte // nil: nowhere yet
}

func (r *postReader) seek(word int) (posting []byte, bitmap bool, err error) {
	block := word / blockWords
	if r.rest == nil || r.word/blockWords != block {
		for r.k < len(r.h.ranges) && r.h.ranges[r.k].end <= block {
			r.k++
		}
		if r.k == len(r.h.ranges) || r.h.ranges[r.k].first > block {
			return nil, false, errSegment
		}
		at := &r.h.ranges[r.k]
		skip := int(r.h.seg.blocks[block].post - r.h.seg.blocks[at.first].post)
		if skip > len(at.post) {
			return nil, false, errSegment
		}
		r.rest, r.word = at.post[skip:], block*blockWords
	}
	for ; ; r.word++ {
		if posting, bitmap, r.rest, err = nextPostings(r.rest); err != nil || r.word == word {
			r.word++
			return posting, bitmap, err
		}
	}
}
