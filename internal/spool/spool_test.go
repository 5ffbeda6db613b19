package spool

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"testing"
)

func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, 100, 101, 5000} {
		dir := t.TempDir()
		s := New(dir, 100)
		want := bytes.Repeat([]byte("x\r\n"), size/3+1)[:size]
		for rest := want; len(rest) > 0; {
			n := min(37, len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		got, err := io.ReadAll(s.NewReader())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d octets: read %d, %v", size, len(got), err)
		}
		if s.Sum() != sha256.Sum256(want) || s.Size() != int64(size) {
			t.Errorf("%d octets: wrong sum or size %d", size, s.Size())
		}
		if _, inMemory := s.Bytes(); inMemory != (size <= 100) {
			t.Errorf("%d octets: in memory %v", size, inMemory)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%d octets: a file stands in the folder: %v", size, left)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSpoolWithoutFolder(t *testing.T) {
	s := New("/nonexistent/folder", 10)
	if _, err := s.Write(make([]byte, 11)); err == nil {
		t.Error("no error for a folder that is not there")
	}
}
