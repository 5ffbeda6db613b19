package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"posthouse/internal/mail"
)

const (
	oneChunk  = 256 << 10 // content up to this size goes by one BDAT, where it is offered
	lastChunk = 64 << 10  // of binary content: what is held back until the queue has spoken
	slowest   = 1 << 10   // octets a second that a host must take, beside the timeout of a block
)

// chunked decides between BDAT (RFC 3030) and DATA. BDAT tells the size ahead,
// so what may have to be normalised on the way goes by DATA unless it is small
// enough to be done before.
func (t *transaction) chunked() bool {
	switch {
	case t.s.route.LMTP || !t.s.ext.chunking:
		return false
	case t.p.binary:
		return true
	}
	return t.p.content.Size() <= oneChunk
}

// data sends content behind a 354.
func (t *transaction) data() {
	l := newLines(t.s.bw, true)
	if !t.copy(l, reader(t.p.content)) {
		return
	}
	if !t.commit() {
		return
	}
	err := l.close()
	if err == nil {
		_, err = t.s.bw.WriteString(".\r\n")
	}
	t.flush(err)
}

var chunks = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// chunk sends content by BDAT.
func (t *transaction) chunk() {
	content := reader(t.p.content)
	if t.p.binary {
		if first := content.Size() - lastChunk; content.Size() > oneChunk {
			if !t.first(io.LimitReader(content, first), first) {
				return
			}
		}
	}
	buf := chunks.Get().(*bytes.Buffer)
	defer chunks.Put(buf)
	buf.Reset()
	var w io.Writer = buf
	if !t.p.binary {
		w = newLines(buf, false)
	}
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	_, err := io.CopyBuffer(w, struct{ io.Reader }{content}, block[:])
	if l, ok := w.(*lines); ok && err == nil {
		err = l.close()
	}
	if err != nil {
		t.broken(unreadable(err))
		return
	}
	if !t.commit() {
		return
	}
	t.s.deadline(t.patience(int64(buf.Len())))
	t.s.line("BDAT ", strconv.Itoa(buf.Len()), " LAST")
	_, err = t.s.bw.Write(buf.Bytes())
	t.flush(err)
}

// first sends a chunk that is not the last, and waits for its reply.
func (t *transaction) first(r io.Reader, size int64) bool {
	s := t.s
	s.line("BDAT ", strconv.FormatInt(size, 10))
	if !t.copy(s.bw, r) {
		return false
	}
	if failure := s.read(StageBody, s.r.Timeouts.Dot); failure != nil {
		t.end(t.accepted, failure.Result)
		return false
	}
	if s.reply.class() != 2 {
		s.dirty = true
		t.end(t.accepted, s.refused(StageBody).Result)
		return false
	}
	return true
}

// copy streams content, each block within its timeout and all of it at a pace
// that ends. When it cannot, the connection and the transaction are over.
func (t *transaction) copy(w io.Writer, content io.Reader) bool {
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	late := time.Now().Add(t.patience(t.p.content.Size()))
	for {
		n, err := io.ReadFull(content, block[:])
		if n > 0 {
			t.s.deadline(min(t.s.r.Timeouts.Block, time.Until(late)))
			if _, err := w.Write(block[:n]); err != nil {
				t.unsent(err)
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return true
		case err != nil:
			t.broken(unreadable(err))
			return false
		}
	}
}

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

func (t *transaction) patience(size int64) time.Duration {
	return t.s.r.Timeouts.Block + time.Duration(size/slowest)*time.Second
}

// commit asks whether the message may still be sent.
func (t *transaction) commit() bool {
	if t.p.Commit == nil {
		return true
	}
	if err := t.p.Commit(t.ctx); err != nil {
		t.broken(&refusal{Deferred, mail.Enhanced{4, 3, 0}, "it was not ours to send any more: " + err.Error()})
		return false
	}
	return true
}

// broken ends a transaction half-way for a reason of ours: only a connection
// that closes keeps what was sent from being taken for the message.
func (t *transaction) broken(why *refusal) {
	t.end(t.accepted, Result{Outcome: why.outcome, Stage: StageBody, Enhanced: why.enhanced, Text: printable(why.text)})
	t.s.hangUp()
}

// unsent ends a transaction whose content did not get through. The host may
// have said why.
func (t *transaction) unsent(err error) {
	s := t.s
	s.usable = false
	s.deadline(min(s.r.Timeouts.Block, time.Second))
	if s.ctx.Err() == nil && readReply(s.br, &s.reply) == nil && s.reply.code >= 400 {
		s.usable = false
		t.end(t.accepted, s.refused(StageBody).Result)
		s.hangUp()
		return
	}
	t.end(t.accepted, s.lost(StageBody, s.r.Timeouts.Block, err).Result)
	s.hangUp()
}

// flush sends the end of the content, and reads what became of it.
func (t *transaction) flush(err error) {
	s := t.s
	if err == nil {
		s.deadline(t.patience(int64(s.bw.Buffered())))
		err = s.bw.Flush()
	}
	if err != nil { // not all of it went out, and so not the end
		t.unsent(err)
		return
	}
	if !s.route.LMTP {
		if res, ok := t.outcome(); ok {
			t.end(t.accepted, res)
		} else {
			t.lostEnd(t.accepted, res)
		}
		return
	}
	for n, i := range t.accepted { // RFC 2033 §4.2: a reply for each
		res, ok := t.outcome()
		if !ok {
			t.lostEnd(t.accepted[n:], res)
			return
		}
		t.end([]int{i}, res)
	}
}

// outcome reads one reply to the end of the content; not ok: none came.
func (t *transaction) outcome() (Result, bool) {
	s := t.s
	if failure := s.read(StageDot, s.r.Timeouts.Dot); failure != nil {
		return failure.Result, false
	}
	if s.reply.class() == 2 {
		return s.result(Delivered, StageDot), true
	}
	return s.refused(StageDot).Result, true
}

// lostEnd: the message was sent whole, and nobody knows more.
func (t *transaction) lostEnd(of []int, res Result) {
	res.Outcome = Ambiguous
	res.Text = printable(fmt.Sprintf("the message was sent, and no reply came: %s", res.Text))
	t.end(of, res)
	t.s.hangUp()
}
