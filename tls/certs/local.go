package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	leafLife = 90 * 24 * time.Hour
	leafLeft = 30 * 24 * time.Hour // renewed when less is left
	// maxDomains are named in the certificate that is shown to clients which
	// name no server; domains beyond get one of their own when asked for.
	maxDomains = 50
	// maxLeaves bounds the certificates held in memory.
	maxLeaves = 1000
	// namesAge is how long the list of domains is believed when a client asks
	// for a name that is not in it.
	namesAge  = 2 * time.Second
	namesWait = time.Second
)

// servicePrefixes are the names that clients derive from a mail domain.
var servicePrefixes = []string{"mail.", "autoconfig.", "autodiscover.", "mta-sts."}

// Local issues certificates from an authority in a folder.
type Local struct {
	authority *authority
	hosts     []string // host names and addresses in every default certificate
	domains   func(context.Context) ([]string, error)
	log       *slog.Logger

	mu     sync.Mutex
	names  []string // local domains, sorted, as of asked
	asked  time.Time
	leaves map[string]*tls.Certificate // by domain; "" is the default
}

// OpenLocal opens the authority in dir and issues the default certificate for
// localhost, the loopback addresses, hostname, and the local domains with the
// names that clients derive from them. domains lists these; it is asked again
// when a client names a server that is not covered, and when a certificate is
// renewed, so that a new domain needs no restart.
func OpenLocal(ctx context.Context, dir, hostname string, domains func(context.Context) ([]string, error), log *slog.Logger) (*Local, error) {
	a, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	l := &Local{
		authority: a,
		hosts:     []string{"localhost", "127.0.0.1", "::1"},
		domains:   domains,
		log:       log,
		leaves:    make(map[string]*tls.Certificate),
	}
	if hostname != "localhost" {
		l.hosts = append(l.hosts, hostname)
	}
	l.refresh(ctx)
	if _, err := l.leaf(""); err != nil {
		return nil, err
	}
	return l, nil
}

// File is the authority's certificate in PEM, for clients to trust.
func (l *Local) File() string { return l.authority.file }

// Config is the TLS configuration of a listener; protos are offered by ALPN.
func (l *Local) Config(protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   suites,
		GetCertificate: l.get,
		NextProtos:     protos,
	}
}

// suites for TLS 1.2: forward secrecy and AEAD (RFC 9325 §4.2); 1.3 has no
// others.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// get chooses the certificate of a handshake.
func (l *Local) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	l.mu.Lock()
	defer l.mu.Unlock()
	cert, err := l.leaf("")
	if err != nil || name != "" && cert.Leaf.VerifyHostname(name) == nil {
		return cert, err
	}
	domain, known := l.domainOf(name)
	if !known && time.Since(l.asked) > namesAge {
		l.refresh(hello.Context())
		domain, known = l.domainOf(name)
	}
	if cert, err = l.leaf(""); err != nil || !known || cert.Leaf.VerifyHostname(name) == nil {
		return cert, err // a client decides itself what it thinks of a name unknown here
	}
	return l.leaf(domain)
}

// domainOf finds the local domain that name belongs to.
func (l *Local) domainOf(name string) (string, bool) {
	if _, ok := slices.BinarySearch(l.names, name); ok {
		return name, true
	}
	for _, p := range servicePrefixes {
		if rest, cut := strings.CutPrefix(name, p); cut {
			_, ok := slices.BinarySearch(l.names, rest)
			return rest, ok
		}
	}
	return "", false
}

// refresh asks for the domains; when that fails the last answer stands. Other
// handshakes wait meanwhile, so it is short.
func (l *Local) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, namesWait)
	defer cancel()
	defer func() { l.asked = time.Now() }()
	names, err := l.domains(ctx)
	if err != nil {
		l.log.Warn("list the domains for the certificate", "event", "certificate", "err", err)
		return
	}
	names = slices.Clone(names)
	slices.Sort(names)
	if !slices.Equal(names, l.names) {
		l.names = names
		clear(l.leaves)
	}
}

// leaf is the certificate of one domain, issued when there is none or its life
// is nearly over.
func (l *Local) leaf(domain string) (*tls.Certificate, error) {
	if c := l.leaves[domain]; c != nil && time.Until(c.Leaf.NotAfter) > leafLeft {
		return c, nil
	}
	var names []string
	if domain != "" {
		names = withServices(nil, domain)
	} else {
		names = append(names, l.hosts...)
		for _, d := range l.names[:min(len(l.names), maxDomains)] {
			names = withServices(names, d)
		}
	}
	cert, err := l.authority.issue(names)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", names[0], err)
	}
	if len(l.leaves) >= maxLeaves {
		clear(l.leaves)
	}
	l.leaves[domain] = cert
	l.log.Debug("certificate issued", "event", "certificate", "names", names, "until", cert.Leaf.NotAfter)
	return cert, nil
}

func withServices(names []string, domain string) []string {
	names = append(names, domain)
	for _, p := range servicePrefixes {
		names = append(names, p+domain)
	}
	return names
}

// issue signs a server certificate for names, which may be addresses.
func (a *authority) issue(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Posthouse"}},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(names[0]) <= 64 { // ub-common-name of RFC 5280
		// RFC 9525 wants names in the SAN only, but fetchmail 6.4 refuses a
		// certificate without a common name before it looks there.
		template.Subject.CommonName = names[0]
	}
	seen := make(map[string]bool, len(names))
	for _, n := range names {
		if seen[n] {
			continue
		}
		seen[n] = true
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
