// Package spool keeps a message body while it is received: in memory up to a
// bound, then in an unlinked temporary file, hashed as it streams. SMTP, LMTP
// and APPEND write it; the parser and the mailstore read it at any offset.
package spool

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
)

// Memory is the default bound of what a body takes in memory, in octets.
const Memory = 256 << 10

// Spool is one body. It is written once, by one goroutine, and may then be read
// by several. Close it when done.
type Spool struct {
	dir    string
	memory int
	buf    []byte
	file   *os.File // nil while the body fits the memory
	size   int64
	sum    hash.Hash
}

// New makes an empty spool. A body larger than memory octets goes to a file in
// dir (the system's temporary folder when empty).
func New(dir string, memory int) *Spool {
	return &Spool{dir: dir, memory: memory, sum: sha256.New()}
}

// Write appends to the body. An error (a full disk) leaves the spool unusable.
func (s *Spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.buf)+len(p) > s.memory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file == nil {
		s.buf = append(s.buf, p...)
	} else if _, err := s.file.Write(p); err != nil {
		return 0, fmt.Errorf("spool a body: %w", err)
	}
	s.sum.Write(p)
	s.size += int64(len(p))
	return len(p), nil
}

// spill moves the body to a file. The file is unlinked at once, so that not
// even kill -9 leaves it behind.
func (s *Spool) spill() error {
	f, err := os.CreateTemp(s.dir, "posthouse-spool-*")
	if err != nil {
		return fmt.Errorf("spool a body: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return fmt.Errorf("spool a body: %w", err)
	}
	if _, err := f.Write(s.buf); err != nil {
		f.Close()
		return fmt.Errorf("spool a body: %w", err)
	}
	s.file, s.buf = f, nil
	return nil
}

// Size is the number of octets written.
func (s *Spool) Size() int64 { return s.size }

// Sum is the SHA-256 of what was written.
func (s *Spool) Sum() (sum [32]byte) {
	s.sum.Sum(sum[:0])
	return sum
}

// Bytes is the whole body when it is held in memory.
func (s *Spool) Bytes() ([]byte, bool) { return s.buf, s.file == nil }

// ReadAt implements io.ReaderAt.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	return bytes.NewReader(s.buf).ReadAt(p, off)
}

// NewReader reads the body from its start.
func (s *Spool) NewReader() *io.SectionReader { return io.NewSectionReader(s, 0, s.size) }

// Close gives the memory and the file back.
func (s *Spool) Close() error {
	s.buf = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
