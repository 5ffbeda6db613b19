package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
	"posthouse/migrations"
)

func execute(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func lines(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// site is a store with two accounts, folders, keywords, a large body, expunged
// mail and a queue.
func site(t *testing.T) (*mailstore.Store, *pgxpool.Pool, mailstore.AccountID) {
	t.Helper()
	s := storetest.Open(t)
	pool := storetest.Pool(t, s)
	execute(t, pool, `INSERT INTO domain (name) VALUES ('example.test')`)
	execute(t, pool, `INSERT INTO site_key (fingerprint) VALUES ('\x0102')`)
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	work, err := s.CreateMailbox(t.Context(), alice, "Work/2026", mailstore.None)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []mailstore.Grantee{{}, {Account: bob}, {Account: bob, Negative: true}} {
		if err := s.SetACL(t.Context(), work.ID, who, mailstore.SetRights, mailstore.RightLookup|mailstore.RightRead); err != nil {
			t.Fatal(err)
		}
	}
	large := make([]byte, 300<<10)
	rand.Read(large)
	for i := range 20 {
		text := fmt.Sprintf("From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\ntext %d\r\n", i, i, i)
		if i == 7 {
			text += fmt.Sprintf("%x\r\n", large)
		}
		box := []string{"INBOX", "Work/2026"}[i%2]
		d := &mailstore.Delivery{Body: storetest.Body(t, text), Targets: []mailstore.Target{
			{Account: alice, Mailbox: box, NoFallback: true, Flags: mailstore.Flags(i % 4), Keywords: []string{"$Label1", fmt.Sprint("word", i%3)}},
			{Account: bob, Mailbox: "INBOX"}}}
		if i == 3 {
			d.Targets = d.Targets[:1]
		}
		if _, err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	// Some flags stand in the journal alone.
	logs := storetest.OpenOn(t, pool, mailstore.Options{AtOnce: -1, Fold: -1, Sweep: -1, Index: -1})
	if res, err := logs.StoreFlags(t.Context(), alice, work.ID, mailstore.UIDsBetween(2, 6), mailstore.FlagChange{Op: mailstore.AddFlags, Flags: mailstore.FlagFlagged, Keywords: []string{"late"}}); err != nil || res.Changed.Len() != 5 {
		t.Fatalf("%+v, %v", res, err)
	}
	if n := lines(t, pool, `SELECT uid::text FROM msg_state WHERE flags & 4 <> 0 AND mailbox_id = $1`, work.ID); len(n) > 0 {
		t.Fatal("the rows have the flags already")
	}
	execute(t, pool, `INSERT INTO queue_message (blob_id, reverse_path, account_id) SELECT min(blob_id), 'alice@example.test', $1 FROM message`, alice)
	execute(t, pool, `INSERT INTO queue_rcpt (message_id, n, address, destination) SELECT id, 1, 'c@example.org', 'example.org' FROM queue_message`)
	return s, pool, alice
}

// write backs the site up into a file.
func write(t *testing.T, pool *pgxpool.Pool, o Options) *Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.backup")
	f, err := NewFile(path, "")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := Create(t.Context(), conn.Conn(), f, o); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, _, _, err := s.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// kept is what a restore keeps of each message, as clients see it.
const kept = `SELECT format('%s %s %s %s uid %s flags %s %s email %s thread %s size %s idate %s %s', a.address, b.name, b.uidvalidity, b.keywords, m.uid, s.flags, s.pop3,
	m.email_id, m.thread_id, m.size, m.idate, m.idate_zone) FROM message m JOIN msg_now s USING (account_id, mailbox_id, uid) JOIN mailbox b ON b.id = m.mailbox_id JOIN account a ON a.id = m.account_id ORDER BY 1`

// granted are the rights of others.
const granted = `SELECT format('%s: %s %s %s', b.name, coalesce(a.address, l.domain), l.negative, l.rights) FROM acl l JOIN mailbox b ON b.id = l.mailbox_id LEFT JOIN account a ON a.id = l.grantee_id ORDER BY 1`

func TestSiteComesBack(t *testing.T) {
	s, pool, alice := site(t)
	before := lines(t, pool, kept)
	rights := lines(t, pool, granted)
	src := write(t, pool, Options{SecretKey: []byte("key")})

	url := pgtest.Empty(t)
	conn := connect(t, url)
	if empty, schema, err := Empty(t.Context(), conn); !empty || schema != 0 || err != nil {
		t.Fatalf("a new database: %v %d %v", empty, schema, err)
	}
	m, err := src.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if err := migrations.UpTo(t.Context(), url, m.Schema, nil); err != nil {
		t.Fatal(err)
	}
	f, err := src.Restore(t.Context(), conn, Restoring{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Messages != 39 || f.Held != 1 {
		t.Errorf("figures %+v", f)
	}
	if _, err := src.Restore(t.Context(), conn, Restoring{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over a site: %v", err)
	}
	back := pgtest.PoolOn(t, url)
	if after := lines(t, back, kept); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if after := lines(t, back, granted); len(after) != 3 || strings.Join(after, "\n") != strings.Join(rights, "\n") {
		t.Errorf("rights before: %v, after: %v", rights, after)
	}
	if err := mailstore.CheckInvariants(t.Context(), back); err != nil {
		t.Error(err)
	}
	if held := lines(t, back, `SELECT held::text FROM queue_rcpt`); strings.Join(held, " ") != "true" {
		t.Errorf("held: %v", held)
	}
	// Nothing that is given out now was given out before, though the old site
	// went on after the backup.
	s2 := storetest.OpenOn(t, back, mailstore.Options{})
	for range 5 {
		storetest.Append(t, s, alice, "INBOX", "Subject: lost\r\n\r\n", 0)
	}
	placed := storetest.Append(t, s2, alice, "INBOX", "Subject: new\r\n\r\n", 0)
	last := lines(t, pool, `SELECT format('%s %s %s', max(m.uid), max(m.email_id), max(b.modseq)) FROM message m JOIN mailbox b ON b.id = m.mailbox_id WHERE m.account_id = $1`, alice)
	var uid, email, modseq int64
	if _, err := fmt.Sscan(last[0], &uid, &email, &modseq); err != nil {
		t.Fatal(err)
	}
	if int64(placed.UID) <= uid || placed.EmailID <= email || int64(placed.ModSeq) <= modseq {
		t.Errorf("given out after the restore: %+v; before: %v", placed, last)
	}
	if _, err := back.Exec(t.Context(), `INSERT INTO account (address) VALUES ('carol@example.test')`); err != nil {
		t.Errorf("a new account: %v", err)
	}
}

// A file that turns out to be damaged at its end leaves an empty database.
func TestDamagedLeavesNothing(t *testing.T) {
	_, pool, _ := site(t)
	src := write(t, pool, Options{})
	src.Size -= 10
	url := pgtest.URL(t)
	conn := connect(t, url)
	if _, err := src.Restore(t.Context(), conn, Restoring{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a cut file: %v", err)
	}
	src.Size /= 2
	if _, err := src.Restore(t.Context(), conn, Restoring{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("half a file: %v", err)
	}
	if empty, _, err := Empty(t.Context(), conn); !empty || err != nil {
		t.Errorf("left behind: %v %v", empty, err)
	}
}

// A backup sees one moment, and holds nobody up.
func TestSnapshot(t *testing.T) {
	s, pool, alice := site(t)
	done := make(chan struct{})
	first := true
	src := write(t, pool, Options{Progress: func(Figures) {
		if first {
			first = false
			storetest.Append(t, s, alice, "INBOX", "Subject: later\r\n\r\n", 0) // it would hang here
			close(done)
		}
	}})
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("nothing was delivered meanwhile")
	}
	_, counts, f, err := src.Verify(t.Context(), nil)
	if err != nil || f.Messages != 39 {
		t.Fatalf("%+v %v", f, err)
	}
	for _, c := range counts {
		if (c.Table == "message" || c.Table == "msg_state") && c.Rows != 39 {
			t.Errorf("%+v", c)
		}
	}
}

func TestTake(t *testing.T) {
	s, pool, alice := site(t)
	src := write(t, pool, Options{})
	take := func(o Taking) Figures {
		t.Helper()
		o.Account, o.To, o.SpoolDir = "alice@example.test", alice, t.TempDir()
		f, err := src.Take(t.Context(), pool, s, o)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := take(Taking{}); f.Messages != 0 || f.Known != 20 {
		t.Errorf("all are there: %+v", f)
	}
	boxes, err := s.Mailboxes(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	const each = `SELECT format('%s %s %s %s', m.email_id, m.size, m.idate, s.flags & 31) FROM message m JOIN msg_now s USING (account_id, mailbox_id, uid) WHERE m.account_id = $1 ORDER BY 1`
	before := lines(t, pool, each, alice)
	for _, b := range boxes {
		if b.Name == "Work/2026" {
			if err := s.DeleteMailbox(t.Context(), alice, b.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost := lines(t, pool, `SELECT format('%s', min(m.email_id)) FROM message m JOIN mailbox b ON b.id = m.mailbox_id WHERE m.account_id = $1 AND b.deleted_at IS NOT NULL`, alice)
	var one int64
	if _, err := fmt.Sscan(lost[0], &one); err != nil {
		t.Fatal(err)
	}
	if f := take(Taking{Messages: []int64{one}, DryRun: true}); f.Messages != 1 {
		t.Errorf("dry run: %+v", f)
	}
	if f := take(Taking{Messages: []int64{one}}); f.Messages != 1 {
		t.Errorf("one message: %+v", f)
	}
	if f := take(Taking{Below: "Restored 2026-11-24"}); f.Messages != 9 || f.Known != 11 {
		t.Errorf("the rest: %+v", f)
	}
	after := lines(t, pool, `SELECT DISTINCT * FROM (`+strings.Replace(each, "ORDER BY 1", "", 1)+`) x ORDER BY 1`, alice)
	if strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	names := lines(t, pool, `SELECT DISTINCT b.name FROM mailbox b JOIN msg_state s ON s.mailbox_id = b.id WHERE b.account_id = $1 AND deleted_at IS NULL ORDER BY 1`, alice)
	if got := strings.Join(names, ","); got != "INBOX,Restored 2026-11-24/Work/2026,Work/2026" {
		t.Errorf("folders %s", got)
	}
	if _, err := src.Take(t.Context(), pool, s, Taking{Account: "alice@example.test", To: alice, Messages: []int64{1}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
}

// A backup of one account holds what belongs to it, and comes to another site.
func TestAccountToAnotherSite(t *testing.T) {
	_, pool, _ := site(t)
	src := write(t, pool, Options{Accounts: []string{"bob@example.test"}, SecretKey: []byte("key")})
	m, err := src.Manifest()
	if err != nil || !m.Partial || m.SecretKey != nil || len(m.Accounts) != 1 {
		t.Fatalf("%+v %v", m, err)
	}
	if _, err := src.Restore(t.Context(), connect(t, pgtest.URL(t)), Restoring{}); !errors.Is(err, ErrPartial) {
		t.Errorf("as a site: %v", err)
	}
	s := storetest.Open(t)
	there := storetest.Pool(t, s)
	execute(t, there, `INSERT INTO site_key (fingerprint) VALUES ('\x0304')`)
	carol := storetest.Account(t, s, "carol@example.test")
	for i, want := range []int64{19, 0} {
		f, err := src.Take(t.Context(), there, s, Taking{Account: "bob@example.test", To: carol, SpoolDir: t.TempDir()})
		if err != nil || f.Messages != want || f.Known != 19-want {
			t.Errorf("round %d: %+v %v", i, f, err)
		}
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := Create(t.Context(), conn.Conn(), discard{}, Options{Accounts: []string{"dave@example.test"}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
