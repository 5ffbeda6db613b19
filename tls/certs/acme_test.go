package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"posthouse/internal/test/dnstest"
	"posthouse/internal/test/pgtest"
)

// authorityOnline is pebble, Let's Encrypt's test authority, with a DNS server
// that it asks.
type authorityOnline struct {
	*httptest.Server
	dns    *dnstest.Server
	host   string         // that certificates are ordered for: certmagic remembers failures by name, over tests
	roots  *x509.CertPool // of its own HTTPS
	orders atomic.Int32   // asked of it
	down   atomic.Bool
}

var hosts atomic.Int32

// startPebble starts an authority that looks for challenges at these ports.
func startPebble(t *testing.T, httpPort, tlsPort int, life time.Duration) *authorityOnline {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	p := &authorityOnline{dns: dnstest.Start(t), host: fmt.Sprintf("mx%d.example.test", hosts.Add(1))}
	p.dns.Add(p.host + ". A 127.0.0.1")
	quiet := log.New(slogWriter{t}, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: uint64(life / time.Second)}})
	front := wfe.New(quiet, store, va.New(quiet, httpPort, tlsPort, false, p.dns.Addr().String(), store), issuer, []string{"pebble.example.test"}, false, false, 1, 1)
	handler := front.Handler()
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.down.Load() {
			http.Error(w, "closed for today", http.StatusServiceUnavailable)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			p.orders.Add(1)
		}
		if strings.Contains(r.URL.Path, "renewalInfo") {
			renewalInfo(handler, w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	p.roots = x509.NewCertPool()
	p.roots.AddCert(p.Certificate())
	return p
}

// renewalInfo is pebble's, with two changes: it wants to be asked again in a
// second, not in hours, and its window is an hour longer, for the one that it
// gives revoked certificates is too short for the client's library.
func renewalInfo(pebble http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	pebble.ServeHTTP(answer, r)
	var info struct {
		Window struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
		} `json:"suggestedWindow"`
	}
	if answer.Code != http.StatusOK || json.Unmarshal(answer.Body.Bytes(), &info) != nil {
		w.WriteHeader(answer.Code)
		return
	}
	info.Window.Start = info.Window.Start.Add(-time.Hour)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	json.NewEncoder(w).Encode(info)
}

type slogWriter struct{ t *testing.T }

func (w slogWriter) Write(p []byte) (int, error) { return w.t.Output().Write(p) }

// station is one node of a site: its two listeners and its certificates.
type station struct {
	acme  *ACME
	certs *Certificates
	https net.Listener
	http  *http.Server
}

// listeners bind the ports that the authority will look at.
func listeners(t *testing.T) (plain, secure net.Listener) {
	var list []net.Listener
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		list = append(list, ln)
	}
	return list[0], list[1]
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// open starts a node on listeners; change edits its configuration.
func (p *authorityOnline) open(t *testing.T, pool *pgxpool.Pool, plain, secure net.Listener, change func(*ACMEConfig)) *station {
	t.Helper()
	s := &site{}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	cfg := ACMEConfig{
		Pool: pool, Key: make([]byte, 32), Hostname: p.host, CA: p.URL + wfe.DirectoryPath, Roots: p.roots,
		HTTPPort: port(plain), TLSPort: port(secure), Domains: s.list, Log: log,
		Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			m := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
			r, err := dns.ExchangeContext(ctx, m, p.dns.Addr().String())
			if err != nil {
				return nil, err
			}
			var list []netip.Addr
			for _, rr := range r.Answer {
				if a, ok := rr.(*dns.A); ok {
					addr, _ := netip.AddrFromSlice(a.A)
					list = append(list, addr.Unmap())
				}
			}
			return list, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	s.domains, _ = cfg.Domains(t.Context())
	st := &station{https: secure}
	var err error
	if st.acme, err = OpenACME(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	local := open(t, t.TempDir(), s)
	if st.certs, err = Open(local, st.acme, nil, cfg.Key, cfg.Hostname, log); err != nil {
		t.Fatal(err)
	}
	st.http = &http.Server{Handler: st.acme.Challenges(http.NotFoundHandler())}
	done := make(chan struct{})
	go func() { st.http.Serve(plain); done <- struct{}{} }()
	secured := tls.NewListener(secure, st.certs.HTTPS())
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := secured.Accept()
			if err != nil {
				return
			}
			go func() { c.(*tls.Conn).HandshakeContext(t.Context()); c.Close() }()
		}
	}()
	t.Cleanup(func() {
		st.http.Close()
		secure.Close()
		<-done
		<-done
		st.certs.Close()
		st.acme.Close()
	})
	return st
}

