package imapd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/klauspost/compress/flate"
	"golang.org/x/time/rate"

	"posthouse/internal/inflate"
)

// compressDeflate is advertised after login, until it is in use.
const compressDeflate imap.Cap = "COMPRESS=DEFLATE"

// What a client may have decompressed: a burst, and then so many octets a
// second. A megabyte of zeros costs it a kilobyte; the limits on lines and
// literals hold for what comes out, this one for how often they may be reached.
const (
	inflateBurst = 64 << 20
	inflateRate  = 32 << 20
)

// history is how much of what was sent last the next answer may refer to: as
// much as flate.StatelessDeflate looks at. It is all that is kept for an answer
// to come.
const history = 8 << 10

// cmdCompress is COMPRESS (RFC 4978). From the CRLF of the command on the client
// talks DEFLATE, what it sent before it heard the OK included, and from the CRLF
// of the tagged OK on so do we.
func (s *session) cmdCompress(ctx context.Context, c *command) error {
	mechanism, err := c.lex.Keyword()
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if s.deflate != nil {
		return no("COMPRESSIONACTIVE", "DEFLATE is active already")
	}
	if mechanism != "DEFLATE" {
		return bad("Unknown compression mechanism")
	}
	s.tagged(c, imap.StatusResponseTypeOK, "", "DEFLATE active")
	c.answered = true
	return s.compress()
}

// compress puts DEFLATE between the session and its connection.
func (s *session) compress() error {
	d := &deflate{limit: rate.NewLimiter(inflateRate, inflateBurst)}
	s.deflate = d
	s.lex.Switch(func(ahead []byte, src io.Reader) io.Reader {
		if len(ahead) > 0 {
			src = io.MultiReader(bytes.NewReader(ahead), src)
		}
		d.in = inflate.NewReader(src)
		return d
	})
	return s.enc.Switch(func(dst io.Writer) io.Writer {
		d.dst = dst
		return d
	})
}

// deflate is the layer of COMPRESS. While the session waits it holds the history
// of what was sent, and the window of what came (see package inflate): no state
// of a compressor.
type deflate struct {
	in    *inflate.Reader
	limit *rate.Limiter

	dst  io.Writer
	sent []byte // the last octets sent, at most history
}

// Read implements io.Reader: it returns what can be decompressed, and waits only
// when there is nothing.
func (d *deflate) Read(p []byte) (int, error) {
	n, err := d.in.Read(p)
	if wait := d.limit.ReserveN(time.Now(), n).Delay(); wait > 0 {
		time.Sleep(wait) // p is a few kilobytes: a fraction of a millisecond
	}
	return n, err
}

// packed are buffers for one write of the encoder, compressed.
var packed = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Write implements io.Writer. What is written ends with a sync flush, so that
// the client can read it all. Nothing of the compressor is held while a slow
// client takes it.
func (d *deflate) Write(p []byte) (int, error) {
	out := packed.Get().(*bytes.Buffer)
	defer packed.Put(out)
	out.Reset()
	if err := pack(out, p, d.sent); err != nil {
		return 0, err
	}
	d.remember(p)
	if _, err := d.dst.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// pack compresses p. The compressor has a table of 16 KiB on its stack, which
// would stay with the session's goroutine for long: it gets one of its own.
func pack(out *bytes.Buffer, p, sent []byte) error {
	done := make(chan error)
	go func() {
		var err error
		defer func() {
			if r := recover(); r != nil { // a panic here would end the process
				err = fmt.Errorf("compress: %v", r)
			}
			done <- err
		}()
		err = flate.StatelessDeflate(out, p, false, sent)
	}()
	return <-done
}

// remember keeps the end of what was sent.
func (d *deflate) remember(p []byte) {
	if d.sent == nil {
		d.sent = make([]byte, 0, history)
	}
	p = p[max(0, len(p)-history):]
	if more := len(d.sent) + len(p) - history; more > 0 {
		d.sent = d.sent[:copy(d.sent, d.sent[more:])]
	}
	d.sent = append(d.sent, p...)
}

// close gives back what is borrowed.
func (d *deflate) close() {
	if d != nil {
		d.in.Close() // it cannot fail
	}
}
