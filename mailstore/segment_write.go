package mailstore

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// wordWriter writes words, which come sorted, and their texts, of n.
type wordWriter struct {
	n           int
	words       int
	blocks      []segBlock
	vocab, post []byte
	scratch     []byte
}

func newWordWriter(n int) *wordWriter { return &wordWriter{n: n, vocab: []byte{0}} }

func (w *wordWriter) add(word []byte, ordinals []int32) {
	if w.words%blockWords == 0 {
		w.blocks = append(w.blocks, segBlock{uint32(len(w.vocab)), uint32(len(w.post))})
	}
	w.words++
	w.vocab = append(append(w.vocab, word...), 0)
	w.post, w.scratch = appendPostings(w.post, ordinals, w.n, w.scratch)
}

// finish gives s the words and the row that holds it.
func (w *wordWriter) finish(s *segment) *segmentRow {
	s.vocab, s.words = w.vocab, w.words
	s.blocks = append(w.blocks, segBlock{uint32(len(w.vocab)), uint32(len(w.post))})
	return &segmentRow{ids: s.encodeIDs(), vocab: vocabEncoder.EncodeAll(w.vocab, nil), skips: s.encodeSkips(), post: w.post}
}

// segmentBuilder makes a segment of packs, which come in their order.
type segmentBuilder struct {
	seg    segment
	index  map[string]int32 // word, with the prefix of its section → place in words
	words  []builtWord
	octets int    // of text
	key    []byte // of index
}

type builtWord struct {
	word  string
	texts []int32
}

func newSegmentBuilder(firstNo int64) *segmentBuilder {
	return &segmentBuilder{seg: segment{firstNo: firstNo}, index: map[string]int32{}}
}

// add takes in a pack: its folded texts of bodies and of headers, each ended by 0x00.
func (b *segmentBuilder) add(no int64, blobs []int64, texts, heads []byte) error {
	if n, h := bytes.Count(texts, []byte{0}), bytes.Count(heads, []byte{0}); n != len(blobs) || h != n {
		return fmt.Errorf("pack %d has %d texts and %d headers for %d bodies", no, n, h, len(blobs))
	}
	b.octets += len(texts) + len(heads)
	b.seg.packs = append(b.seg.packs, segPack{no, int32(len(b.seg.blobs))})
	for _, blob := range blobs {
		ordinal := int32(len(b.seg.blobs))
		b.seg.blobs = append(b.seg.blobs, blob)
		end, headEnd := bytes.IndexByte(texts, 0), bytes.IndexByte(heads, 0)
		long := b.text(texts[:end], ordinal, sectionWord, sectionContext, sectionChar)
		longHead := b.text(heads[:headEnd], ordinal, sectionHeadWord, sectionHeadContext, sectionHeadChar)
		if long || longHead {
			b.seg.long = append(b.seg.long, ordinal)
		}
		texts, heads = texts[end+1:], heads[headEnd+1:]
	}
	return nil
}

// text takes in one text, into the sections for its words, contexts and characters.
func (b *segmentBuilder) text(text []byte, ordinal int32, words, contexts, chars byte) (long bool) {
	var ascii [2]uint64 // characters that were taken in
	var char [utf8.UTFMax]byte
	longWord := eachWord(text, func(word []byte) {
		b.word(words, word, ordinal)
		for i := 0; i < len(word); {
			if c := word[i]; c < utf8.RuneSelf {
				if bit := uint64(1) << (c % 64); ascii[c/64]&bit == 0 {
					ascii[c/64] |= bit
					char[0] = c
					b.word(chars, char[:1], ordinal)
				}
				i++
				continue
			}
			_, n := utf8.DecodeRune(word[i:])
			b.word(chars, word[i:i+n], ordinal)
			i += n
		}
	})
	longGap := eachContext(text, func(context []byte) { b.word(contexts, context, ordinal) })
	return longWord || longGap
}

// word takes in a word of a section.
func (b *segmentBuilder) word(section byte, word []byte, ordinal int32) {
	if section != sectionWord {
		b.key = append(append(b.key[:0], section), word...)
		word = b.key
	}
	k, ok := b.index[string(word)]
	if !ok {
		k = int32(len(b.words))
		w := string(word)
		b.index[w], b.words = k, append(b.words, builtWord{word: w})
	}
	w := &b.words[k]
	if n := len(w.texts); n == 0 || w.texts[n-1] != ordinal {
		w.texts = append(w.texts, ordinal)
	}
}

