package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
)

// Name is where the key's record stands.
func (k Key) Name() string { return k.Selector + "._domainkey." + k.Domain }

// Record is the text of the key's TXT record (RFC 6376 §3.6.1).
func (k Key) Record() string {
	return "v=DKIM1; k=" + k.Algorithm + "; p=" + base64.StdEncoding.EncodeToString(k.public)
}

// publicKey is the public half as it stands in p=.
func publicKey(private crypto.Signer) ([]byte, error) {
	switch pub := private.Public().(type) {
	case *rsa.PublicKey:
		return x509.MarshalPKIXPublicKey(pub)
	case ed25519.PublicKey: // RFC 8463 §4.2: the bare key
		return pub, nil
	}
	return nil, errors.New("a key that DKIM has no name for")
}

// parsePrivate is the inverse of x509.MarshalPKCS8PrivateKey. Errors carry
// nothing of the key.
func parsePrivate(der []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a private key in PKCS #8")
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of type %T", parsed)
	}
	return signer, nil
}
