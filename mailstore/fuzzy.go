package mailstore

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"posthouse/internal/message"
)

// This file is SEARCH=FUZZY (RFC 6203). A fuzzy text is a number of words, in any
// order: a message matches where each of them is like a word of the text asked for. Two words are
// alike when one contains the other as it stands, or when few edits lie between
// them: a letter more, less, another, or two changed over. So a fuzzy search finds
// at least what holds the words exactly. What the words of a text are is said in
// text_words.go; segments are asked for the like words of their vocabularies.

// maxFuzzyWords is how many words of a fuzzy text are looked for; the rest does
// not count.
const maxFuzzyWords = 16

// fuzzyWord is one word of a fuzzy text.
type fuzzyWord struct {
	text  []byte // folded
	runes []rune
	edits int // at most that many
}

// editsFor is how many edits a word of so many characters may be away: in a very
// short one each would make another word.
func editsFor(runes int) int {
	switch {
	case runes < 4:
		return 0
	case runes < 9:
		return 1
	}
	return 2
}

// How like a word is to one that was asked for, in percent.
const (
	likeSame     = 100
	likeBegins   = 85
	likeContains = 75
	likeOneEdit  = 60
	likeTwoEdits = 40
)

func newFuzzyWord(text string) *fuzzyWord {
	f := &fuzzyWord{text: []byte(text), runes: []rune(text)}
	f.edits = editsFor(len(f.runes))
	return f
}

// like says how like a word of a text is: 0 is not at all.
func (f *fuzzyWord) like(word []byte, walk *editWalk) int {
	switch i := bytes.Index(word, f.text); {
	case i == 0 && len(word) == len(f.text):
		return likeSame
	case i == 0:
		return likeBegins
	case i > 0:
		return likeContains
	case f.edits == 0:
		return 0
	}
	switch walk.to(word) {
	case 1:
		return likeOneEdit
	case 2:
		if f.edits == 2 {
			return likeTwoEdits
		}
	}
	return 0
}

// fuzzy makes the words of a fuzzy text, which is folded; none where it has to be
// looked for as it stands: without any word, or with one beyond maxWord.
func fuzzyWords(text string) (words []*fuzzyWord) {
	long := eachWord([]byte(text), func(w []byte) {
		for _, have := range words {
			if bytes.Equal(have.text, w) {
				return
			}
		}
		if len(words) < maxFuzzyWords {
			words = append(words, newFuzzyWord(string(w)))
		}
	})
	if long {
		return nil
	}
	return words
}

// planFuzzy is the plan of a key that looks for text, in a fuzzy search; ok says
// that it has words. All headers are looked for in their texts: columns cannot tell.
func planFuzzy(c *Criteria) (n node, ok bool) {
	needle := message.Fold(c.Text)
	words := fuzzyWords(needle)
	if len(words) == 0 || c.Op == SearchHeader && !message.IsFieldName(c.Field) {
		return n, false
	}
	n = node{op: SearchAnd, uses: usesTexts}
	for _, w := range words {
		n.sub = append(n.sub, node{op: c.Op, uses: usesTexts, field: strings.ToLower(c.Field), needle: string(w.text), fuzzy: w})
	}
	if len(n.sub) == 1 {
		return n.sub[0], true
	}
	return n, true
}

// editWalk measures words against one word. Words that come sorted share what is
// known of the beginning that they have in common.
type editWalk struct {
	want []rune
	max  int
	last []rune    // of the word measured last, as far as rows are there
	rows [][]uint8 // rows[d][j]: edits between the first d of last and the first j of want
	dead int       // whatever begins with so many of last is too far; 0: nothing
}

func newEditWalk(f *fuzzyWord) *editWalk {
	w := &editWalk{want: f.runes, max: f.edits, rows: make([][]uint8, 1, len(f.runes)+f.edits+3)}
	w.rows[0] = make([]uint8, len(f.runes)+1)
	for j := range w.rows[0] {
		w.rows[0][j] = uint8(j)
	}
	return w
}

// to is the number of edits to a word, or one more than max. An edit that changes
// two letters over does not touch them again (optimal string alignment).
func (w *editWalk) to(word []byte) int {
	d := 0
	for i := 0; i < len(word); d++ {
		r, n := rune(word[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(word[i:])
		}
		if i += n; d < len(w.last) && w.last[d] == r {
			if d+1 == w.dead {
				return w.max + 1
			}
			continue
		}
		if w.dead > d {
			w.dead = 0
		}
		w.last = append(w.last[:d], r)
		if w.row(d + 1) {
			w.dead = d + 1
			return w.max + 1
		}
	}
	return min(int(w.rows[d][len(w.want)]), w.max+1)
}

// row computes the row of depth d; dead says that no longer word is near enough.
func (w *editWalk) row(d int) (dead bool) {
	if d == len(w.rows) {
		w.rows = append(w.rows, make([]uint8, len(w.want)+1))
	}
	row, above, r := w.rows[d], w.rows[d-1], w.last[d-1]
	row[0] = uint8(min(d, 255))
	least, leastAbove := row[0], above[0]
	for j := 1; j <= len(w.want); j++ {
		cost := above[j-1]
		if w.want[j-1] != r {
			cost++
		}
		cost = min(cost, above[j]+1, row[j-1]+1)
		if d > 1 && j > 1 && w.want[j-2] == r && w.want[j-1] == w.last[d-2] {
			cost = min(cost, w.rows[d-2][j-2]+1)
		}
		row[j] = cost
		least, leastAbove = min(least, cost), min(leastAbove, above[j])
	}
	return int(least) > w.max && int(leastAbove)+1 > w.max
}

// matchFuzzy gives the words between two places that are like one, by their
// numbers, rising; word is the first's, and so many octets before each are none of it.
func (s *segment) matchFuzzy(f *fuzzyWord, at, end, word, prefix int) (words []int32) {
	walk := newEditWalk(f)
	for ; at < end; word++ {
		w := s.wordAt(at)
		at += len(w) + 1
		if len(w) >= prefix && f.like(w[prefix:], walk) > 0 {
			words = append(words, int32(word))
		}
	}
	return words
}

// findFuzzy gives where the first text from on begins that has a word like the
// leaf's, in the leaf's field; or -1. Texts are ended by 0x00.
func (l *textLeaf) findFuzzy(texts []byte, from int) int {
	walk := newEditWalk(l.fuzzy)
	for from < len(texts) {
		end := from + len(texts[from:])
		if i := bytes.IndexByte(texts[from:], 0); i >= 0 {
			end = from + i
		}
		found := false
		l.eachLike(texts[from:end], walk, func(int) bool {
			found = true
			return false
		})
		if found {
			return from
		}
		from = end + 1
	}
	return -1
}

// eachLike gives f how like each word is that is like the leaf's, in one text,
// until f does not want more.
func (l *textLeaf) eachLike(text []byte, walk *editWalk, f func(like int) bool) {
	more := true
	look := func(text []byte) {
		long := eachWord(text, func(word []byte) {
			if more {
				if like := l.fuzzy.like(word, walk); like > 0 {
					more = f(like)
				}
			}
		})
		if long && more && bytes.Contains(text, l.fuzzy.text) { // perhaps in a word that is not given
			more = f(likeContains)
		}
	}
	if l.mark == nil {
		look(text)
		return
	}
	for more {
		i := bytes.Index(text, l.mark)
		if i < 0 {
			return
		}
		text = text[i+len(l.mark):]
		value := text
		if end := bytes.IndexByte(text, l.mark[0]); end >= 0 {
			value = text[:end]
		}
		look(value)
	}
}
