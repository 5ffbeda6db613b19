package mailstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// A segment says which of an account's texts have which word: an inverted index
// of consecutive packs, written once. A row of text_segment holds
//
//	first_no, n  it covers the packs with numbers from first_no, below first_no + n
//	format       segmentFormat
//	id           names these contents; a segment that is written anew gets another
//	ids          packs and bodies covered, and the texts with words beyond maxWord
//	vocab        zstd of 0x00, then each word with 0x00 behind it, sorted by octets
//	skips        where each block of blockWords words begins in vocab and in post
//	post         for each word its texts
//
// Texts have ordinals in the order of ids. The segments of an account follow one
// another without gaps from number 0; what comes behind them is not covered. Dead texts stay
// covered until compaction drops them; a body that is not wanted does not count.
type segment struct {
	id, firstNo int64
	span        int64     // n
	packs       []segPack // rising
	blobs       []int64   // by ordinal
	long        []int32   // ordinals of the texts with words beyond maxWord
	vocab       []byte
	blocks      []segBlock // one more than there are: the end
	words       int
}

// segPack is a pack that a segment covers: its texts begin at an ordinal.
type segPack struct {
	no    int64
	first int32
}

// segBlock is where a block of words begins.
type segBlock struct {
	vocab, post uint32
}

const (
	blockWords     = 32
	maxVocab       = 256 << 20 // octets of a vocabulary, decompressed
	maxSegmentSpan = 100_000   // numbers that a segment covers
)

var (
	vocabEncoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)))
	vocabDecoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(maxVocab), zstd.WithDecoderLowmem(true)))
)

// segmentRow is the stored form.
type segmentRow struct {
	ids, vocab, skips, post []byte
}

var errSegment = errors.New("a segment is damaged")

// encodeIDs writes packs, blobs and long.
func (s *segment) encodeIDs() []byte {
	b := binary.AppendUvarint(nil, uint64(len(s.packs)))
	last := s.firstNo
	for i, p := range s.packs {
		b = binary.AppendUvarint(b, uint64(p.no-last))
		b = binary.AppendUvarint(b, uint64(s.packEnd(i)-p.first))
		last = p.no
	}
	last = 0
	for _, blob := range s.blobs {
		b = binary.AppendVarint(b, blob-last)
		last = blob
	}
	return appendOrdinals(binary.AppendUvarint(b, uint64(len(s.long))), s.long)
}

// packEnd is the ordinal behind the last text of a pack.
func (s *segment) packEnd(i int) int32 {
	if i+1 < len(s.packs) {
		return s.packs[i+1].first
	}
	return int32(len(s.blobs))
}

// encodeSkips writes blocks.
func (s *segment) encodeSkips() []byte {
	b := binary.AppendUvarint(nil, uint64(s.words))
	var last segBlock
	for _, at := range s.blocks {
		b = binary.AppendUvarint(b, uint64(at.vocab-last.vocab))
		b = binary.AppendUvarint(b, uint64(at.post-last.post))
		last = at
	}
	return b
}

// decodeSegment reads a row, without post. id, firstNo and span are the caller's.
func decodeSegment(s *segment, r *segmentRow) error {
	if err := s.decodeIDs(r.ids); err != nil {
		return err
	}
	return s.decodeWords(r)
}

// decodeIDs reads packs, blobs and long.
func (s *segment) decodeIDs(ids []byte) error {
	d := varints{b: ids}
	n := d.count(len(ids))
	s.packs = make([]segPack, 0, n)
	no, texts := s.firstNo, 0
	for range n {
		no += int64(d.uint())
		s.packs = append(s.packs, segPack{no, int32(texts)})
		texts += d.count(len(ids))
	}
	if d.bad || texts > len(d.b) {
		return fmt.Errorf("ids of segment %d: %w", s.firstNo, errSegment)
	}
	s.blobs = make([]int64, texts)
	blob := int64(0)
	for i := range s.blobs {
		blob += d.int()
		s.blobs[i] = blob
	}
	last := -1
	for range d.count(texts) {
		last += int(d.uint()) + 1
		s.long = append(s.long, int32(last))
	}
	if d.bad || last >= texts {
		return fmt.Errorf("ids of segment %d: %w", s.firstNo, errSegment)
	}
	return nil
}

