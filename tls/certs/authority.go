// Package certs provides the certificates of every listener. Today they come
// from a local authority that is kept in a folder, so that clients which were
// told to trust it go on doing so after a restart. TLS 1.2 and later, with
// forward secrecy and authenticated encryption only.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// authorityLeft is what the authority must still have to live at a start;
	// after that a new one is made, and clients have to be told again.
	authorityLeft = 180 * 24 * time.Hour
	// clockSkew dates certificates back, for clients whose clock is behind.
	clockSkew = time.Hour
)

// authority is a certificate authority of our own.
type authority struct {
	file string // of the certificate
	cert *x509.Certificate
	key  crypto.Signer
}

// openAuthority reads the authority in dir, or makes one where there is none or
// where its life is nearly over.
func openAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	file := filepath.Join(dir, "ca.pem")
	a, err := readAuthority(file)
	if err == nil && time.Until(a.cert.NotAfter) > authorityLeft {
		return a, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("local CA %s: %w; remove the folder to have a new one made", dir, err)
	}
	if err := makeAuthority(file); err != nil {
		return nil, fmt.Errorf("local CA %s: %w", dir, err)
	}
	// Read back: of two nodes that start on one folder at once, one made it.
	return readAuthority(file)
}

func keyFile(file string) string { return file[:len(file)-len(filepath.Ext(file))] + "-key.pem" }

func readAuthority(file string) (*authority, error) {
	certPEM, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile(file))
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block(certPEM, "CERTIFICATE"))
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block(keyPEM, "PRIVATE KEY"))
	if err != nil {
		return nil, err
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the key does not belong to the certificate")
	}
	return &authority{file: file, cert: cert, key: signer}, nil
}

// block is the content of the first PEM block when it is of the type asked for;
// nil does not parse as anything.
func block(text []byte, kind string) []byte {
	if b, _ := pem.Decode(text); b != nil && b.Type == kind {
		return b.Bytes
	}
	return nil
}

func makeAuthority(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"Posthouse"}, CommonName: "Posthouse local CA on " + host},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key comes first: a certificate without its key would have to be
	// explained, a key without a certificate is overwritten at the next start.
	if err := replace(keyFile(file), "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	return replace(file, "CERTIFICATE", der, 0o644)
}

// replace writes a file that appears whole or not at all.
func replace(file, kind string, der []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // RFC 5280 §4.1.2.2: positive
	return new(big.Int).SetBytes(b)
}
