package pop3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/transcript"
	"posthouse/mailstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	aliceName = "alice@example.test"
	password  = "correct horse"
)

// site is a server on a database of its own, with the account alice.
type site struct {
	t     testing.TB
	addr  string // plain, with STLS
	tls   string // implicit TLS
	srv   *Server
	pool  *pgxpool.Pool
	store *mailstore.Store
	dir   *directory.Directory
	alice mailstore.AccountID
	log   *logBuffer
}

// newSite starts a server. What change does to its configuration comes first.
func newSite(t testing.TB, change ...func(*Config)) *site {
	t.Helper()
	s := &site{t: t, pool: pgtest.Pool(t), log: &logBuffer{}}
	var out io.Writer = s.log
	if _, ok := t.(*testing.T); ok { // a benchmark or a fuzzer would drown in it
		out = io.MultiWriter(s.log, t.Output())
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if s.store, err = mailstore.Open(t.Context(), s.pool, mailstore.Options{Log: log}); err != nil {
		t.Fatal(err)
	}
	if s.dir, err = directory.New(s.pool, directory.Options{Key: []byte(strings.Repeat("k", 32)), Log: log,
		OnCreate: func(ctx context.Context, tx pgx.Tx, id int64) error {
			return s.store.InitAccount(ctx, tx, mailstore.AccountID(id))
		}, Throttle: directory.ThrottleOptions{Off: true}}); err != nil {
		t.Fatal(err)
	}
	c := Config{Hostname: "mail.example.test", Directory: s.dir, Store: s.store, Log: log, AllowPlainAuth: true,
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}}
	for _, f := range change {
		f(&c)
	}
	s.srv = New(c)
	served := make(chan error, 2)
	listen := func(implicit bool) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- s.srv.Serve(ln, implicit) }()
		return ln.Addr().String()
	}
	listeners := 1
	s.addr = listen(false)
	if c.TLS != nil {
		s.tls = listen(true)
		listeners++
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		for range listeners {
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
		s.dir.Close()
		if err := s.store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
		if err := mailstore.CheckInvariants(ctx, s.pool); err != nil {
			t.Errorf("invariants: %v", err)
		}
	})
	if _, err := s.dir.CreateDomain(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	a, err := s.dir.CreateAccount(t.Context(), address(aliceName), password)
	if err != nil {
		t.Fatal(err)
	}
	s.alice = mailstore.AccountID(a.ID)
	return s
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// certificate is one for the server; clients of the tests believe anything.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// logBuffer is the server's log, to be searched.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// reset forgets what was logged.
func (l *logBuffer) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// deliver stores a message in INBOX with exactly these octets.
func (s *site) deliver(message string, change ...func(*mailstore.Target)) mailstore.Placed {
	s.t.Helper()
	body := spool.New(s.t.TempDir(), spool.Memory)
	defer body.Close()
	if _, err := body.Write([]byte(message)); err != nil {
		s.t.Fatal(err)
	}
	target := mailstore.Target{Account: s.alice, Mailbox: "INBOX"}
	for _, f := range change {
		f(&target)
	}
	placed, err := s.store.Deliver(s.t.Context(), &mailstore.Delivery{Body: body, Targets: []mailstore.Target{target}})
	if err != nil {
		s.t.Fatal(err)
	}
	return placed[0]
}

// dial connects and reads the greeting.
func (s *site) dial() *transcript.Conn {
	s.t.Helper()
	c := transcript.Dial(s.t, s.addr)
	c.TLS = &tls.Config{InsecureSkipVerify: true}
	c.Play("S: +OK mail.example.test Posthouse POP3 ready")
	return c
}

// login is a session of alice's in the transaction state.
func (s *site) login() *transcript.Conn {
	s.t.Helper()
	c := s.dial()
	c.Play(`
		C: USER ` + aliceName + `
		S: +OK Send PASS
		C: PASS ` + password + `
		S: +OK Maildrop has «*»`)
	return c
}

// inbox is INBOX as it is now.
func (s *site) inbox() mailstore.Mailbox {
	s.t.Helper()
	box, err := s.store.Mailbox(s.t.Context(), s.alice, "INBOX")
	if err != nil {
		s.t.Fatal(err)
	}
	return box
}

// exec runs SQL that stands for a fault.
func (s *site) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatal(err)
	}
}
