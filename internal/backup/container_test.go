package backup

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a small container with one table of two rows.
func sample(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.json(kindManifest, Manifest{Hostname: "mail.example.test", Schema: 7}); err != nil {
		t.Fatal(err)
	}
	s, err := w.begin(Table{"thing", []string{"id", "text"}})
	if err != nil {
		t.Fatal(err)
	}
	rows := copyMagic + "\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x02\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03one" +
		"\x00\x02\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff\xff\xff" + "\xff\xff"
	if _, err := s.Write([]byte(rows)); err != nil {
		t.Fatal(err)
	}
	if err := s.end(2); err != nil {
		t.Fatal(err)
	}
	if err := w.json(kindSequences, []Sequence{{"thing_id", 2, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(t *testing.T, content []byte, passphrase string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, func() (string, error) { return passphrase, nil })
	if err != nil {
		return err
	}
	defer s.Close()
	_, counts, f, err := s.Verify(t.Context(), nil)
	if err == nil && (len(counts) != 1 || f.Rows != 2) {
		t.Errorf("verified %v, %+v", counts, f)
	}
	return err
}

// Whatever octet is changed, wherever it is cut, and what is put behind it: all
// is found.
func TestDamageIsFound(t *testing.T) {
	good := sample(t)
	if err := verify(t, good, ""); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		err := verify(t, bad, "")
		if i < len(Magic) && !errors.Is(err, ErrNotBackup) || i >= len(Magic) && !errors.Is(err, ErrDamaged) {
			t.Errorf("octet %d of %d changed: %v", i, len(good), err)
		}
		if err := verify(t, good[:i], ""); err == nil {
			t.Errorf("cut after %d of %d octets: not found", i, len(good))
		}
	}
	if err := verify(t, append(bytes.Clone(good), 0), ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("an octet more: %v", err)
	}
}

func TestEncryptedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup")
	f, err := NewFile(path, "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(sample(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there before it is whole: %v", err)
	}
	if _, err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := NewFile(path, ""); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "example.test") {
		t.Error("the manifest can be read")
	}
	if err := verify(t, content, "open sesame"); err != nil {
		t.Error(err)
	}
	if err := verify(t, content, "open barley"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	bad := bytes.Clone(content)
	bad[len(bad)-20] ^= 4
	if err := verify(t, bad, "open sesame"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a changed octet: %v", err)
	}
	if err := verify(t, content[:len(content)-1], "open sesame"); err == nil {
		t.Error("a cut file is not found")
	}
}

// The rows that a rewriter does not change are what they were.
func TestRewriterKeepsRows(t *testing.T) {
	r, err := newReader(bytes.NewReader(sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var m Manifest
	if err := r.want(kindManifest, &m); err != nil {
		t.Fatal(err)
	}
	seen := 0
	if _, err := r.tables(func(table Table, rows *rows) error {
		s, err := newScanner(rows, len(table.Columns))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		w := newRewriter(s, func(f [][]byte) error {
			seen++
			if number(f[0]) != int64(seen) || (f[1] == nil) != (seen == 2) {
				t.Errorf("row %d: %q", seen, f)
			}
			return nil
		})
		if _, err := out.ReadFrom(w); err != nil {
			return err
		}
		if end, err := rows.finish(); err != nil || end.Bytes != int64(out.Len()) {
			t.Errorf("%d octets, want %d (%v)", out.Len(), end.Bytes, err)
		}
		return nil
	}); err != nil || seen != 2 {
		t.Fatalf("%d rows, %v", seen, err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := newReader(bytes.NewReader(content))
		if err != nil {
			return
		}
		defer r.close()
		r.tables(func(table Table, rows *rows) error {
			s, err := newScanner(rows, len(table.Columns))
			for more := err == nil; more; {
				if more, err = s.next(); err != nil {
					return err
				}
			}
			return err
		})
	})
}
