package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// site is a list of domains that a test can change.
type site struct {
	domains []string
	err     error
}

func (s *site) list(context.Context) ([]string, error) { return s.domains, s.err }

func open(t *testing.T, dir string, s *site) *Local {
	t.Helper()
	l, err := OpenLocal(t.Context(), dir, "mx.example.test", s.list, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// handshake connects as a client that trusts the authority's file only.
func handshake(t *testing.T, l *Local, client *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	pem, err := os.ReadFile(l.File())
	if err != nil {
		t.Fatal(err)
	}
	client.RootCAs = x509.NewCertPool()
	if !client.RootCAs.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in", l.File())
	}
	a, b := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- tls.Server(b, l.Config("imap")).Handshake() }()
	c := tls.Client(a, client)
	err = c.Handshake()
	a.Close()
	<-served
	b.Close()
	state := c.ConnectionState()
	return &state, err
}

func TestNames(t *testing.T) {
	s := &site{domains: []string{"example.test", "example.org"}}
	l := open(t, t.TempDir(), s)
	for _, name := range []string{
		"localhost", "127.0.0.1", "::1", "mx.example.test", "example.org",
		"mail.example.org", "autoconfig.example.test", "autodiscover.example.test", "mta-sts.example.org",
	} {
		if _, err := handshake(t, l, &tls.Config{ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := handshake(t, l, &tls.Config{ServerName: "example.net"}); err == nil {
		t.Error("the certificate covers a domain that is not ours")
	}
}

func TestNewDomainNeedsNoRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{domains: []string{"example.test"}}
		l := open(t, t.TempDir(), s)
		s.domains = append(s.domains, "example.org")
		time.Sleep(namesAge + 1) // the bubble's clock
		if _, err := handshake(t, l, &tls.Config{ServerName: "mail.example.org"}); err != nil {
			t.Error("a domain added later:", err)
		}
		s.err = errors.New("the database is away")
		time.Sleep(namesAge + 1)
		if _, err := handshake(t, l, &tls.Config{ServerName: "mail.example.org"}); err != nil {
			t.Error("while the database is away:", err)
		}
	})
}

func TestManyDomains(t *testing.T) {
	s := new(site)
	for i := range 3 * maxDomains {
		s.domains = append(s.domains, fmt.Sprintf("d%03d.test", i))
	}
	l := open(t, t.TempDir(), s)
	for _, name := range []string{"mail.d000.test", "mail.d149.test", "d149.test"} {
		if _, err := handshake(t, l, &tls.Config{ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, t.TempDir(), new(site))
		first, err := handshake(t, l, &tls.Config{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(leafLife - leafLeft + time.Hour)
		second, err := handshake(t, l, &tls.Config{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		if !second.PeerCertificates[0].NotAfter.After(first.PeerCertificates[0].NotAfter) {
			t.Error("not renewed")
		}
	})
}

func TestAuthorityStays(t *testing.T) {
	dir := t.TempDir()
	s := &site{domains: []string{"example.test"}}
	before := open(t, dir, s)
	pem, err := os.ReadFile(before.File())
	if err != nil {
		t.Fatal(err)
	}
	after := open(t, dir, s)
	if again, _ := os.ReadFile(after.File()); string(again) != string(pem) {
		t.Error("a restart made another authority")
	}
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if err := os.WriteFile(before.File(), []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(dir); err == nil {
		t.Error("a damaged authority was taken")
	}
}

func TestOldProtocolsRefused(t *testing.T) {
	l := open(t, t.TempDir(), new(site))
	if _, err := handshake(t, l, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	weak := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
	if _, err := handshake(t, l, &tls.Config{ServerName: "localhost", MaxVersion: tls.VersionTLS12, CipherSuites: weak}); err == nil {
		t.Error("a CBC suite was accepted")
	}
	if state, err := handshake(t, l, &tls.Config{ServerName: "localhost", MaxVersion: tls.VersionTLS12}); err != nil || state.Version != tls.VersionTLS12 {
		t.Error("TLS 1.2 was refused:", err)
	}
}
