package imapd

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/internal/test/pgtest"
	"posthouse/mailstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/exec.(*Cmd).watchCtx.func1"))
}

// site is a server on a database of its own, with the account alice@example.test.
type site struct {
	t     testing.TB
	addr  string // plain, STARTTLS if there is a certificate
	tls   string // implicit TLS; empty without a certificate
	srv   *Server
	store *mailstore.Store
	dir   *directory.Directory
	pool  *pgxpool.Pool
	alice mailstore.AccountID

	panics *atomic.Int32 // that the log tells of
}

const (
	aliceName = "alice@example.test"
	password  = "correct horse"
)

// newSite starts a server. What change does to its configuration comes first.
func newSite(t testing.TB, change ...func(*Config)) *site {
	t.Helper()
	pool := pgtest.Pool(t)
	ctx := t.Context()
	panics := new(atomic.Int32)
	log := slog.New(slog.NewTextHandler(testLog{t, panics}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := mailstore.Open(ctx, pool, mailstore.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := directory.New(pool, directory.Options{Key: []byte(strings.Repeat("k", 32)), Hostname: "mail.example.test",
		Log: log, OnCreate: func(ctx context.Context, tx pgx.Tx, id int64) error {
			return store.InitAccount(ctx, tx, mailstore.AccountID(id))
		}, Throttle: directory.ThrottleOptions{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Hostname: "mail.example.test", Directory: dir, Store: store, Log: log, AllowPlainAuth: true, SpoolDir: t.TempDir()}
	for _, f := range change {
		f(&c)
	}
	s := &site{t: t, panics: panics, srv: New(c), store: store, dir: dir, pool: pool}
	if _, err := dir.CreateDomain(ctx, "example.test"); err != nil {
		t.Fatal(err)
	}
	s.alice = s.account(aliceName)

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
		if n := panics.Load(); n > 0 {
			t.Errorf("%d panics in sessions", n)
		}
		dir.Close()
		if err := store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
		if err := mailstore.CheckInvariants(ctx, pool); err != nil {
			t.Errorf("invariants: %v", err)
		}
	})
	return s
}

// account creates an account with the password.
func (s *site) account(name string) mailstore.AccountID {
	s.t.Helper()
	addr, err := mail.ParseAddress(name)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := s.dir.CreateAccount(s.t.Context(), addr, password)
	if err != nil {
		s.t.Fatal(err)
	}
	return mailstore.AccountID(a.ID)
}

// deliver stores a message in one of alice's mailboxes, as SMTP would. Bare LF
// in it is written CRLF.
func (s *site) deliver(mailbox, message string) mailstore.Placed {
	s.t.Helper()
	body := spool.New("", spool.Memory)
	if _, err := body.Write([]byte(strings.ReplaceAll(strings.ReplaceAll(message, "\r\n", "\n"), "\n", "\r\n"))); err != nil {
		s.t.Fatal(err)
	}
	defer body.Close()
	placed, err := s.store.Deliver(s.t.Context(), &mailstore.Delivery{Body: body,
		Targets: []mailstore.Target{{Account: s.alice, Mailbox: mailbox, InternalDate: time.Now()}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return placed[0]
}

// dial connects and reads the greeting.
func (s *site) dial() *peer {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	p := newPeer(s.t, c)
	p.run("S: * OK […] mail.example.test …")
	return p
}

// login is a session of alice's.
func (s *site) login() *peer {
	s.t.Helper()
	p := s.dial()
	p.run("C: login LOGIN " + aliceName + ` "` + password + `"` + "\nS~: login OK …")
	return p
}

// open is a session of alice's that has a mailbox selected.
func (s *site) open(mailbox string) *peer {
	s.t.Helper()
	p := s.login()
	p.run("C: open SELECT " + mailbox + "\nS~: open OK …")
	return p
}

// testLog writes the server's log to the test's.
type testLog struct {
	t      testing.TB
	panics *atomic.Int32
}

func (l testLog) Write(p []byte) (int, error) {
	// Not t.Log: a session may end after its test.
	if bytes.Contains(p, []byte("imap.panic")) {
		l.panics.Add(1)
	}
	if _, err := os.Stderr.WriteString(l.t.Name() + ": " + string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// withTLS gives the server a certificate.
func withTLS(cert tls.Certificate) func(*Config) {
	return func(c *Config) { c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} }
}

func mustAddress(t testing.TB, s string) mail.Address {
	t.Helper()
	addr, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
