package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"posthouse/internal/message"
	"posthouse/mailstore"
	"posthouse/smtp/relay"
)

const (
	prefetchEach = 64 << 10  // octets of a body that is read with others
	prefetchAll  = 256 << 10 // of all bodies read at once for a session
	headerMost   = 64 << 10  // octets looked through for TLS-Required
)

// open gives the content of an item; nothing is read yet.
func (s *Scheduler) open(ctx context.Context, it *item) relay.Content {
	return s.q.store.OpenBody(ctx, it.row())
}

// row is the item as the store knows messages.
func (it *item) row() *mailstore.Message {
	return &mailstore.Message{BlobID: it.blob, Prefix: it.prefix, Size: it.size}
}

// held is a small message in memory.
type held struct{ *bytes.Reader }

func (h held) Size() int64 { return h.Reader.Size() }

// prefetch reads small bodies of a batch in one query, but for those that were
// queued here a moment ago. What it does not give
// is read on demand, and an error shows there.
func (s *Scheduler) prefetch(ctx context.Context, items []*item) map[int64]relay.Content {
	var rows []*mailstore.Message
	ids := map[*mailstore.Message]int64{}
	room := int64(prefetchAll)
	got := make(map[int64]relay.Content, len(items))
	for _, it := range items {
		if body := s.q.fresh.get(it.blob); body != nil && int64(len(it.prefix)+len(body)) == it.size {
			got[it.id] = held{bytes.NewReader(slices.Concat(it.prefix, body))}
			continue
		}
		if it.size > prefetchEach || it.size > room {
			continue
		}
		room -= it.size
		m := it.row()
		rows, ids[m] = append(rows, m), it.id
	}
	if len(rows) < 2 {
		return got
	}
	if err := s.q.store.Bodies(ctx, rows, func(m *mailstore.Message, b *mailstore.BodyReader) error {
		var buf bytes.Buffer
		buf.Grow(int(m.Size))
		if _, err := b.WriteRange(ctx, &buf, 0, m.Size); err != nil {
			return nil // this one is damaged or gone: said when it is its turn
		}
		if int64(buf.Len()) == m.Size {
			got[ids[m]] = held{bytes.NewReader(buf.Bytes())}
		}
		return nil
	}); err != nil {
		s.log.DebugContext(ctx, "bodies were not read together", "event", "queue_prefetch", "err", err)
	}
	return got
}

// tlsOptional reports whether the header says TLS-Required: No (RFC 8689 §5).
// An error is one of reading the message: the first octets are enough to know
// that it is there.
func tlsOptional(c relay.Content) (no bool, err error) {
	header := make([]byte, min(c.Size(), headerMost))
	if n, err := c.ReadAt(header, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(header)) {
		return false, err
	}
	if i := bytes.Index(header, []byte("\r\n\r\n")); i >= 0 {
		header = header[:i+2]
	}
	message.ScanFields(header, func(name, raw []byte) bool {
		if bytes.EqualFold(name, []byte("TLS-Required")) {
			_, value, _ := bytes.Cut(raw, []byte(":"))
			no = bytes.EqualFold(bytes.TrimSpace(value), []byte("No"))
		}
		return !no
	})
	return no, nil
}
