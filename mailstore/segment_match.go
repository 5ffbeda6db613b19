package mailstore

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// The words of a vocabulary come in sections, by what they begin with: the words
// of bodies with nothing, the others with an octet that no word begins with. (These
// are octets, not texts: sections follow one another in this order.)
const (
	sectionContext     = 1 // contexts of bodies: text_context.go
	sectionHeadWord    = 2
	sectionHeadContext = 3
	sectionChar        = 4 // characters of the words of bodies
	sectionHeadChar    = 5
	sectionWord        = 6 // what begins with anything else
)

// wordPlan is what segments can say about one leaf in the headers or in the
// bodies: the texts that have a word for each of its pieces.
type wordPlan struct {
	leaf   int
	head   bool
	pieces []piece
	exact  bool // these texts match, and no other but those with long words may
}

// side is the bit of the texts that the plan is about.
func (p *wordPlan) side() uint8 {
	if p.head {
		return seenHead
	}
	return seenBody
}

// wordPlans gives the plans of the leaves; whole has the sides of which every
// text has to be looked into for one of them.
func wordPlans(leaves []textLeaf) (plans []wordPlan, whole uint8) {
	for i := range leaves {
		l := &leaves[i]
		p := wordPlan{leaf: i}
		if l.fuzzy != nil {
			p.pieces, p.exact = []piece{{fuzzy: l.fuzzy}}, true
		} else {
			p.pieces, p.exact = piecesOf(string(l.needle))
		}
		if l.body {
			if len(p.pieces) == 0 {
				whole |= seenBody
			} else {
				plans = append(plans, p)
			}
		}
		if l.header {
			if p.head = true; l.mark != nil { // its name stands there, too
				p.exact = false
				name, _ := pieces(string(l.mark))
				p.pieces = append(p.pieces[:len(p.pieces):len(p.pieces)], name...)
			}
			if len(p.pieces) == 0 {
				whole |= seenHead
			} else {
				plans = append(plans, p)
			}
		}
	}
	return plans, whole
}

// piecesOf gives the words and contexts of a folded needle.
func piecesOf(needle string) (list []piece, exact bool) {
	if list, exact = pieces(needle); exact {
		return list, true
	}
	around, exact := contexts(needle)
	if exact {
		return around, true // the words say nothing more
	}
	return append(around, list...), false
}

// section is the prefix of the words that a piece is looked up in.
func (p *piece) section(head bool) byte {
	switch {
	case p.context && head:
		return sectionHeadContext
	case p.context:
		return sectionContext
	case p.isChar() && head:
		return sectionHeadChar
	case p.isChar():
		return sectionChar
	case head:
		return sectionHeadWord
	}
	return sectionWord
}

// isChar reports whether it is one character, anywhere in a word.
func (p *piece) isChar() bool {
	return p.fuzzy == nil && !p.context && !p.first && !p.last && utf8.RuneCountInString(p.text) == 1
}

// lower is the first word that does not come before a text: where it begins, and
// its number.
func (s *segment) lower(text string) (at, word int) {
	b := max(sort.Search(len(s.blocks)-1, func(b int) bool { return string(s.wordAt(int(s.blocks[b].vocab))) >= text })-1, 0)
	word = b * blockWords
	for at = int(s.blocks[b].vocab); at < len(s.vocab); word++ {
		w := s.wordAt(at)
		if string(w) >= text {
			break
		}
		at += len(w) + 1
	}
	return at, word
}

// match gives the words that the piece matches, by their numbers, rising.
func (s *segment) match(p *piece, head bool) []int32 {
	section := p.section(head)
	prefix := ""
	if section != sectionWord {
		prefix = string(section)
	}
	switch {
	case p.fuzzy != nil:
	case p.isChar():
		return s.matchFirst(prefix+p.text, true)
	case p.first:
		return s.matchFirst(prefix+p.text, p.last)
	}
	at, word := s.lower(string(section))
	end := len(s.vocab)
	if section != sectionWord {
		end, _ = s.lower(string(section + 1))
	}
	if p.fuzzy != nil {
		return s.matchFuzzy(p.fuzzy, at, end, word, len(prefix))
	}
	pattern := []byte(p.text)
	if p.last {
		pattern = append(pattern, 0)
	}
	return s.matchIn(pattern, at, end, word)
}

// matchIn gives the words between two places that contain a pattern, or end with
// it where it ends with 0x00; word is the first's number.
func (s *segment) matchIn(pattern []byte, at, end, word int) (words []int32) {
	for at < end {
		i := bytes.Index(s.vocab[at:end], pattern)
		if i < 0 {
			break
		}
		i += at
		if i-at > 64*blockWords {
			b := sort.Search(len(s.blocks), func(b int) bool { return int(s.blocks[b].vocab) > i }) - 1
			if begins := int(s.blocks[b].vocab); begins > at {
				word, at = b*blockWords, begins
			}
		}
		word += bytes.Count(s.vocab[at:i], []byte{0})
		words = append(words, int32(word))
		at, word = i+bytes.IndexByte(s.vocab[i:], 0)+1, word+1
	}
	return words
}

// matchFirst gives the words that begin with a text, or are it.
func (s *segment) matchFirst(text string, is bool) (words []int32) {
	for at, word := s.lower(text); at < len(s.vocab); word++ {
		w := s.wordAt(at)
		at += len(w) + 1
		if !strings.HasPrefix(string(w), text) || is && len(w) > len(text) {
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
	scan   bool // nothing was looked up: the packs of the mailbox's few texts are
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
		none := false
		for i := range plan.pieces {
			var words []int32
			if !none {
				words = s.match(&plan.pieces[i], plan.head)
				none = len(words) == 0
			}
			h.words = append(h.words, words)
		}
		words := h.words[from:]
		if none { // no text has all
			clear(words)
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
