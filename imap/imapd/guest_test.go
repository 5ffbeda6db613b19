package imapd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bare is a server without a database: for what happens before login.
func bare(t *testing.T, c Config) (srv *Server, addr string) {
	t.Helper()
	c.Hostname = "mail.example.test"
	srv = New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln, false) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return srv, ln.Addr().String()
}

func dialBare(t *testing.T, addr string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, c)
}

// testCertificate is a certificate for localhost.
func testCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestBeforeLogin(t *testing.T) {
	_, addr := bare(t, Config{})
	dialBare(t, addr).run(`
		S: * OK [CAPABILITY IMAP4rev1 …] mail.example.test Posthouse ready
		C: a CAPABILITY
		S: * CAPABILITY IMAP4rev1 … LOGINDISABLED
		S: a OK CAPABILITY completed
		C: b noop
		S: b OK NOOP completed
		C: c ID ("name" "x" "version" NIL)
		S: * ID ("name" "Posthouse" …)
		S: c OK ID completed
		C: d ID NIL
		S~: d OK …
		C: e LOGIN alice secret
		S: e NO [PRIVACYREQUIRED] …
		C: f AUTHENTICATE PLAIN
		S: f NO [PRIVACYREQUIRED] …
		C: g SELECT INBOX
		S: g BAD …
		C: h UID FETCH 1:* FLAGS
		S: h BAD …
		C: i LOGOUT
		S: * BYE …
		S: i OK LOGOUT completed
		EOF:
	`)
}

// TestLiteralsBeforeLogin is TRUST row 5: the octets of a literal that was not
// wanted are x LOGOUT commands, and none may run.
func TestLiteralsBeforeLogin(t *testing.T) {
	_, addr := bare(t, Config{})
	evil := func(n int) string { return strings.Repeat("x LOGOUT\r\n", n/10) }
	for _, tt := range []struct{ name, send, want string }{
		{"LOGIN", fmt.Sprintf("a LOGIN {5000+}\r\n%s secret\r\n", evil(5000)), "a BAD"},
		{"the second of LOGIN", fmt.Sprintf("a LOGIN alice {5000+}\r\n%s\r\n", evil(5000)), "a BAD"},
		{"unknown command", fmt.Sprintf("a FOO {5000+}\r\n%s {100+}\r\n%s\r\n", evil(5000), evil(100)), "a BAD"},
		{"a command not allowed now", fmt.Sprintf("a APPEND INBOX {5000+}\r\n%s\r\n", evil(5000)), "a BAD"},
		{"one without arguments", fmt.Sprintf("a NOOP {5000+}\r\n%s\r\n", evil(5000)), "a BAD"},
		{"AUTHENTICATE", fmt.Sprintf("a AUTHENTICATE {5000+}\r\n%s\r\n", evil(5000)), "a BAD"},
		{"ID", fmt.Sprintf("a ID (\"name\" {5000+}\r\n%s)\r\n", evil(5000)), "a BAD"},
		{"UID", fmt.Sprintf("a UID {5000+}\r\n%s\r\n", evil(5000)), "a BAD"},
		{"no tag", fmt.Sprintf("{5000+}\r\n%s\r\n", evil(5000)), "* BAD"},
		{"of Apple's size", fmt.Sprintf("a APPEND INBOX {234310148+}\r\n%s", evil(5000)), "* BYE"},
		{"synchronizing", "a LOGIN {5000}\r\n", "a BAD"},
		{"synchronizing, not waited for", fmt.Sprintf("a LOGIN {5000}\r\n%s", evil(1000)), "* BYE"},
		{"Outlook's login", "a LOGIN {29+}\r\n" + strings.Repeat("u", 29) + " {8+}\r\npassword\r\n", "a NO"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dialBare(t, addr)
			p.run("S: * OK …")
			p.send(tt.send)
			got := p.read()
			if !strings.HasPrefix(got, tt.want) {
				t.Fatalf("got %s, want %s", got, tt.want)
			}
			if tt.want == "* BYE" {
				p.eof()
				return
			}
			p.run("C: z NOOP\nS: z OK …")
		})
	}
}

