package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// SecretKeySize is the size of a site's secret key in octets.
const SecretKeySize = 32

// OpenSecretKey reads the key from its file, or makes one where there is none.
// It refuses a file that others than its owner can read.
func OpenSecretKey(file string) ([]byte, error) {
	key, err := readSecretKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, SecretKeySize)
	rand.Read(key)
	err = WriteSecret(file, []byte(hex.EncodeToString(key)+"\n"))
	if errors.Is(err, fs.ErrExist) { // another node on the same folder was first
		return readSecretKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("make the secret key: %w", err)
	}
	return key, nil
}

func readSecretKey(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, errorf("the secret key %s can be read by others (mode %04o): run chmod 600 on it", file, mode)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, errorf("read the secret key: %v", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != SecretKeySize {
		return nil, errorf("the secret key %s is damaged: it must hold %d hexadecimal digits; restore it from a backup", file, 2*SecretKeySize)
	}
	return key, nil
}

// WriteSecret makes a file of mode 0600 that appears whole or not at all, also
// after a crash. It does not overwrite: fs.ErrExist.
func WriteSecret(file string, content []byte) error {
	tmp, err := writeAside(file, content)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	return os.Link(tmp, file)
}

// ReplaceSecret is WriteSecret that overwrites.
func ReplaceSecret(file string, content []byte) error {
	tmp, err := writeAside(file, content)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

func writeAside(file string, content []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
