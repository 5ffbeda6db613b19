package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	headSize  = 14
	frameData = 1 << 20  // octets of rows in a frame
	frameMost = 64 << 20 // of any frame: a manifest of half a million accounts
)

// Kinds of frames.
const (
	kindManifest  = 'M'
	kindTable     = 'T'
	kindData      = 'D'
	kindTableEnd  = 'E'
	kindSequences = 'S'
	kindEnd       = 'Z'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writer makes a container. It holds one frame.
type writer struct {
	to  io.Writer
	sum hash.Hash // of the file so far
	zip *zstd.Encoder
	buf []byte // packed
	n   int64  // octets written
}

func newWriter(to io.Writer) (*writer, error) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(frameData))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	w := &writer{to: to, sum: sha256.New(), zip: zip}
	return w, w.put([]byte(Magic))
}

func (w *writer) put(p []byte) error {
	w.sum.Write(p)
	w.n += int64(len(p))
	if _, err := w.to.Write(p); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

func (w *writer) frame(kind byte, payload []byte) error {
	codec, stored := byte(0), payload
	if kind != kindEnd {
		w.buf = w.zip.EncodeAll(payload, w.buf[:0])
		if len(w.buf) < len(payload) {
			codec, stored = 1, w.buf
		}
	}
	if len(payload) > frameMost {
		return fmt.Errorf("backup: a frame of %d octets", len(payload))
	}
	head := [headSize]byte{0: kind, 1: codec}
	binary.BigEndian.PutUint32(head[2:], uint32(len(payload)))
	binary.BigEndian.PutUint32(head[6:], uint32(len(stored)))
	binary.BigEndian.PutUint32(head[10:], crc32.Update(crc32.Checksum(head[:10], castagnoli), castagnoli, stored))
	if err := w.put(head[:]); err != nil {
		return err
	}
	return w.put(stored)
}

func (w *writer) json(kind byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return w.frame(kind, text)
}

// end writes the last frame.
func (w *writer) end() error { return w.frame(kindEnd, w.sum.Sum(nil)) }

// section cuts the rows of a table into frames.
type section struct {
	w   *writer
	buf []byte
	sum hash.Hash
	n   int64
}

func (w *writer) begin(t Table) (*section, error) {
	return &section{w: w, buf: make([]byte, 0, frameData), sum: sha256.New()}, w.json(kindTable, t)
}

// Write implements io.Writer.
func (s *section) Write(p []byte) (int, error) {
	s.sum.Write(p)
	s.n += int64(len(p))
	for rest := p; len(rest) > 0; {
		k := min(len(rest), frameData-len(s.buf))
		s.buf, rest = append(s.buf, rest[:k]...), rest[k:]
		if len(s.buf) == frameData {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (s *section) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	err := s.w.frame(kindData, s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *section) end(rows int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.w.json(kindTableEnd, TableEnd{Rows: rows, Bytes: s.n, SHA256: s.sum.Sum(nil)})
}

// reader reads a container, and believes nothing of it unchecked. It holds one
// frame.
type reader struct {
	from   io.Reader
	sum    hash.Hash
	unzip  *zstd.Decoder
	stored []byte
	raw    []byte
	n      int64 // octets read
	ended  bool
}

func newReader(from io.Reader) (*reader, error) {
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(frameMost))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	r := &reader{from: from, sum: sha256.New(), unzip: unzip}
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(from, magic); err != nil || !bytes.Equal(magic, []byte(Magic)) {
		unzip.Close()
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, r.broken(err)
		}
		return nil, ErrNotBackup
	}
	r.sum.Write(magic)
	r.n = int64(len(magic))
	return r, nil
}

func (r *reader) close() { r.unzip.Close() }

// broken says what a failed read means.
func (r *reader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it ends after %d octets, in the middle", r.n)
	}
	return damaged("after %d octets: %w", r.n, err)
}

// next gives the next frame, io.EOF behind a good end. The payload is good
// until the next call.
func (r *reader) next() (kind byte, payload []byte, err error) {
	if r.ended {
		return 0, nil, io.EOF
	}
	var head [headSize]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return 0, nil, r.broken(err)
	}
	raw, stored := binary.BigEndian.Uint32(head[2:]), binary.BigEndian.Uint32(head[6:])
	if raw > frameMost || stored > raw || head[1] > 1 || head[1] == 0 && stored != raw {
		return 0, nil, damaged("a frame's head after %d octets makes no sense", r.n)
	}
	if uint32(cap(r.stored)) < stored {
		r.stored = make([]byte, stored)
	}
	r.stored = r.stored[:stored]
	if _, err := io.ReadFull(r.from, r.stored); err != nil {
		return 0, nil, r.broken(err)
	}
	if crc32.Update(crc32.Checksum(head[:10], castagnoli), castagnoli, r.stored) != binary.BigEndian.Uint32(head[10:]) {
		return 0, nil, damaged("the frame after %d octets does not match its checksum", r.n)
	}
	if head[0] == kindEnd {
		return kindEnd, nil, r.end(r.stored)
	}
	r.sum.Write(head[:])
	r.sum.Write(r.stored)
	r.n += headSize + int64(stored)
	if head[1] == 0 {
		return head[0], r.stored, nil
	}
	r.raw, err = r.unzip.DecodeAll(r.stored, r.raw[:0])
	if err != nil || len(r.raw) != int(raw) {
		return 0, nil, damaged("the frame before octet %d does not unpack to %d octets (%v)", r.n, raw, err)
	}
	return head[0], r.raw, nil
}

// end checks the sum of the whole file, and that nothing follows.
func (r *reader) end(sum []byte) error {
	if !bytes.Equal(sum, r.sum.Sum(nil)) {
		return damaged("the file does not match its digest")
	}
	var more [1]byte
	switch _, err := io.ReadFull(r.from, more[:]); {
	case err == nil:
		return damaged("there is something behind its end")
	case !errors.Is(err, io.EOF):
		return r.broken(err)
	}
	r.ended = true
	return nil
}

// want reads a frame of one kind into v.
func (r *reader) want(kind byte, v any) error {
	got, payload, err := r.next()
	if err != nil {
		return err
	}
	if got != kind {
		return damaged("frame %q where %q belongs", got, kind)
	}
	return r.decode(payload, v)
}

func (r *reader) decode(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return damaged("after %d octets: %v", r.n, err)
	}
	return nil
}

// rows reads the D frames of a table and checks them against its end.
type rows struct {
	r    *reader
	rest []byte
	sum  hash.Hash
	n    int64
	end  *TableEnd
}

func (r *reader) rows() *rows { return &rows{r: r, sum: sha256.New()} }

// Read implements io.Reader.
func (s *rows) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.end != nil {
			return 0, io.EOF
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *rows) fill() error {
	kind, payload, err := s.r.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return damaged("it ends within a table")
		}
		return err
	}
	switch kind {
	case kindData:
		s.rest = payload
		s.sum.Write(payload)
		s.n += int64(len(payload))
		return nil
	case kindTableEnd:
		var end TableEnd
		if err := s.r.decode(payload, &end); err != nil {
			return err
		}
		if end.Bytes != s.n || !bytes.Equal(end.SHA256, s.sum.Sum(nil)) {
			return damaged("a table does not match its digest")
		}
		s.end = &end
		return nil
	}
	return damaged("frame %q within a table", kind)
}

// finish reads what is left of the table.
func (s *rows) finish() (TableEnd, error) {
	for s.end == nil {
		if err := s.fill(); err != nil {
			return TableEnd{}, err
		}
	}
	return *s.end, nil
}