// TestMonsters is TRUST row 6.
func TestMonsters(t *testing.T) {
	_, addr := bare(t, Config{})
	for name, send := range map[string]string{
		"a tag of 1 MB":      strings.Repeat("a", 1<<20) + " NOOP\r\n",
		"20,000 parentheses": "a ID " + strings.Repeat("(", 20000) + "\r\n",
		"a quoted string":    `a LOGIN "` + strings.Repeat(`\"`, 1<<20) + "\r\n",
		"spaces":             "a NOOP" + strings.Repeat(" ", 1<<20) + "\r\n",
		"10,000 ID fields":   "a ID (" + strings.Repeat(`"a" "b" `, 1500) + ")\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := dialBare(t, addr)
			p.run("S: * OK …")
			go io.WriteString(p.c, send) // the server may close before it has read all
			got := p.read()
			if !strings.Contains(got, " BAD ") && !strings.HasPrefix(got, "* BYE") {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestOtherProtocols is TRUST row 15.
func TestOtherProtocols(t *testing.T) {
	_, addr := bare(t, Config{})
	for _, send := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /x NOOP\r\n\r\nb NOOP\r\n", "EHLO localhost\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", "SSH-2.0-OpenSSH_9\r\n"} {
		p := dialBare(t, addr)
		p.run("S: * OK …")
		p.send(send)
		p.deadline()
		if rest, err := io.ReadAll(p.r); len(rest) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: got %q, %v", send, rest, err)
		}
	}
}

// TestALPN is the other half of row 15.
func TestALPN(t *testing.T) {
	_, addr := bare(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}})
	for protocol, ok := range map[string]bool{"imap": true, "": true, "http/1.1": false} {
		p := dialBare(t, addr)
		p.run("S: * OK …\nC: a STARTTLS\nS: a OK …")
		config := &tls.Config{InsecureSkipVerify: true}
		if protocol != "" {
			config.NextProtos = []string{protocol}
		}
		if err := tls.Client(p.c, config).Handshake(); (err == nil) != ok {
			t.Errorf("%q: %v", protocol, err)
		}
	}
}

func TestTooManyBadCommands(t *testing.T) {
	_, addr := bare(t, Config{})
	p := dialBare(t, addr)
	p.run("S: * OK …")
	for range maxBadGuest - 1 {
		p.run("C: a FOO\nS: a BAD …")
	}
	p.run("C: a FOO\nS: a BAD …\nS: * BYE …\nEOF:")
}

// TestSTARTTLS is TRUST row 3.
func TestSTARTTLS(t *testing.T) {
	_, addr := bare(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}})
	t.Run("pipelined", func(t *testing.T) {
		p := dialBare(t, addr)
		p.run("S: * OK [CAPABILITY … STARTTLS LOGINDISABLED…] …")
		p.send("a STARTTLS\r\nb NOOP\r\n")
		p.run("S: * BYE …\nEOF:")
	})
	t.Run("plain text instead of a handshake", func(t *testing.T) {
		p := dialBare(t, addr)
		p.run("S: * OK …\nC: a STARTTLS\nS: a OK …\nC: b NOOP")
		p.deadline()
		if rest, err := io.ReadAll(p.r); strings.Contains(string(rest), "b ") {
			t.Errorf("got %q, %v", rest, err)
		}
	})
	t.Run("handshake", func(t *testing.T) {
		p := dialBare(t, addr)
		p.run("S: * OK …\nC: a STARTTLS\nS: a OK …")
		c := tls.Client(p.c, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		p = newPeer(t, c)
		p.run(`
			C: b CAPABILITY
			S: * CAPABILITY {caps} …
			S: b OK …
			C: c STARTTLS
			S: c BAD …
			C: d LOGOUT
			S~: d OK …
			EOF:
		`)
	})
}

// TestPanic: a handler that panics ends its own session only.
func TestPanic(t *testing.T) {
	commands["XPANIC"] = commandSpec{in: guest, run: func(*session, context.Context, *command) error { panic("on purpose") }}
	defer delete(commands, "XPANIC")
	_, addr := bare(t, Config{})
	p, q := dialBare(t, addr), dialBare(t, addr)
	p.run("S: * OK …\nC: a XPANIC\nS: * BYE [SERVERBUG] …\nEOF:")
	q.run("S: * OK …\nC: a NOOP\nS: a OK …")
}

func TestShutdown(t *testing.T) {
	srv, addr := bare(t, Config{})
	p := dialBare(t, addr)
	p.run("S: * OK …\nC: a NOOP\nS: a OK …")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	p.run("S: * BYE …\nEOF:")
}

// TestSlowloris is TRUST row 13: an octet now and then keeps nobody for ever.
func TestSlowloris(t *testing.T) {
	for _, tt := range []struct {
		name, first string
		atMost      time.Duration
	}{
		{"silence", "", 4 * time.Minute},
		{"a command", "a LOGIN ", 2 * time.Minute},
		{"a literal", "a LOGIN {4000+}\r\n", 3 * time.Minute},
		{"a literal to be skipped", "a FOO {60000+}\r\n", 3 * time.Minute},
		{"commands for ever", "", 4 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := New(Config{Hostname: "mail.example.test"})
				client, server := net.Pipe()
				var session sync.WaitGroup
				session.Go(func() { newSession(srv, server, netip.Addr{}, false).Run(t.Context()) })
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					io.Copy(io.Discard, client)
				}()
				begin := time.Now()
				_, err := io.WriteString(client, tt.first)
				for err == nil {
					switch tt.name {
					case "silence":
						<-gone
						err = io.EOF
					case "commands for ever":
						time.Sleep(20 * time.Second)
						_, err = io.WriteString(client, "a NOOP\r\n")
					default:
						time.Sleep(time.Second)
						_, err = client.Write([]byte("x"))
					}
				}
				<-gone
				if took := time.Since(begin); took > tt.atMost || took < 10*time.Second {
					t.Errorf("closed after %s", took)
				}
				client.Close()
				session.Wait()
			})
		})
	}
}