// finish ends the segment below the pack number end; the builder is spent.
func (b *segmentBuilder) finish(end int64) (*segment, *segmentRow) {
	b.seg.span, b.index = end-b.seg.firstNo, nil
	slices.SortFunc(b.words, func(x, y builtWord) int { return strings.Compare(x.word, y.word) })
	w := newWordWriter(len(b.seg.blobs))
	var word []byte
	for i := range b.words {
		word = append(word[:0], b.words[i].word...)
		w.add(word, b.words[i].texts)
	}
	return &b.seg, w.finish(&b.seg)
}

// mergeSegments makes one segment of neighbours, which come in their order with
// their post, without the texts of packs that are dead. It reads no text.
func mergeSegments(parts []*segment, posts [][]byte, dead func(pack, blob int64) bool) (*segment, *segmentRow, error) {
	out := &segment{firstNo: parts[0].firstNo}
	cursors := make([]*wordCursor, len(parts))
	for i, p := range parts {
		out.span += p.span
		cursors[i] = &wordCursor{s: p, post: posts[i], ordinals: out.takeTexts(p, dead)}
		if err := cursors[i].next(); err != nil {
			return nil, nil, err
		}
	}
	w := newWordWriter(len(out.blobs))
	var texts []int32
	for {
		var least []byte
		for _, c := range cursors {
			if c.word != nil && (least == nil || bytes.Compare(c.word, least) < 0) {
				least = c.word
			}
		}
		if least == nil {
			return out, w.finish(out), nil
		}
		texts = texts[:0]
		for _, c := range cursors {
			if !bytes.Equal(c.word, least) || c.word == nil {
				continue
			}
			var err error
			if texts, err = c.texts(texts); err == nil {
				err = c.next()
			}
			if err != nil {
				return nil, nil, err
			}
		}
		if len(texts) > 0 {
			w.add(least, texts)
		}
	}
}

// takeTexts appends the texts of another segment that are not dead, and gives
// for each of its ordinals the new one, or -1.
func (s *segment) takeTexts(from *segment, dead func(pack, blob int64) bool) []int32 {
	ordinals := make([]int32, len(from.blobs))
	for i, p := range from.packs {
		first := int32(len(s.blobs))
		for o := p.first; o < from.packEnd(i); o++ {
			if dead != nil && dead(p.no, from.blobs[o]) {
				ordinals[o] = -1
				continue
			}
			ordinals[o] = int32(len(s.blobs))
			s.blobs = append(s.blobs, from.blobs[o])
		}
		if int(first) < len(s.blobs) {
			s.packs = append(s.packs, segPack{p.no, first})
		}
	}
	for _, o := range from.long {
		if ordinals[o] >= 0 {
			s.long = append(s.long, ordinals[o])
		}
	}
	return ordinals
}

// wordCursor goes through the words of a segment.
type wordCursor struct {
	s        *segment
	post     []byte
	at       int
	ordinals []int32
	set      bitset

	word    []byte // nil: at the end
	posting []byte
	bitmap  bool
}

func (c *wordCursor) next() (err error) {
	if c.word != nil {
		c.at += len(c.word) + 1
	} else {
		c.at = 1
	}
	if c.at >= len(c.s.vocab) {
		if c.word = nil; len(c.post) > 0 {
			return fmt.Errorf("post of segment %d: %w", c.s.firstNo, errSegment)
		}
		return nil
	}
	c.word = c.s.vocab[c.at : c.at+bytes.IndexByte(c.s.vocab[c.at:], 0)]
	if c.posting, c.bitmap, c.post, err = nextPostings(c.post); err != nil {
		return fmt.Errorf("post of segment %d: %w", c.s.firstNo, err)
	}
	return nil
}

// texts appends the new ordinals of the word's texts.
func (c *wordCursor) texts(list []int32) ([]int32, error) {
	if c.set == nil {
		c.set = newBitset(len(c.s.blobs))
	}
	clear(c.set)
	if err := c.set.addPostings(c.posting, c.bitmap, len(c.s.blobs)); err != nil {
		return nil, fmt.Errorf("post of segment %d: %w", c.s.firstNo, err)
	}
	c.set.each(func(o int32) {
		if c.ordinals[o] >= 0 {
			list = append(list, c.ordinals[o])
		}
	})
	return list, nil
}
