package inflate

import (
	"math/bits"
	"sync"
)

const (
	maxBits   = 15 // of a code (RFC 1951 §3.2.7)
	fastBits  = 9  // codes up to here take one look-up
	maxLits   = 286
	maxDists  = 30
	endSymbol = 256
)

// huffman is a prefix code (RFC 1951 §3.2.2).
type huffman struct {
	fast    [1 << fastBits]uint16 // symbol<<4 | length, by the next bits; 0: longer or no code
	count   [maxBits + 1]uint16   // codes of each length
	symbols [288]uint16           // in the order of their codes
}

// build makes the code of the lengths, and reports whether it is one: neither
// too many codes nor too few, though a single one of one bit will do, and none
// at all for what does not occur.
func (h *huffman) build(lengths []uint8) bool {
	h.count = [maxBits + 1]uint16{}
	for _, l := range lengths {
		h.count[l]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	var at, next [maxBits + 2]uint16 // into symbols; the next code of each length
	left := 1
	for l := 1; l <= maxBits; l++ {
		left = left<<1 - int(h.count[l])
		if left < 0 {
			return false
		}
		at[l+1] = at[l] + h.count[l]
		next[l+1] = (next[l] + h.count[l]) << 1
	}
	if left > 0 && used > 0 && !(used == 1 && h.count[1] == 1) {
		return false
	}
	clear(h.fast[:])
	for symbol, l := range lengths {
		if l == 0 {
			continue
		}
		h.symbols[at[l]] = uint16(symbol)
		at[l]++
		if l <= fastBits {
			entry := uint16(symbol)<<4 | uint16(l)
			for i := int(bits.Reverse16(next[l]) >> (16 - l)); i < len(h.fast); i += 1 << l {
				h.fast[i] = entry
			}
		}
		next[l]++
	}
	return true
}

// peek is the symbol at the start of n bits, of which more than n are zero, and
// the length of its code. It asks for no more bits than the code has.
func (h *huffman) peek(b uint64, n uint) (symbol int, length uint, s status) {
	if e := h.fast[b&(1<<fastBits-1)]; e != 0 {
		if length = uint(e & 15); length > n {
			return 0, 0, short
		}
		return int(e >> 4), length, ok
	}
	var code, first, index int
	for length = 1; length <= maxBits; length++ {
		if length > n {
			return 0, 0, short
		}
		code |= int(b & 1)
		b >>= 1
		count := int(h.count[length])
		if code-first < count {
			return int(h.symbols[index+code-first]), length, ok
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0, over
}

// codes are the tables of one block.
type codes struct {
	lits, dists huffman // dists is the code of code lengths, as long as those are read
	fixed       bool

	nlits, ndists, nlengths, next int // while they are read
	lengths                       [maxLits + maxDists + 2]uint8
}

var borrowed = sync.Pool{New: func() any { return new(codes) }}

// fixed are the tables of RFC 1951 §3.2.6.
var fixed = sync.OnceValue(func() *codes {
	c := &codes{fixed: true}
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	c.lits.build(lengths[:])
	var five [32]uint8
	for i := range five {
		five[i] = 5
	}
	c.dists.build(five[:])
	return c
})

// lengthOrder is the order of the code lengths of code lengths.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// The lengths and distances that symbols stand for, and the bits added to them
// (RFC 1951 §3.2.5).
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase   = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distBits   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// counts begins a block with codes of its own (RFC 1951 §3.2.7).
func (r *Reader) counts([]byte) (int, status) {
	if r.nbits < 14 {
		return 0, short
	}
	c := r.codes
	c.nlits, c.ndists, c.nlengths = int(r.take(5))+257, int(r.take(5))+1, int(r.take(4))+4
	if c.nlits > maxLits || c.ndists > maxDists {
		return 0, r.fail(corrupt("the number of codes"))
	}
	c.next = 0
	clear(c.lengths[:])
	r.step = (*Reader).lengthLengths
	return 0, ok
}

func (r *Reader) lengthLengths([]byte) (int, status) {
	c := r.codes
	for ; c.next < c.nlengths; c.next++ {
		if r.nbits < 3 {
			return 0, short
		}
		c.lengths[lengthOrder[c.next]] = uint8(r.take(3))
	}
	if !c.dists.build(c.lengths[:len(lengthOrder)]) {
		return 0, r.fail(corrupt("the code of code lengths"))
	}
	c.next = 0
	clear(c.lengths[:])
	r.step = (*Reader).codeLengths
	return 0, ok
}

func (r *Reader) codeLengths([]byte) (int, status) {
	c := r.codes
	for total := c.nlits + c.ndists; c.next < total; {
		symbol, length, s := c.dists.peek(r.bits, r.nbits)
		if s == over {
			return 0, r.fail(corrupt("a code length"))
		}
		if s == short {
			return 0, short
		}
		if symbol < 16 {
			r.take(length)
			c.lengths[c.next] = uint8(symbol)
			c.next++
			continue
		}
		extra, least := uint(2), 3
		switch symbol {
		case 17:
			extra = 3
		case 18:
			extra, least = 7, 11
		}
		if r.nbits < length+extra {
			return 0, short
		}
		r.take(length)
		n := least + int(r.take(extra))
		if symbol == 16 && c.next == 0 || c.next+n > total {
			return 0, r.fail(corrupt("a repeated code length"))
		}
		for ; n > 0; n-- {
			if symbol == 16 {
				c.lengths[c.next] = c.lengths[c.next-1]
			}
			c.next++
		}
	}
	if c.lengths[endSymbol] == 0 {
		return 0, r.fail(corrupt("a block without end"))
	}
	if !c.lits.build(c.lengths[:c.nlits]) || !c.dists.build(c.lengths[c.nlits:c.nlits+c.ndists]) {
		return 0, r.fail(corrupt("the codes of a block"))
	}
	r.step = (*Reader).symbol
	return 0, ok
}

// symbol decodes until the block ends, p is full, or more input is needed.
func (r *Reader) symbol(p []byte) (n int, s status) {
	for n < len(p) {
		r.feed()
		symbol, length, s := r.codes.lits.peek(r.bits, r.nbits)
		if s != ok {
			return n, r.stuck(s)
		}
		if symbol < endSymbol {
			r.take(length)
			p[n] = byte(symbol)
			r.keep(p[n])
			n++
			continue
		}
		if symbol == endSymbol {
			r.take(length)
			_, s := r.endBlock()
			return n, s
		}
		if s := r.pair(symbol-endSymbol-1, length); s != ok {
			return n, r.stuck(s)
		}
		m, _ := r.match(p[n:])
		n += m
	}
	return n, ok
}

func (r *Reader) stuck(s status) status {
	if s == over && r.err == nil {
		return r.fail(corrupt("a code that is none"))
	}
	return s
}

// pair decodes a match, if it is there as a whole: 48 bits at most.
func (r *Reader) pair(symbol int, used uint) status {
	if symbol >= len(lengthBase) {
		return over
	}
	extra := uint(lengthBits[symbol])
	if r.nbits < used+extra {
		return short
	}
	left := int(lengthBase[symbol]) + int(r.bits>>used&(1<<extra-1))
	used += extra
	symbol, length, s := r.codes.dists.peek(r.bits>>used, r.nbits-used)
	if s != ok {
		return s
	}
	if symbol >= len(distBase) {
		return over
	}
	used += length
	extra = uint(distBits[symbol])
	if r.nbits < used+extra {
		return short
	}
	distance := int(distBase[symbol]) + int(r.bits>>used&(1<<extra-1))
	if int64(distance) > r.given {
		return r.fail(corrupt("a distance beyond the beginning"))
	}
	r.take(used + extra)
	r.left, r.distance = left, distance
	r.step = (*Reader).match
	return ok
}
