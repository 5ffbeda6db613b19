// Package seal encrypts what must lie in the database but be of no use to who
// reads the database: private keys, passwords of relays, secrets of webhooks.
//
// A Box is AES-256-GCM under a key that is derived from the site's secret key
// for one purpose (HKDF-SHA256), with random nonces. What a secret belongs to
// is bound as associated data, so that a sealed value moved to another row does
// not open there.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrKey says that a sealed value does not open: it was sealed under another
// secret key, for another owner, or is damaged. It never carries content.
var ErrKey = errors.New("sealed under another secret key, or damaged")

// version is the first octet of every sealed value.
const version = 1

// Box seals for one purpose. It is safe for concurrent use.
type Box struct{ aead cipher.AEAD }

// New derives the Box of a purpose ("posthouse dkim") from the site's secret
// key, at least 32 octets.
func New(siteKey []byte, purpose string) (*Box, error) {
	if len(siteKey) < 32 {
		return nil, fmt.Errorf("seal: secret key of %d octets, want 32", len(siteKey))
	}
	key, err := Derive(siteKey, purpose)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Box{aead}, nil
}

// Derive gives a key of 32 octets for a purpose: for MACs, where a Box is not
// what is needed.
func Derive(siteKey []byte, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, siteKey, nil, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key for %s: %w", purpose, err)
	}
	return key, nil
}

// Seal encrypts plain for its owner; owner are the parts of a name that is
// unique for the purpose.
func (b *Box) Seal(plain []byte, owner ...string) []byte {
	return b.aead.Seal([]byte{version}, nil, plain, bind(owner))
}

// Open decrypts what was sealed for the same owner. ErrKey.
func (b *Box) Open(sealed []byte, owner ...string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return nil, ErrKey
	}
	plain, err := b.aead.Open(nil, nil, sealed[1:], bind(owner))
	if err != nil {
		return nil, ErrKey
	}
	return plain, nil
}

// bind joins parts so that no two lists give the same octets.
func bind(owner []string) []byte {
	var b []byte
	for _, part := range owner {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}
