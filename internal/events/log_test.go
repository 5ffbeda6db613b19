package events

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

func TestNilLogRecordsNothing(t *testing.T) {
	var l *Log
	l.Add(Event{Kind: Received})
	must(t, l.AddTx(t.Context(), nil, Event{Kind: Received}))
	l.Close()
}

func TestAddTxStandsOrFallsWithItsTransaction(t *testing.T) {
	l := open(t)
	ctx := t.Context()
	undo := errors.New("undo")
	err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		must(t, l.AddTx(ctx, tx, Event{Kind: Received, Message: "m1"}, Event{Kind: Stored, Message: "m1"}))
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	if n := count(t, l, `SELECT count(*) FROM event`); n != 0 {
		t.Fatalf("%d events of a transaction that was undone", n)
	}
	must(t, pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		return l.AddTx(ctx, tx, Event{Kind: Received, Message: "m2"}, Event{Kind: Stored, Message: "m2"})
	}))
	if n := count(t, l, `SELECT count(*) FROM event WHERE message = 'm2' AND node = 'a'`); n != 2 {
		t.Fatalf("%d events", n)
	}
}

func TestAddIsWrittenSoonAndAtClose(t *testing.T) {
	l := open(t)
	l.Add(Event{Kind: Refused, Message: "soon"})
	within(t, 10*time.Second, "an event", func() bool {
		return count(t, l, `SELECT count(*) FROM event WHERE message = 'soon'`) == 1
	})
	for range 1200 {
		l.Add(Event{Kind: Refused, Message: "late"})
	}
	l.Close()
	if n := count(t, l, `SELECT count(*) FROM event WHERE message = 'late'`); n != 1200 {
		t.Fatalf("%d of 1200 events after Close", n)
	}
	l.Add(Event{Kind: Refused, Message: "never"})
	l.Close()
}

// What other hosts say reaches the row as one line of text that Postgres takes.
func TestStringsAreCleaned(t *testing.T) {
	l := open(t)
	dirty := "550 no\r\n\x00such \xff\xfeuser" + strings.Repeat("é", 2000)
	l.Add(Event{Kind: Bounced, Message: "d", Text: dirty, Recipient: "bob@example.org\x00", Subject: strings.Repeat("ü", 300), Code: 550})
	l.Close()
	var text, rcpt, subject string
	must(t, l.pool.QueryRow(t.Context(), `SELECT text, recipient, subject FROM event WHERE message = 'd'`).Scan(&text, &rcpt, &subject))
	if !utf8.ValidString(text) || len(text) > maxText || len(text) < maxText-2 || strings.ContainsAny(text, "\r\n\x00") || !strings.HasPrefix(text, "550 no  such \ufffd") {
		t.Errorf("text %d %.40q", len(text), text)
	}
	if rcpt != "bob@example.org" || len(subject) != 200 {
		t.Errorf("recipient %q, subject of %d", rcpt, len(subject))
	}
}

// While Postgres is away events wait up to the bound; those beyond are counted.
func TestPostgresAway(t *testing.T) {
	l := open(t)
	ctx := t.Context()
	exec := func(sql string) {
		_, err := l.pool.Exec(ctx, sql)
		must(t, err)
	}
	exec(`ALTER TABLE event RENAME TO event_away`) // not the data's fault: to be tried again
	for range maxPending + 700 {
		l.Add(Event{Kind: Refused, Message: "w"})
	}
	l.mu.Lock()
	dropped, pending := l.dropped, len(l.pending)+l.writing
	l.mu.Unlock()
	if dropped != 700 || pending != maxPending {
		t.Errorf("%d dropped, %d wait", dropped, pending)
	}
	exec(`ALTER TABLE event_away RENAME TO event`)
	within(t, 30*time.Second, "the events that waited", func() bool {
		return count(t, l, `SELECT count(*) FROM event`) == maxPending
	})
}

// One event that Postgres refuses does not hold up the others.
func TestRefusedEventIsLeftOut(t *testing.T) {
	l := open(t)
	_, err := l.pool.Exec(t.Context(), `ALTER TABLE event ADD CHECK (message <> 'poison')`)
	must(t, err)
	for _, m := range []string{"good", "poison", "good"} {
		l.Add(Event{Kind: Refused, Message: m})
	}
	l.Close()
	if n := count(t, l, `SELECT count(*) FROM event WHERE message = 'good'`); n != 2 {
		t.Fatalf("%d events", n)
	}
}

// Connections that break while events are written lose none of them.
func TestBrokenConnections(t *testing.T) {
	l := open(t)
	other := again(t, l)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 1000 {
				l.Add(Event{Kind: Refused, Message: fmt.Sprint(w, ".", i)})
			}
		})
	}
	for range 5 {
		_, err := other.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		must(t, err)
	}
	writers.Wait()
	within(t, 30*time.Second, "all events", func() bool {
		var n int
		must(t, other.QueryRow(t.Context(), `SELECT count(DISTINCT message) FROM event`).Scan(&n))
		return n == 4000
	})
}

// AddBatch does all that AddTx does, with the caller's other statements.
func TestAddBatch(t *testing.T) {
	l := open(t)
	account(t, l, 5, "alice@example.test")
	_, err := l.pool.Exec(t.Context(), `INSERT INTO hook (url, kinds, secret) VALUES ('https://example.org/', '{bounced}', '')`)
	must(t, err)
	must(t, l.askHooks(t.Context()))
	var b pgx.Batch
	b.Queue(`SELECT 1`)
	l.AddBatch(&b, Event{Kind: Deferred, Message: "m"}, Event{Kind: Bounced, Message: "m", Account: 5, Recipient: "gone@example.org", Code: 550, Enhanced: "5.1.1"})
	l.AddBatch(&b)
	must(t, pgx.BeginFunc(t.Context(), l.pool, func(tx pgx.Tx) error { return tx.SendBatch(t.Context(), &b).Close() }))
	for what, want := range map[string]int{"event": 2, "hook_delivery": 1, "suppression": 1} {
		if n := count(t, l, `SELECT count(*) FROM `+what); n != want {
			t.Errorf("%d rows in %s, want %d", n, what, want)
		}
	}
	var none *Log
	none.AddBatch(&b, Event{})
}
