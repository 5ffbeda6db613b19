// Package inflate decompresses DEFLATE (RFC 1951) for protocols that talk
// through it: a Reader gives every octet that can be decoded from what has
// arrived before it waits for more. compress/flate holds the last octets back
// until a stored block or its window's end, which Z_PARTIAL_FLUSH (RFC 4978 §4
// allows it, some clients use it) never brings: both sides would wait for ever.
//
// A Reader is a state machine over whole steps: a step is taken when all of its
// bits are there, or left for later. So a read that was interrupted (a deadline,
// to look at something else) may be tried again, and nothing is lost. It holds
// the window, which grows with the stream from 1 KiB to 32 KiB, while idle; code
// tables are borrowed for the length of a block, and a large input buffer while
// much comes in.
package inflate

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrCorrupt is matched by the errors of input that is no DEFLATE stream.
var ErrCorrupt = errors.New("inflate: corrupt input")

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

const (
	maxWindow   = 32 << 10
	firstWindow = 1 << 10
	smallInput  = 64
	largeInput  = 4 << 10
)

var inputs = sync.Pool{New: func() any { return new([largeInput]byte) }}

// Reader decompresses a stream. It is used by one goroutine at a time.
type Reader struct {
	src io.Reader

	small [smallInput]byte
	large *[largeInput]byte // in use when much comes in
	in    []byte            // unread, in one of them
	full  bool              // the last read left no room

	bits  uint64 // the next bits of the stream, the first lowest
	nbits uint

	window []byte // a ring of what was given out
	at     int    // its next octet
	given  int64  // octets given out in all

	step  func(*Reader, []byte) (int, status)
	final bool // this block is the last
	codes *codes
	err   error

	left     int // octets of the stored block, or of the match, that is being copied
	distance int
}

// status is how a step ended.
type status int

const (
	ok    status = iota
	short        // the next step needs more input
	over         // r.err is set
)

// NewReader reads from src. It reads ahead: what follows the end of the stream
// is lost.
func NewReader(src io.Reader) *Reader { return &Reader{src: src, step: (*Reader).header} }

// Read implements io.Reader. It returns io.EOF behind the last block,
// io.ErrUnexpectedEOF where src ends before it, an error that matches ErrCorrupt
// for what is no DEFLATE, and src's own errors as they are; after one of those
// it may be called again.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n := 0; ; {
		for n < len(p) && r.err == nil {
			m, s := r.step(r, p[n:])
			n += m
			if s == short && !r.feed() {
				break
			}
		}
		if n > 0 {
			return n, nil // an error comes with the next call
		}
		if r.err != nil {
			return 0, r.err
		}
		if err := r.receive(); err != nil {
			return 0, err
		}
	}
}

// feed moves input to the bits until no octet more fits, and reports whether
// there was any.
func (r *Reader) feed() bool {
	some := len(r.in) > 0 && r.nbits <= 56
	for r.nbits <= 56 && len(r.in) > 0 {
		r.bits |= uint64(r.in[0]) << r.nbits
		r.nbits += 8
		r.in = r.in[1:]
	}
	return some
}

// receive waits for input. Only a read that filled its buffer is followed by
// one into the large buffer: whoever sends little, or nothing, holds none.
func (r *Reader) receive() error {
	if len(r.in) > 0 { // no step needs as many bits as are there
		return corrupt("a step without end")
	}
	r.buffer()
	buf := r.small[:]
	if r.large != nil {
		buf = r.large[:]
	}
	n, err := r.src.Read(buf)
	r.in, r.full = buf[:n], n == len(buf)
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
		r.fail(err)
	}
	return err
}

func (r *Reader) buffer() {
	switch {
	case r.full && r.large == nil:
		r.large = inputs.Get().(*[largeInput]byte)
	case !r.full && r.large != nil:
		inputs.Put(r.large)
		r.large = nil
	}
}

// Close gives back what the reader has borrowed. It does not close src.
func (r *Reader) Close() error {
	r.fail(io.ErrClosedPipe)
	r.in, r.full = nil, false
	r.buffer()
	return nil
}

func (r *Reader) fail(err error) status {
	r.err = err
	r.release()
	return over
}

// take consumes n ≤ 56 bits that are there.
func (r *Reader) take(n uint) uint64 {
	v := r.bits & (1<<n - 1)
	r.bits >>= n
	r.nbits -= n
	return v
}

// header begins a block (RFC 1951 §3.2.3).
func (r *Reader) header([]byte) (int, status) {
	if r.final {
		return 0, r.fail(io.EOF)
	}
	if r.nbits < 3 {
		return 0, short
	}
	r.final = r.take(1) == 1
	switch r.take(2) {
	case 0:
		r.step = (*Reader).storedHeader
	case 1:
		r.codes = fixed()
		r.step = (*Reader).symbol
	case 2:
		r.codes = borrowed.Get().(*codes)
		r.step = (*Reader).counts
	default:
		return 0, r.fail(corrupt("a block of no kind"))
	}
	return 0, ok
}

// endBlock goes on to the next block.
func (r *Reader) endBlock() (int, status) {
	r.release()
	r.step = (*Reader).header
	return 0, ok
}

// release gives borrowed tables back.
func (r *Reader) release() {
	if r.codes != nil && !r.codes.fixed {
		borrowed.Put(r.codes)
	}
	r.codes = nil
}

// storedHeader is the length of a stored block (RFC 1951 §3.2.4).
func (r *Reader) storedHeader([]byte) (int, status) {
	if r.nbits-r.nbits%8 < 32 { // the bits up to the next octet are dropped
		return 0, short
	}
	r.take(r.nbits % 8)
	n := r.take(32)
	if n&0xffff != ^(n>>16)&0xffff {
		return 0, r.fail(corrupt("the length of a stored block"))
	}
	r.left = int(n & 0xffff)
	r.step = (*Reader).stored
	return 0, ok
}

func (r *Reader) stored(p []byte) (n int, s status) {
	for r.left > 0 && n < len(p) && r.nbits >= 8 {
		p[n] = byte(r.take(8))
		r.keep(p[n])
		n++
		r.left--
	}
	if r.left == 0 {
		r.endBlock()
		return n, ok
	}
	if r.nbits > 0 {
		return n, ok // p is full
	}
	m := min(r.left, len(p)-n, len(r.in))
	copy(p[n:], r.in[:m])
	for _, c := range r.in[:m] {
		r.keep(c)
	}
	r.in = r.in[m:]
	r.left -= m
	if n+m == 0 {
		return 0, short
	}
	return n + m, ok
}

// match copies what was given out before (RFC 1951 §3.2.3).
func (r *Reader) match(p []byte) (n int, s status) {
	from := r.at - r.distance
	if from < 0 {
		from += len(r.window)
	}
	for ; n < len(p) && r.left > 0; n++ {
		c := r.window[from]
		if from++; from == len(r.window) && !r.growing() {
			from = 0
		}
		p[n] = c
		r.keep(c)
		r.left--
	}
	if r.left == 0 {
		r.step = (*Reader).symbol
	}
	return n, ok
}

// keep puts an octet into the window.
func (r *Reader) keep(c byte) {
	if r.at == len(r.window) {
		if r.growing() {
			grown := make([]byte, max(firstWindow, 2*len(r.window)))
			copy(grown, r.window)
			r.window = grown
		} else {
			r.at = 0
		}
	}
	r.window[r.at] = c
	r.at++
	r.given++
}

// growing reports that the window has not reached its full size.
func (r *Reader) growing() bool { return len(r.window) < maxWindow }
