package wire

import (
	"io"
	"strconv"
	"strings"
	"sync"
)

// outSize is how much the encoder gathers before it writes.
const outSize = 32 << 10

var outputs = sync.Pool{New: func() any { return new([outSize]byte) }}

// Encoder writes responses into a buffer that is flushed when it is full, and by
// Flush; between commands it holds no buffer. Its error is sticky: a loop may
// write on and ask once. It is used by one goroutine at a time.
type Encoder struct {
	dst io.Writer
	buf *[outSize]byte
	n   int
	err error
}

// NewEncoder writes to dst.
func NewEncoder(dst io.Writer) *Encoder { return &Encoder{dst: dst} }

// Switch flushes, and then writes to what open puts before the destination.
func (e *Encoder) Switch(open func(dst io.Writer) io.Writer) error {
	if err := e.Flush(); err != nil {
		return err
	}
	e.dst = open(e.dst)
	return nil
}

// Err is the first error of the connection.
func (e *Encoder) Err() error { return e.err }

// Flush sends what is gathered and gives the buffer back.
func (e *Encoder) Flush() error {
	e.send()
	if e.buf != nil {
		outputs.Put(e.buf)
		e.buf = nil
	}
	return e.err
}

func (e *Encoder) send() {
	if e.n > 0 && e.err == nil {
		_, e.err = e.dst.Write(e.buf[:e.n])
	}
	e.n = 0
}

// room makes sure that n ≤ outSize octets fit.
func (e *Encoder) room(n int) {
	if e.buf == nil {
		e.buf = outputs.Get().(*[outSize]byte)
	}
	if e.n+n > outSize {
		e.send()
	}
}

// Write implements io.Writer: the octets of a literal, or a prepared response.
func (e *Encoder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && e.err == nil; {
		e.room(1)
		n := copy(e.buf[e.n:], rest)
		e.n += n
		rest = rest[n:]
	}
	if e.err != nil {
		return 0, e.err
	}
	return len(p), nil
}

// Bytes writes p as it is.
func (e *Encoder) Bytes(p []byte) { e.Write(p) } // the error is sticky

// Raw writes s as it is.
func (e *Encoder) Raw(s string) {
	for len(s) > 0 && e.err == nil {
		e.room(1)
		n := copy(e.buf[e.n:], s)
		e.n += n
		s = s[n:]
	}
}

// Byte writes one octet.
func (e *Encoder) Byte(c byte) {
	e.room(1)
	e.buf[e.n] = c
	e.n++
}

// SP writes a space.
func (e *Encoder) SP() { e.Byte(' ') }

// CRLF ends a response.
func (e *Encoder) CRLF() { e.Raw("\r\n") }

// Number writes n.
func (e *Encoder) Number(n uint64) {
	e.room(20)
	e.n += len(strconv.AppendUint(e.buf[e.n:e.n], n, 10))
}

// Literal announces size octets, which the caller writes next.
func (e *Encoder) Literal(size int64) {
	e.Byte('{')
	e.Number(uint64(size))
	e.Raw("}\r\n")
}

// String writes s quoted where RFC 3501 allows it, else as a literal.
func (e *Encoder) String(s string) {
	if !quotable(s) {
		e.Literal(int64(len(s)))
		e.Raw(s)
		return
	}
	e.Byte('"')
	for {
		i := strings.IndexAny(s, `"\`)
		if i < 0 {
			break
		}
		e.Raw(s[:i])
		e.Byte('\\')
		e.Byte(s[i])
		s = s[i+1:]
	}
	e.Raw(s)
	e.Byte('"')
}

// Nstring writes s, or NIL where there is none.
func (e *Encoder) Nstring(s string, ok bool) {
	if ok {
		e.String(s)
	} else {
		e.Raw("NIL")
	}
}

// quotable: quoted strings hold 7-bit text without NUL, CR and LF, and no
// client likes them very long.
func quotable(s string) bool {
	if len(s) > 1000 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x80 || c == 0 || c == '\r' || c == '\n' {
			return false
		}
	}
	return true
}