func (s *segment) decodeWords(r *segmentRow) (err error) {
	if s.vocab, err = vocabDecoder.DecodeAll(r.vocab, nil); err != nil {
		return fmt.Errorf("vocabulary of segment %d: %w: %w", s.firstNo, errSegment, err)
	}
	d := varints{b: r.skips}
	s.words = d.count(len(s.vocab))
	s.blocks = make([]segBlock, (s.words+blockWords-1)/blockWords+1)
	var at segBlock
	for i := range s.blocks {
		at.vocab += uint32(d.uint())
		at.post += uint32(d.uint())
		s.blocks[i] = at
		d.bad = d.bad || int(at.vocab) > len(s.vocab) || at.vocab == 0
	}
	if d.bad || int(at.vocab) != len(s.vocab) || s.vocab[len(s.vocab)-1] != 0 {
		return fmt.Errorf("words of segment %d: %w", s.firstNo, errSegment)
	}
	return nil
}

// size is what the segment takes in memory, in octets, about.
func (s *segment) size() int64 {
	return int64(cap(s.vocab) + 8*len(s.blobs) + 16*len(s.packs) + 8*len(s.blocks) + 4*len(s.long) + 256)
}

// Postings of a word: a uvarint of twice the octets that follow, plus one where
// these are a bitmap; else they are ordinals.

// appendPostings writes the ordinals of a word among n texts.
func appendPostings(b []byte, ordinals []int32, n int, scratch []byte) (out, _ []byte) {
	scratch = appendOrdinals(scratch[:0], ordinals)
	if octets := (n + 7) / 8; len(scratch) >= octets {
		b = binary.AppendUvarint(b, uint64(octets)<<1|1)
		at := len(b)
		b = append(b, make([]byte, octets)...)
		for _, o := range ordinals {
			b[at+int(o/8)] |= 1 << (o % 8)
		}
		return b, scratch
	}
	return append(binary.AppendUvarint(b, uint64(len(scratch))<<1), scratch...), scratch
}

// appendOrdinals writes rising ordinals: how many there are between one and the next.
func appendOrdinals(b []byte, ordinals []int32) []byte {
	last := int32(-1)
	for _, o := range ordinals {
		b = binary.AppendUvarint(b, uint64(o-last-1))
		last = o
	}
	return b
}

// bitset is a set of ordinals.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (s bitset) set(i int32)      { s[i>>6] |= 1 << (i & 63) }
func (s bitset) has(i int32) bool { return s[i>>6]&(1<<(i&63)) != 0 }

func (s bitset) each(f func(int32)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			f(int32(w<<6 + bits.TrailingZeros64(word)))
		}
	}
}

// nextPostings takes the postings of one word off b: ordinals or a bitmap.
func nextPostings(b []byte) (posting []byte, bitmap bool, rest []byte, err error) {
	head, n := binary.Uvarint(b)
	if n <= 0 || head>>1 > uint64(len(b)-n) {
		return nil, false, nil, errSegment
	}
	end := n + int(head>>1)
	return b[n:end], head&1 != 0, b[end:], nil
}

// addPostings adds what one word has to the set, of n ordinals.
func (s bitset) addPostings(posting []byte, bitmap bool, n int) error {
	if bitmap {
		if len(posting) != (n+7)/8 {
			return errSegment
		}
		i := 0
		for ; i+8 <= len(posting); i += 8 {
			s[i/8] |= binary.LittleEndian.Uint64(posting[i:])
		}
		for ; i < len(posting); i++ {
			s[i/8] |= uint64(posting[i]) << (i % 8 * 8)
		}
		if n%64 != 0 {
			s[n/64] &= 1<<(n%64) - 1
		}
		return nil
	}
	last := int64(-1)
	for i := 0; i < len(posting); {
		step := uint64(posting[i])
		if step < 0x80 {
			i++
		} else {
			var k int
			if step, k = binary.Uvarint(posting[i:]); k <= 0 || step > uint64(n) {
				return errSegment
			}
			i += k
		}
		if last += int64(step) + 1; last >= int64(n) {
			return errSegment
		}
		s.set(int32(last))
	}
	return nil
}

// varints reads numbers; bad says that they did not read well.
type varints struct {
	b   []byte
	bad bool
}

func (d *varints) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *varints) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is a number up to limit.
func (d *varints) count(limit int) int {
	v := d.uint()
	if v > uint64(limit) {
		d.bad = true
		return 0
	}
	return int(v)
}
