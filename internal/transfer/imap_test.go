package transfer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"posthouse/internal/test/nexthop"
	"posthouse/internal/test/storetest"
	"posthouse/internal/transfer"
	"posthouse/mailstore"
)

const imapPassword = "correct-horse"

// memoryServer runs another project's IMAP server on loopback.
func memoryServer(t *testing.T) string { return imapServer(t, nil, false) }

// imapServer is memoryServer with STARTTLS, or TLS from the first octet.
func imapServer(t *testing.T, config *tls.Config, implicit bool) string {
	t.Helper()
	users := imapmemserver.New()
	user := imapmemserver.NewUser("alice@example.test", imapPassword)
	users.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return users.NewSession(), nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapIMAP4rev2: {}},
		InsecureAuth: config == nil,
		TLSConfig:    config,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if implicit {
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return address
}

// fill appends messages by IMAP.
func fill(t *testing.T, address, folder string, from, to int, flags ...imap.Flag) {
	t.Helper()
	c, err := imapclient.DialInsecure(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("alice@example.test", imapPassword).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(folder, nil).Wait(); err != nil && !strings.Contains(err.Error(), "exists") {
		t.Fatal(err)
	}
	if err := c.Subscribe(folder).Wait(); err != nil {
		t.Fatal(err)
	}
	for n := from; n < to; n++ {
		text := crlf(message(n))
		cmd := c.Append(folder, int64(len(text)), &imap.AppendOptions{Flags: flags, Time: imapDate})
		if _, err := io.WriteString(cmd, text); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Logout().Wait(); err != nil {
		t.Fatal(err)
	}
}

var imapDate = time.Date(2019, 8, 7, 6, 5, 4, 0, time.FixedZone("", 2*3600))

func openIMAP(t *testing.T, address, folder string) transfer.Source {
	t.Helper()
	m, err := transfer.OpenIMAP(context.Background(), transfer.IMAPServer{Address: address, Plain: true, User: "alice@example.test", Password: imapPassword, Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func imapLine(folder, flags string, n int) string {
	return fmt.Sprintf("%s | 2019-08-07T04:05:04Z | %s | %q", folder, flags, crlf(message(n)))
}

func TestIMAP(t *testing.T) { testIMAP(t, memoryServer(t)) }

// testIMAP imports from a server that holds nothing yet.
func testIMAP(t *testing.T, address string) {
	s := storetest.Open(t)
	ctx := context.Background()
	alice := account(t, s, "alice@example.test")
	fill(t, address, "INBOX", 0, 120, imap.FlagSeen, "$label1")
	fill(t, address, "Sent Items", 200, 202, imap.FlagAnswered, imap.FlagFlagged)
	fill(t, address, "Été & co", 300, 301, imap.FlagDraft)
	doImport(t, s, alice, openIMAP(t, address, ""), transfer.Options{DryRun: true}, 123, 0)
	doImport(t, s, alice, openIMAP(t, address, ""), transfer.Options{}, 123, 0)
	var want []string
	for n := range 120 {
		want = append(want, imapLine("INBOX", "00001 [$label1]", n))
	}
	want = append(want, imapLine("Sent", "00110 []", 200), imapLine("Sent", "00110 []", 201), imapLine("Été & co", "10000 []", 300))
	got := content(t, s, alice)
	same(t, got, want)
	if len(got) > 1 && (!strings.Contains(got[0], "Body 0\\r") || !strings.Contains(got[1], "Body 1\\r")) {
		t.Error("the order is another", got[:2])
	}

	doImport(t, s, alice, openIMAP(t, address, ""), transfer.Options{}, 0, 123)
	fill(t, address, "INBOX", 120, 122)
	m, err := s.Mailbox(ctx, alice, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.StoreFlags(ctx, alice, m.ID, mailstore.UIDs(1, 2, 3), mailstore.FlagChange{Flags: mailstore.FlagDeleted}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expunge(ctx, alice, m.ID, nil); err != nil {
		t.Fatal(err)
	}
	doImport(t, s, alice, openIMAP(t, address, "INBOX"), transfer.Options{}, 2, 120)
	if list := content(t, s, alice); len(list) != 122 {
		t.Errorf("%d messages", len(list))
	}
}

// cutter passes a connection on and cuts it after a number of octets.
type cutter struct {
	l     net.Listener
	to    string
	limit atomic.Int64
	cuts  atomic.Int64
	wg    sync.WaitGroup
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l, to: to}
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.pass(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); c.wg.Wait() })
	return c
}

func (c *cutter) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer server.Close()
	c.wg.Go(func() {
		io.Copy(server, client)
		server.Close()
	})
	if _, err := io.CopyN(client, server, c.limit.Load()); err == nil {
		c.cuts.Add(1)
	}
}

func TestIMAPConnectionBreaks(t *testing.T) {
	s := storetest.Open(t)
	alice := account(t, s, "alice@example.test")
	address := memoryServer(t)
	fill(t, address, "INBOX", 0, 150)
	proxy := newCutter(t, address)
	proxy.limit.Store(12_000 + rand.Int64N(500)) // some 40 messages, and a part of one
	f := doImport(t, s, alice, openIMAP(t, proxy.l.Addr().String(), ""), transfer.Options{}, 150, 0)
	if proxy.cuts.Load() < 2 || f.Found != 150 {
		t.Errorf("%d cuts, %+v", proxy.cuts.Load(), f)
	}
	var want []string
	for n := range 150 {
		want = append(want, imapLine("INBOX", "00000 []", n))
	}
	same(t, content(t, s, alice), want) // none of them cut short
}

// TestIMAPTLS: with STARTTLS and TLS from the first octet the certificate is
// checked, and the password is not sent to anybody else.
func TestIMAPTLS(t *testing.T) {
	ca := nexthop.NewCA()
	for _, implicit := range []bool{false, true} {
		server := transfer.IMAPServer{Address: imapServer(t, ca.Config("127.0.0.1"), implicit), TLS: implicit, User: "alice@example.test", Password: imapPassword}
		if _, err := transfer.OpenIMAP(context.Background(), server); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("implicit %v, an unknown authority: %v", implicit, err)
		}
		server.Config = &tls.Config{RootCAs: ca.Pool()}
		m, err := transfer.OpenIMAP(context.Background(), server)
		if err != nil {
			t.Errorf("implicit %v: %v", implicit, err)
			continue
		}
		if folders, err := m.Folders(context.Background()); err != nil {
			t.Errorf("implicit %v: %v, %v", implicit, folders, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		server.Password = "wrong"
		var refused *transfer.LoginError
		if _, err := transfer.OpenIMAP(context.Background(), server); !errors.As(err, &refused) {
			t.Errorf("a wrong password: %v", err)
		}
	}
	plain := transfer.IMAPServer{Address: memoryServer(t), User: "alice@example.test", Password: imapPassword}
	if _, err := transfer.OpenIMAP(context.Background(), plain); err == nil {
		t.Error("logged in without the TLS that was asked for")
	}
}

func TestParseIMAP(t *testing.T) {
	for in, want := range map[string]transfer.IMAPServer{
		"imaps://alice@example.test@mail.example.test": {Address: "mail.example.test:993", TLS: true, User: "alice@example.test"},
		"imap://alice@localhost:1143/Sent%20Items/":    {Address: "localhost:1143", User: "alice", Folder: "Sent Items"},
		"imap://alice%40example.test@[::1]:1143/A/B":   {Address: "[::1]:1143", User: "alice@example.test", Folder: "A/B"},
		"imaps://alice@[::1]":                          {Address: "[::1]:993", TLS: true, User: "alice"},
		"imaps://alice@localhost:99999":                {},
		"imaps://localhost":                            {},
		"http://alice@localhost":                       {},
		"imaps://alice:secret@localhost":               {},
	} {
		got, err := transfer.ParseIMAP(in)
		if got != want || (err == nil) != (want.Address != "") {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
		if err != nil && strings.Contains(in, "secret") && !strings.Contains(err.Error(), "password") {
			t.Error(err)
		}
	}
}
