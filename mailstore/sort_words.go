package mailstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// maxSortWord bounds one word of a wordList, in octets: two subjects that are
// alike that far sort alike.
const maxSortWord = 1000

// wordList are different words in the order of their octets, which for folded
// text is the order of i;unicode-casemap (RFC 5051 §2). It is not changed.
type wordList struct {
	text []byte
	ends []int // of each word in text
}

func (l *wordList) len() int { return len(l.ends) }

func (l *wordList) at(i int) []byte {
	if i == 0 {
		return l.text[:l.ends[0]]
	}
	return l.text[l.ends[i-1]:l.ends[i]]
}

// startsEmpty reports whether the first word is the empty one.
func (l *wordList) startsEmpty() bool { return len(l.ends) > 0 && l.ends[0] == 0 }

func (l *wordList) size() int64 { return int64(cap(l.text)) + 8*int64(cap(l.ends)) }

// add appends a word, which comes after all that are there.
func (l *wordList) add(word []byte) {
	l.text = append(l.text, word...)
	l.ends = append(l.ends, len(l.text))
}

// gatheredWords are words as they come.
type gatheredWords struct{ wordList }

func (g *gatheredWords) gather(word []byte) {
	if bytes.IndexFunc(word, isHangul) >= 0 {
		word = decomposeHangul(word)
	}
	g.add(word[:min(len(word), maxSortWord)])
}

const firstHangul, lastHangul = 0xac00, 0xd7a3

func isHangul(r rune) bool { return r >= firstHangul && r <= lastHangul }

// decomposeHangul makes letters of syllables (Unicode §3.12), as RFC 5051 has them
// compared; folded text keeps syllables whole, for searches.
func decomposeHangul(s []byte) []byte {
	const leads, vowels, tails, perLead, perVowel = 0x1100, 0x1161, 0x11a7, 588, 28
	out := make([]byte, 0, 3*len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		if !isHangul(r) {
			out, s = append(out, s[:n]...), s[n:]
			continue
		}
		r, s = r-firstHangul, s[n:]
		out = utf8.AppendRune(out, leads+r/perLead)
		out = utf8.AppendRune(out, vowels+r%perLead/perVowel)
		if tail := r % perVowel; tail > 0 {
			out = utf8.AppendRune(out, tails+tail)
		}
	}
	return out
}

// ranked merges the words into l and gives the list of both, the rank in it of
// each of l's words (nil: as before), and of each that was gathered.
func (g *gatheredWords) ranked(l *wordList) (all *wordList, old, fresh []int32) {
	type item struct {
		head uint64 // the first octets: most comparisons end there
		at   int32
	}
	items := make([]item, g.len())
	for i := range items {
		var head [8]byte
		copy(head[:], g.at(i))
		items[i] = item{binary.BigEndian.Uint64(head[:]), int32(i)}
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return bytes.Compare(g.at(int(a.at)), g.at(int(b.at)))
	})
	all = &wordList{text: make([]byte, 0, len(l.text)), ends: make([]int, 0, l.len())}
	old, fresh = make([]int32, l.len()), make([]int32, g.len())
	next := 0 // of l
	for _, it := range items {
		word := g.at(int(it.at))
		if n := all.len(); n > 0 && bytes.Equal(all.at(n-1), word) {
			fresh[it.at] = int32(n - 1)
			continue
		}
		for next < l.len() && bytes.Compare(l.at(next), word) <= 0 {
			old[next] = int32(all.len())
			all.add(l.at(next))
			next++
		}
		if n := all.len(); n == 0 || !bytes.Equal(all.at(n-1), word) {
			all.add(word)
		}
		fresh[it.at] = int32(all.len() - 1)
	}
	for ; next < l.len(); next++ {
		old[next] = int32(all.len())
		all.add(l.at(next))
	}
	if all.len() == l.len() {
		return l, nil, fresh
	}
	return all, old, fresh
}
