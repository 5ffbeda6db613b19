package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
)

// BodyReader reads the octets of one message: its prefix, then its body. It
// fetches only the frames needed, holds one of them, and no connection between
// calls. It is for one goroutine.
type BodyReader struct {
	ctx    context.Context
	s      *Store
	blob   int64
	prefix []byte
	size   int64 // prefix included

	frame int // number of the frame held; -1: none
	data  []byte
}

// OpenBody makes a reader of a message read with FieldPrefix. Nothing is
// fetched before the first read, so there is nothing to close. ctx bounds the
// reads of ReadAt.
func (s *Store) OpenBody(ctx context.Context, m *Message) *BodyReader {
	return &BodyReader{ctx: ctx, s: s, blob: m.BlobID, prefix: m.Prefix, size: m.Size, frame: -1}
}

// Size is the number of octets, prefix included.
func (b *BodyReader) Size() int64 { return b.size }

// ReadAt implements io.ReaderAt.
func (b *BodyReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		piece, err := b.piece(b.ctx, off+int64(n))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], piece)
	}
	return n, nil
}

// WriteRange writes n octets from off to w, or up to the end.
func (b *BodyReader) WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	var written int64
	for written < n {
		piece, err := b.piece(ctx, off+written)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return written, err
		}
		k, err := w.Write(piece[:min(int64(len(piece)), n-written)])
		written += int64(k)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// piece gives the octets from off to the end of what holds them: the prefix or
// a frame. They are valid until the next call. io.EOF at the end.
func (b *BodyReader) piece(ctx context.Context, off int64) ([]byte, error) {
	switch {
	case off < 0:
		return nil, fmt.Errorf("mailstore: offset %d", off)
	case off >= b.size:
		return nil, io.EOF
	case off < int64(len(b.prefix)):
		return b.prefix[off:], nil
	}
	off -= int64(len(b.prefix))
	if err := b.fetch(ctx, int(off/frameSize)); err != nil {
		return nil, err
	}
	if off %= frameSize; off < int64(len(b.data)) {
		return b.data[off:], nil
	}
	return nil, fmt.Errorf("mailstore: body %d is shorter than its message says", b.blob)
}

// fetch makes frame n the one that is held.
func (b *BodyReader) fetch(ctx context.Context, n int) error {
	if n == b.frame {
		return nil
	}
	var z []byte
	err := b.s.pool.QueryRow(ctx, `SELECT data FROM blob_chunk WHERE blob_id = $1 AND seq = $2`, b.blob, n).Scan(&z)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read body %d: %w", b.blob, ErrGone)
	}
	if err != nil {
		return dbError("read a body", err)
	}
	b.frame = -1
	if b.data, err = decoder.DecodeAll(z, b.data[:0]); err != nil {
		return fmt.Errorf("decode frame %d of body %d: %w", n, b.blob, err)
	}
	b.frame = n
	return nil
}

// Bodies fetches the bodies of several small messages in one round trip, for a
// FETCH of many: yield gets a reader for each, in order. Those larger than one
// frame are read on demand. Memory is bounded by the caller's number of
// messages times the frame size; pass at most a few dozen.
func (s *Store) Bodies(ctx context.Context, msgs []*Message, yield func(*Message, *BodyReader) error) error {
	ids := make([]int64, len(msgs))
	for i, m := range msgs {
		ids[i] = m.BlobID
	}
	rows, err := s.pool.Query(ctx, `SELECT blob_id, data FROM blob_chunk WHERE blob_id = ANY($1) AND seq = 0`, ids)
	if err != nil {
		return dbError("read bodies", err)
	}
	first := make(map[int64][]byte, len(msgs))
	var id int64
	var z []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &z}, func() error {
		first[id] = z
		z = nil
		return nil
	}); err != nil {
		return dbError("read bodies", err)
	}
	var data []byte
	for _, m := range msgs {
		b := s.OpenBody(ctx, m)
		if z, ok := first[m.BlobID]; ok {
			if data, err = decoder.DecodeAll(z, data[:0]); err != nil {
				return fmt.Errorf("decode body %d: %w", m.BlobID, err)
			}
			b.frame, b.data = 0, data
		}
		if err := yield(m, b); err != nil {
			return err
		}
		data = b.data[:0]
	}
	return nil
}
