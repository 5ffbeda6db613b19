package nexthop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"
)

// CA issues certificates for next hops.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a certificate authority of its own.
func NewCA() *CA {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "nexthop test CA"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return &CA{Cert: sign(template, template, key, key), key: key}
}

// Pool trusts this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// PEM is the authority's certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})
}

// Config serves a valid certificate for names and addresses.
func (ca *CA) Config(names ...string) *tls.Config { return config(ca.Issue(time.Hour, names...)) }

// Expired serves a certificate that ended an hour ago.
func (ca *CA) Expired(names ...string) *tls.Config { return config(ca.Issue(-time.Hour, names...)) }

// SelfSigned serves a certificate that nobody vouches for.
func SelfSigned(names ...string) *tls.Config {
	key := newKey()
	template := leaf(time.Hour, names)
	return config(tls.Certificate{Certificate: [][]byte{sign(template, template, key, key).Raw}, PrivateKey: key})
}

// Issue makes a certificate that is good for as long. The authority's stands
// behind it in the chain.
func (ca *CA) Issue(good time.Duration, names ...string) tls.Certificate {
	key := newKey()
	cert := sign(leaf(good, names), ca.Cert, key, ca.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw, ca.Cert.Raw}, PrivateKey: key, Leaf: cert}
}

// PEM are the chain and the key of a certificate, as programs read them from
// files.
func PEM(c tls.Certificate) (chain, key []byte) {
	for _, raw := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TLSA is the DANE record of the certificate that a Config of this package
// serves, usage 3 (the host's own key) or 2 (the authority's), selector 1,
// SHA-256: "_25._tcp.mx.example.test. TLSA 3 1 1 …". The name is the host's.
func TLSA(host string, port uint16, usage int, c *tls.Config) string {
	chain := c.Certificates[0].Certificate
	raw := chain[0]
	if usage == 2 {
		raw = chain[len(chain)-1]
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return fmt.Sprintf("_%d._tcp.%s. TLSA %d 1 1 %s", port, host, usage, hex.EncodeToString(sum[:]))
}

// NoHandshake is a server that ends every handshake with an alert.
func NoHandshake(t testing.TB) *tls.Config {
	t.Helper()
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, fmt.Errorf("no certificate today")
	}}
}

func config(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }

func leaf(good time.Duration, names []string) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(good),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return template
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	return n
}

func sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}
