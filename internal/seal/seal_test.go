package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func box(t *testing.T, fill byte, purpose string) *Box {
	t.Helper()
	b, err := New(bytes.Repeat([]byte{fill}, 32), purpose)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOpen holds that a secret opens for its owner, under its key and for its
// purpose only, and that the error says nothing of it.
func TestOpen(t *testing.T) {
	const secret = "correct horse battery"
	b := box(t, 1, "relay")
	sealed := b.Seal([]byte(secret), "smarthost", "alice")
	if bytes.Contains(sealed, []byte(secret)) {
		t.Fatal("the secret stands in what was sealed")
	}
	if plain, err := b.Open(sealed, "smarthost", "alice"); err != nil || string(plain) != secret {
		t.Fatalf("Open: %q, %v", plain, err)
	}
	if again := b.Seal([]byte(secret), "smarthost", "alice"); bytes.Equal(again, sealed) {
		t.Error("sealing twice gives the same octets: the nonce is not random")
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)/2] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another owner":   func() ([]byte, error) { return b.Open(sealed, "smarthost", "bob") },
		"parts shifted":   func() ([]byte, error) { return b.Open(sealed, "smarthosta", "lice") },
		"another key":     func() ([]byte, error) { return box(t, 2, "relay").Open(sealed, "smarthost", "alice") },
		"another purpose": func() ([]byte, error) { return box(t, 1, "hook").Open(sealed, "smarthost", "alice") },
		"damaged":         func() ([]byte, error) { return b.Open(flipped, "smarthost", "alice") },
		"cut":             func() ([]byte, error) { return b.Open(sealed[:7], "smarthost", "alice") },
		"empty":           func() ([]byte, error) { return b.Open(nil, "smarthost", "alice") },
		"other version":   func() ([]byte, error) { return b.Open(append([]byte{9}, sealed[1:]...), "smarthost", "alice") },
	} {
		plain, err := open()
		if !errors.Is(err, ErrKey) || plain != nil {
			t.Errorf("%s: %q, %v; want ErrKey", name, plain, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
	if _, err := New([]byte("short"), "relay"); err == nil {
		t.Error("a short key was taken")
	}
}
