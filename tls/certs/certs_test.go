package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair writes a certificate for names and its key as an operator's files.
func writePair(t *testing.T, dir string, names ...string) File {
	t.Helper()
	a, err := openAuthority(filepath.Join(t.TempDir(), "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.issue(names)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509Key(cert)
	if err != nil {
		t.Fatal(err)
	}
	f := File{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{f.Certificate: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, f.Key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestOwnFiles: a file of the operator's serves its names and those who name
// nobody, the local authority its own; a changed file is taken up, a broken
// one is not.
func TestOwnFiles(t *testing.T) {
	dir := t.TempDir()
	f := writePair(t, dir, "mail.example.org")
	local := open(t, t.TempDir(), &site{domains: []string{"example.test"}})
	c, err := Open(local, nil, []File{f}, make([]byte, 32), "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, want := range map[string]string{"mail.example.org": "mail.example.org", "": "mail.example.org"} {
		if cert, err := c.get(&tls.ClientHelloInfo{ServerName: name}); err != nil || cert.Leaf.VerifyHostname(want) != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if cert, err := c.Of("mail.example.test"); err != nil || cert.Leaf.VerifyHostname("mail.example.test") != nil {
		t.Errorf("a name of the local authority: %v", err)
	}
	if changed, err := c.own()[0].reread(); changed || err != nil {
		t.Errorf("unchanged files: %v, %v", changed, err)
	}
	if err := os.WriteFile(f.Key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.own()[0].reread(); err == nil {
		t.Error("a broken key was taken")
	}
	if _, err := c.own()[0].reread(); err != nil {
		t.Error("it was complained of twice")
	}
	if cert, _ := c.get(&tls.ClientHelloInfo{ServerName: "mail.example.org"}); cert == nil {
		t.Error("the last good certificate is gone")
	}
	writePair(t, dir, "other.example.org")
	if changed, err := c.own()[0].reread(); !changed || err != nil {
		t.Errorf("new files: %v, %v", changed, err)
	}
	if _, err := Open(local, nil, []File{{Certificate: "/nonexistent", Key: "/nonexistent"}}, make([]byte, 32), "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a site starts without the certificate it was told to use")
	}
}

// TestSharedTickets: a session begun with one node is resumed with another that
// has the same key, and with none that has not.
func TestSharedTickets(t *testing.T) {
	node := func(key byte) *Certificates {
		secret := make([]byte, 32)
		secret[0] = key
		c, err := Open(open(t, t.TempDir(), &site{}), nil, nil, secret, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	cache := tls.NewLRUClientSessionCache(1)
	resumed := func(c *Certificates) bool {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", c.Config())
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("x"))
			conn.Close()
		}()
		raw, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		client := tls.Client(raw, &tls.Config{ServerName: "mx.example.test", InsecureSkipVerify: true, ClientSessionCache: cache})
		defer client.Close()
		client.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := client.Read(make([]byte, 1)); err != nil { // tickets come with the first data
			t.Fatal(err)
		}
		<-done
		return client.ConnectionState().DidResume
	}
	if resumed(node(1)) {
		t.Error("nothing was there to resume")
	}
	if !resumed(node(1)) {
		t.Error("another node of the site did not know the ticket")
	}
	if resumed(node(2)) {
		t.Error("a node of another site knew the ticket")
	}
}

func x509Key(cert *tls.Certificate) ([]byte, error) {
	return x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
}