// issuer is who signed what the node shows for a name.
func (s *station) issuer(t *testing.T, name string) (*x509.Certificate, string) {
	t.Helper()
	d := &tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
	c, err := d.DialContext(t.Context(), "tcp", s.https.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	leaf := c.(*tls.Conn).ConnectionState().PeerCertificates[0]
	if strings.Contains(leaf.Issuer.CommonName, "Pebble") {
		return leaf, "pebble"
	}
	return leaf, "local"
}

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func (s *station) awaitPebble(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	await(t, "a certificate for "+name, func() bool {
		var by string
		leaf, by = s.issuer(t, name)
		return by == "pebble" && leaf.VerifyHostname(name) == nil
	})
	return leaf
}

// TestChallenges obtains a certificate by each type of challenge, and by none
// before DNS leads here.
func TestChallenges(t *testing.T) {
	for _, kind := range []string{"http-01", "tls-alpn-01", "dns-01"} {
		t.Run(kind, func(t *testing.T) {
			plain, secure := listeners(t)
			p := startPebble(t, port(plain), port(secure), time.Hour)
			p.dns.Add("mail.there.example.test. A 192.0.2.7", "example.test. SOA ns.example.test. h.example.test. 1 1 1 1 1", "example.test. NS ns.example.test.", "ns.example.test. A 127.0.0.1")
			st := p.open(t, pgtest.Pool(t), plain, secure, func(c *ACMEConfig) {
				c.Domains = func(context.Context) ([]string, error) { return []string{"there.example.test"}, nil }
				switch kind {
				case "http-01":
					c.TLSPort = 0
				case "tls-alpn-01":
					c.HTTPPort = 0
				case "dns-01":
					c.HTTPPort, c.TLSPort = 0, 0
					c.DNS, c.DNSResolvers = provider{p.dns}, []string{p.dns.Addr().String()}
					c.Domains = func(context.Context) ([]string, error) { return nil, nil }
				}
			})
			st.awaitPebble(t, p.host)
			if leaf, _ := st.issuer(t, ""); leaf.VerifyHostname(p.host) != nil {
				t.Errorf("a client that names nobody gets %v", leaf.DNSNames)
			}
			if n := p.orders.Load(); n != 1 {
				t.Errorf("%d orders, want one: the other name leads elsewhere", n)
			}
			for _, s := range st.certs.Status() {
				if led := s.Name == p.host; led == s.Fallback() || led != (s.Source == FromACME) {
					t.Errorf("status %+v", s)
				}
			}
		})
	}
}

// provider writes records into the test's DNS server.
type provider struct{ dns *dnstest.Server }

func (p provider) AppendRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	for _, r := range recs {
		rr := r.RR()
		p.dns.Add(fmt.Sprintf("%s. %s %q", strings.TrimSuffix(libdns.AbsoluteName(rr.Name, zone), "."), rr.Type, rr.Data))
	}
	return recs, nil
}

func (p provider) DeleteRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	for _, r := range recs {
		p.dns.Remove(libdns.AbsoluteName(r.RR().Name, zone), dns.TypeTXT)
	}
	return recs, nil
}

var _ certmagic.DNSProvider = provider{}

// TestTwoNodes: one orders, both serve, and whichever the authority asks
// answers its challenge.
func TestTwoNodes(t *testing.T) {
	plain, secure := listeners(t)
	plain2, secure2 := listeners(t)
	p := startPebble(t, port(plain), port(secure), time.Hour) // it asks the first node, whoever ordered
	p.dns.Add("mail.example.test. A 127.0.0.1")
	pool := pgtest.Pool(t)
	domains := func(c *ACMEConfig) {
		c.Domains = func(context.Context) ([]string, error) { return []string{"example.test"}, nil }
	}
	second := p.open(t, pool, plain2, secure2, domains)
	first := p.open(t, pool, plain, secure, domains)
	for _, name := range []string{p.host, "mail.example.test"} {
		a, b := first.awaitPebble(t, name), second.awaitPebble(t, name)
		if !a.Equal(b) {
			t.Errorf("the nodes show different certificates for %s", name)
		}
	}
	if n := p.orders.Load(); n != 2 {
		t.Errorf("%d orders for two names", n)
	}
}

// TestAuthorityDown: listeners have a certificate all the same, and a better
// one when the authority is back; a restart needs nobody.
func TestAuthorityDown(t *testing.T) {
	plain, secure := listeners(t)
	p := startPebble(t, port(plain), port(secure), time.Hour)
	p.down.Store(true)
	pool := pgtest.Pool(t)
	st := p.open(t, pool, plain, secure, nil)
	if _, by := st.issuer(t, p.host); by != "local" {
		t.Errorf("certificate is by %s while the authority is down", by)
	}
	await(t, "a failure in the status", func() bool {
		return slices.ContainsFunc(st.certs.Status(), func(s NameStatus) bool {
			return s.Name == p.host && s.Source == FromLocal && s.Problem != "" && s.Problem != ordering
		})
	})
	metrics := func() (expiry, fallback float64) {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(st.certs)
		families, err := registry.Gather()
		if err != nil || len(families) != 2 {
			t.Fatalf("%v, %v", families, err)
		}
		return families[0].Metric[0].GetGauge().GetValue(), families[1].Metric[0].GetGauge().GetValue()
	}
	if until, fallen := metrics(); until < float64(time.Now().Unix()) || fallen != 1 {
		t.Errorf("metrics while the authority is down: ends at %f, fallback %f", until, fallen)
	}
	st.certs.publish(t.Context()) // as it does by itself, now and then
	switch list, err := Reports(t.Context(), pool, make([]byte, 32)); {
	case err != nil || len(list) != 1 || list[0].Node != p.host || len(list[0].Names) == 0:
		t.Errorf("reports %+v, %v", list, err)
	case !list[0].Names[0].Fallback():
		t.Errorf("the report hides that the local authority serves: %+v", list[0])
	}
}

