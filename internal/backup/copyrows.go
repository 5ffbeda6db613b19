package backup

import (
	"bufio"
	"encoding/binary"
	"io"
	"slices"
)

// copyMagic begins what COPY gives in binary form.
const copyMagic = "PGCOPY\n\xff\r\n\x00"

// maxField bounds a field of a row, in octets; the largest are frames of bodies
// (256 KiB) and segments of the search index.
const maxField = 256 << 20

// scanner reads rows in PostgreSQL's binary COPY form: a head, then for each row
// the count of its fields and each field's length (-1: NULL) and octets.
type scanner struct {
	from   *bufio.Reader
	fields [][]byte // nil: NULL; good until the next call
	buf    []byte
}

func newScanner(from io.Reader, columns int) (*scanner, error) {
	s := &scanner{from: bufio.NewReaderSize(from, 1<<16), fields: make([][]byte, columns)}
	head := make([]byte, len(copyMagic)+8)
	if _, err := io.ReadFull(s.from, head); err != nil {
		return nil, rowError(err)
	}
	if string(head[:len(copyMagic)]) != copyMagic || binary.BigEndian.Uint64(head[len(copyMagic):]) != 0 {
		return nil, damaged("a table does not begin as COPY does")
	}
	return s, nil
}

func rowError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("a table ends within a row")
	}
	return err
}

// next reads a row; false after the last one.
func (s *scanner) next() (bool, error) {
	var n [4]byte
	if _, err := io.ReadFull(s.from, n[:2]); err != nil {
		return false, rowError(err)
	}
	switch count := int16(binary.BigEndian.Uint16(n[:2])); {
	case count == -1:
		if _, err := s.from.ReadByte(); err != io.EOF {
			return false, damaged("rows behind the end of a table")
		}
		return false, nil
	case int(count) != len(s.fields):
		return false, damaged("a row of %d fields, want %d", count, len(s.fields))
	}
	s.buf = s.buf[:0]
	for i := range s.fields {
		if _, err := io.ReadFull(s.from, n[:]); err != nil {
			return false, rowError(err)
		}
		size := int32(binary.BigEndian.Uint32(n[:]))
		if s.fields[i] = nil; size == -1 {
			continue
		}
		if size < 0 || size > maxField {
			return false, damaged("a field of %d octets", size)
		}
		// A field keeps the array that it was read into, also when the next
		// one needs a larger buffer.
		if cap(s.buf)-len(s.buf) < int(size) {
			s.buf = make([]byte, 0, max(2*cap(s.buf), int(size)))
		}
		from := len(s.buf)
		s.buf = s.buf[:from+int(size)]
		s.fields[i] = s.buf[from:len(s.buf):len(s.buf)]
		if _, err := io.ReadFull(s.from, s.fields[i]); err != nil {
			return false, rowError(err)
		}
	}
	return true, nil
}

// column is where a column stands in the rows of a table.
func (t Table) column(name string) (int, error) {
	i := slices.Index(t.Columns, name)
	if i < 0 {
		return 0, damaged("table %s has no column %s", t.Name, name)
	}
	return i, nil
}

// number reads a bigint, 0 for NULL.
func number(field []byte) int64 {
	if len(field) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(field))
}

// rewriter gives the rows of a table in the form that COPY takes, each changed
// in place first.
type rewriter struct {
	s      *scanner
	change func(fields [][]byte) error
	out    []byte
	rest   []byte
	ended  bool
}

func newRewriter(s *scanner, change func([][]byte) error) *rewriter {
	head := append([]byte(copyMagic), make([]byte, 8)...)
	return &rewriter{s: s, change: change, rest: head}
}

// Read implements io.Reader.
func (w *rewriter) Read(p []byte) (int, error) {
	if len(w.rest) == 0 {
		if w.ended {
			return 0, io.EOF
		}
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func (w *rewriter) fill() error {
	more, err := w.s.next()
	if err != nil {
		return err
	}
	if !more {
		w.ended, w.rest = true, []byte{0xff, 0xff}
		return nil
	}
	if err := w.change(w.s.fields); err != nil {
		return err
	}
	w.out = binary.BigEndian.AppendUint16(w.out[:0], uint16(len(w.s.fields)))
	for _, f := range w.s.fields {
		if f == nil {
			w.out = binary.BigEndian.AppendUint32(w.out, 0xffffffff)
			continue
		}
		w.out = append(binary.BigEndian.AppendUint32(w.out, uint32(len(f))), f...)
	}
	w.rest = w.out
	return nil
}
