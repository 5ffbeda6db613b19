package door

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// shake does one handshake and gives the certificate that the server says it
// showed, and the client's state.
func shake(t *testing.T, server *TLS, client *tls.Config) (*tls.Certificate, tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	for _, c := range []net.Conn{near, far} {
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	type end struct {
		cert *tls.Certificate
		err  error
	}
	done := make(chan end, 1)
	go func() {
		conn, cert, err := server.Handshake(context.Background(), near)
		if err == nil {
			_, err = conn.Write([]byte("hello")) // the tickets come before it
		}
		done <- end{cert, err}
	}()
	conn := tls.Client(far, client)
	err = conn.Handshake()
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 5))
	} else {
		far.Close()
	}
	e := <-done
	if err == nil {
		err = e.err
	}
	return e.cert, conn.ConnectionState(), err
}

func TestTLSKnowsItsCertificate(t *testing.T) {
	one, two := certificate(t, "one.test"), certificate(t, "two.test")
	byName := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if h.ServerName == "two.test" {
			return &two, nil
		}
		return &one, nil
	}}
	for name, config := range map[string]*tls.Config{"chosen by name": byName, "listed": {Certificates: []tls.Certificate{one, two}}} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			server := NewTLS(config, "imap")
			client := &tls.Config{InsecureSkipVerify: true, ServerName: "two.test", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			for i := range 2 {
				cert, state, err := shake(t, server, client)
				if err != nil {
					t.Fatal(name, err)
				}
				if cert == nil || !bytes.Equal(cert.Certificate[0], state.PeerCertificates[0].Raw) {
					t.Errorf("%s, TLS %x: the server says that it showed another certificate", name, version)
				}
				if state.DidResume != (i == 1) {
					t.Errorf("%s, TLS %x, handshake %d: resumed %v", name, version, i, state.DidResume)
				}
			}
		}
	}
}

// Ticket keys that are set later hold, and another protocol is refused.
func TestTLSKeepsItsConfiguration(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, "one.test")}, NextProtos: []string{"imap"}}
	config.SetSessionTicketKeys([][32]byte{{1}})
	server := NewTLS(config, "imap")
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "one.test", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	resumed := func() bool {
		t.Helper()
		_, state, err := shake(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		return state.DidResume
	}
	if resumed() || !resumed() {
		t.Error("the second handshake is not resumed")
	}
	config.SetSessionTicketKeys([][32]byte{{2}})
	if resumed() || !resumed() {
		t.Error("a ticket under a key that is gone was taken")
	}
	if _, _, err := shake(t, server, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}); err == nil {
		t.Error("a client of HTTP was let in")
	}
}
