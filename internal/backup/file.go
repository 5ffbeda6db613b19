package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
)

// workFactor is the exponent of scrypt's cost: 128 MiB and about half a second
// for each try at a passphrase.
const workFactor = 17

const ageMagic = "age-encryption.org/v1\n"

// File is a backup that is being written: aside, until Commit.
type File struct {
	path string
	tmp  *os.File
	buf  *bufio.Writer
	age  io.WriteCloser // nil: not encrypted
}

// NewFile begins a file, of mode 0600, that appears under its name whole or not
// at all. It does not overwrite: fs.ErrExist.
func NewFile(path, passphrase string) (*File, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: os.ErrExist}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	f := &File{path: path, tmp: tmp, buf: bufio.NewWriterSize(tmp, 1<<18)}
	if passphrase == "" {
		return f, nil
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err == nil {
		recipient.SetWorkFactor(workFactor)
		f.age, err = age.Encrypt(f.buf, recipient)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("encrypt the backup: %w", err), f.Discard())
	}
	return f, nil
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	if f.age != nil {
		return f.age.Write(p)
	}
	return f.buf.Write(p)
}

// Commit puts the file under its name, when all of it is on disk. It gives its
// size.
func (f *File) Commit() (int64, error) {
	if err := f.seal(); err != nil {
		return 0, errors.Join(fmt.Errorf("write the backup: %w", err), f.Discard())
	}
	info, err := f.tmp.Stat()
	if err == nil {
		err = f.tmp.Close()
	}
	if err == nil {
		// A link, unlike a rename, does not replace what came there meanwhile.
		if err = os.Link(f.tmp.Name(), f.path); errors.Is(err, errors.ErrUnsupported) || os.IsPermission(err) {
			err = os.Rename(f.tmp.Name(), f.path)
		} else {
			err = errors.Join(err, os.Remove(f.tmp.Name()))
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(f.path))
	}
	if err != nil {
		return 0, fmt.Errorf("finish the backup: %w", err)
	}
	return info.Size(), nil
}

func (f *File) seal() error {
	if f.age != nil {
		if err := f.age.Close(); err != nil {
			return err
		}
	}
	if err := f.buf.Flush(); err != nil {
		return err
	}
	return f.tmp.Sync()
}

// Discard removes what was written.
func (f *File) Discard() error {
	f.tmp.Close() // it may be closed already; it goes in any case
	return os.Remove(f.tmp.Name())
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Source is a backup that can be read, more than once.
type Source struct {
	file       *os.File
	Encrypted  bool
	Size       int64
	passphrase string
}

// Open opens a file. Where it is encrypted, ask gives the passphrase.
// ErrNotBackup, ErrPassphrase.
func Open(path string, ask func() (string, error)) (*Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{file: file}
	if err := s.look(ask); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return s, nil
}

func (s *Source) look(ask func() (string, error)) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	s.Size = info.Size()
	head := make([]byte, len(ageMagic))
	n, err := s.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case string(head[:n]) == ageMagic:
		s.Encrypted = true
		s.passphrase, err = ask()
		return err
	case n >= len(Magic) && string(head[:len(Magic)]) == Magic:
		return nil
	}
	return ErrNotBackup
}

// Close closes the file.
func (s *Source) Close() error { return s.file.Close() }

// read starts over at the first frame and gives the manifest.
func (s *Source) read() (*reader, *Manifest, error) {
	var from io.Reader = bufio.NewReaderSize(io.NewSectionReader(s.file, 0, s.Size), 1<<18)
	if s.Encrypted {
		identity, err := age.NewScryptIdentity(s.passphrase)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
		}
		if from, err = age.Decrypt(from, identity); err != nil {
			var none *age.NoIdentityMatchError
			if errors.As(err, &none) {
				return nil, nil, ErrPassphrase
			}
			return nil, nil, damaged("its encryption: %w", err)
		}
	}
	r, err := newReader(from)
	if err != nil {
		return nil, nil, err
	}
	var m Manifest
	if err := r.want(kindManifest, &m); err != nil {
		r.close()
		return nil, nil, err
	}
	return r, &m, nil
}

// Manifest reads what the backup is of, without looking at the rest.
func (s *Source) Manifest() (*Manifest, error) {
	r, m, err := s.read()
	if err != nil {
		return nil, err
	}
	r.close()
	return m, nil
}