// TestRenewalOnline: a certificate is renewed before it runs out, and sessions that
// are open stay open.
func TestRenewalOnline(t *testing.T) {
	plain, secure := listeners(t)
	p := startPebble(t, port(plain), port(secure), time.Minute)
	st := p.open(t, pgtest.Pool(t), plain, secure, func(c *ACMEConfig) { c.check, c.window = 200*time.Millisecond, 0.97 })
	first := st.awaitPebble(t, p.host)

	// A session of before, on a listener of its own that echoes.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", st.certs.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	echo := make(chan struct{})
	go func() {
		defer close(echo)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		await(t, "a newer certificate", func() bool {
			leaf, by := st.issuer(t, p.host)
			if by != "pebble" || time.Now().After(leaf.NotAfter) {
				t.Fatalf("a listener shows a certificate by %s that ended at %v", by, leaf.NotAfter)
			}
			if leaf.Equal(first) {
				return false
			}
			first = leaf
			return true
		})
		answer := make([]byte, 4)
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "ping" {
			t.Fatalf("the session of before says %q, %v", answer, err)
		}
	}
	c.Close()
	<-echo
}

// TestRestart: what was ordered serves from the first handshake of a new
// process, with the authority away; an expired certificate does not.
func TestRestart(t *testing.T) {
	plain, secure := listeners(t)
	p := startPebble(t, port(plain), port(secure), time.Hour)
	pool := pgtest.Pool(t)
	before := p.open(t, pool, plain, secure, nil).awaitPebble(t, p.host)
	p.down.Store(true)
	plain2, secure2 := listeners(t)
	after, by := p.open(t, pool, plain2, secure2, nil).issuer(t, p.host)
	if by != "pebble" || !after.Equal(before) {
		t.Errorf("after a restart the certificate is by %s", by)
	}
	var sealed []byte
	if err := pool.QueryRow(t.Context(), `SELECT value FROM certificate_data WHERE key LIKE '%.key' LIMIT 1`).Scan(&sealed); err != nil || strings.Contains(string(sealed), "PRIVATE KEY") {
		t.Errorf("the private key lies open in the database, or not at all: %v", err)
	}
}

// TestRevoked: a certificate that its authority has revoked is replaced when
// the authority says so (RFC 9773), long before it would run out.
func TestRevoked(t *testing.T) {
	plain, secure := listeners(t)
	p := startPebble(t, port(plain), port(secure), 30*24*time.Hour)
	st := p.open(t, pgtest.Pool(t), plain, secure, func(c *ACMEConfig) { c.check = 200 * time.Millisecond })
	bad := st.awaitPebble(t, p.host)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bad.Raw})
	if err := st.acme.issuer.Revoke(t.Context(), certmagic.CertificateResource{CertificatePEM: text}, 1); err != nil {
		t.Fatal(err)
	}
	await(t, "another certificate", func() bool {
		leaf, by := st.issuer(t, p.host)
		return by == "pebble" && !leaf.Equal(bad)
	})
}

// TestExpired: one that ran out while the server was down does not serve, and a
// new one is ordered at once.
func TestExpired(t *testing.T) {
	plain, secure := listeners(t)
	p := startPebble(t, port(plain), port(secure), time.Hour)
	pool := pgtest.Pool(t)
	t.Run("before", func(t *testing.T) {
		st := p.open(t, pool, plain, secure, nil)
		st.awaitPebble(t, p.host)
		plantExpired(t, st.acme.storage, p.host)
	})
	st := p.open(t, pool, relisten(t, plain), relisten(t, secure), nil)
	await(t, "a new certificate", func() bool {
		leaf, by := st.issuer(t, p.host)
		if time.Now().After(leaf.NotAfter) {
			t.Fatal("an expired certificate serves")
		}
		return by == "pebble"
	})
}

// plantExpired puts a certificate in the place of a name's that ended an hour
// ago.
func plantExpired(t *testing.T, s *storage, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial(), DNSNames: []string{name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := s.List(t.Context(), "certificates", true)
	if err != nil {
		t.Fatal(err)
	}
	planted := 0
	for _, k := range keys {
		block := &pem.Block{Type: "CERTIFICATE", Bytes: der}
		switch {
		case strings.HasSuffix(k, name+".key"):
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: secret}
		case !strings.HasSuffix(k, name+".crt"):
			continue
		}
		if err := s.Store(t.Context(), k, pem.EncodeToMemory(block)); err != nil {
			t.Fatal(err)
		}
		planted++
	}
	if planted != 2 {
		t.Fatalf("planted %d of 2 files among %v", planted, keys)
	}
}

// relisten binds an address again that was let go.
func relisten(t *testing.T, ln net.Listener) net.Listener {
	t.Helper()
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}
