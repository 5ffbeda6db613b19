package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

// said is what a client would hear, "" for yes.
func said(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*mail.Error](err)
	if !ok {
		t.Fatalf("not an answer: %v", err)
	}
	return fmt.Sprintf("%d %s", e.Code, e.Enhanced)
}

func account(t *testing.T, d *Directory, a string) Account {
	t.Helper()
	acct, err := d.Account(t.Context(), addr(a))
	must(t, err)
	return acct
}

func TestSendingLimits(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	alice, bob := account(t, d, "alice@example.test"), account(t, d, "bob@example.test")
	must(t, d.SetDefaultLimits(ctx, Limits{Hourly: 10, Daily: 15}))
	for _, c := range []struct {
		n    int
		want string
	}{{4, ""}, {6, ""}, {1, "452 4.7.1"}, {11, "550 5.7.1"}} {
		if got := said(t, d.MaySend(ctx, alice.ID, c.n)); got != c.want {
			t.Errorf("may send %d: %q, want %q", c.n, got, c.want)
		}
		if got := said(t, d.Allow(ctx, alice.ID, c.n)); got != c.want {
			t.Errorf("allow %d: %q, want %q", c.n, got, c.want)
		}
	}
	if got := said(t, d.Allow(ctx, bob.ID, 10)); got != "" {
		t.Errorf("bob is refused for what alice sent: %s", got)
	}
	s, err := d.Sending(ctx, alice.ID)
	if err != nil || s.LastHour != 10 || s.LastDay != 10 || s.Hourly != 10 || s.OwnHourly || !s.Blocked.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}

	// A limit of her own lifts the hour's; the day's still holds.
	must(t, d.SetLimits(ctx, alice.Address, &Limit{N: Unlimited}, nil))
	if got := said(t, d.Allow(ctx, alice.ID, 5)); got != "" {
		t.Error(got)
	}
	err = d.Allow(ctx, alice.ID, 1)
	if said(t, err) != "452 4.7.1" || !strings.Contains(err.Error(), "15 recipients a day") {
		t.Error(err)
	}
	must(t, d.SetLimits(ctx, alice.Address, &Limit{Default: true}, &Limit{N: 0}))
	if s, err := d.Sending(ctx, alice.ID); err != nil || s.Hourly != 10 || s.Daily != 0 || !s.OwnDaily || s.OwnHourly {
		t.Errorf("%+v, %v", s, err)
	}
	if got := said(t, d.Allow(ctx, alice.ID, 1)); got != "550 5.7.1" {
		t.Errorf("with no room at all: %q", got)
	}
	for what, err := range map[string]error{
		"below none": d.SetLimits(ctx, alice.Address, &Limit{N: -2}, nil),
		"default":    d.SetDefaultLimits(ctx, Limits{Hourly: -5}),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.SetLimits(ctx, addr("nobody@example.test"), &Limit{N: 1}, nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if got := said(t, d.Allow(ctx, 1<<40, 1)); got != "550 5.7.1" {
		t.Errorf("an account that is gone: %q", got)
	}
}

// TestSendingWindows moves the counts back in time, as the clock would.
func TestSendingWindows(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	alice := account(t, d, "alice@example.test")
	must(t, d.SetDefaultLimits(ctx, Limits{Hourly: 10, Daily: 20}))
	age := func(by time.Duration) {
		t.Helper()
		_, err := d.pool.Exec(ctx, "UPDATE sending_count SET five = five - $1, hour = hour - $2", int64(by/fiveMinutes), int64(by/time.Hour))
		must(t, err)
	}
	allow := func(n int, want string) {
		t.Helper()
		if got := said(t, d.Allow(ctx, alice.ID, n)); got != want {
			t.Errorf("allow %d: %q, want %q", n, got, want)
		}
	}
	allow(6, "")
	age(30 * time.Minute)
	allow(4, "")
	allow(1, "452 4.7.1")
	age(30 * time.Minute) // the first six are out of the hour
	allow(6, "")
	allow(1, "452 4.7.1")
	age(2 * time.Hour)
	allow(4, "")
	allow(1, "452 4.7.1") // the day is full with 20
	age(22 * time.Hour)
	allow(6, "")
	age(100 * time.Hour)
	if s, err := d.Sending(ctx, alice.ID); err != nil || s.LastHour != 0 || s.LastDay != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, pruneSending(ctx, d.pool))
	var rows int
	must(t, d.pool.QueryRow(ctx, "SELECT count(*) FROM sending_count").Scan(&rows))
	if rows != 0 {
		t.Errorf("%d rows are kept", rows)
	}
}

func TestRoomAt(t *testing.T) {
	w := window{counts: make([]int32, fives), last: 1000, span: fiveMinutes}
	w.counts[0], w.counts[5], w.counts[11] = 3, 4, 3
	for n, spans := range map[int]int64{1: 1001, 3: 1001, 4: 1006, 7: 1006, 8: 1012, 10: 1012} {
		if got, want := w.roomAt(n, 10), time.Unix(spans*300, 0).UTC(); !got.Equal(want) {
			t.Errorf("room for %d at %v, want %v", n, got, want)
		}
	}
}

// TestSendingOnTwoNodes has two nodes at the same limit at once: together they
// let through exactly what it says.
func TestSendingOnTwoNodes(t *testing.T) {
	d := open(t)
	other := node(t, d.pool, Options{})
	ctx := t.Context()
	alice := account(t, d, "alice@example.test")
	must(t, d.SetLimits(ctx, alice.Address, &Limit{N: 50}, nil))
	var let atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		dir := []*Directory{d, other}[i%2]
		wg.Go(func() {
			for range 20 {
				if dir.Allow(ctx, alice.ID, 1) == nil {
					let.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if let.Load() != 50 {
		t.Errorf("%d recipients were let through", let.Load())
	}
}

func TestLenientSending(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	local := node(t, d.pool, Options{Sending: SendingOptions{Lenient: true}})
	alice, bob := account(t, d, "alice@example.test"), account(t, d, "bob@example.test")
	must(t, d.SetLimits(ctx, bob.Address, &Limit{N: 3}, nil))
	if err := local.Allow(ctx, alice.ID, 5000); err != nil {
		t.Errorf("alice has no limit of her own: %v", err)
	}
	if got := said(t, local.Allow(ctx, bob.ID, 4)); got != "550 5.7.1" {
		t.Errorf("bob has: %q", got)
	}
	must(t, local.Outcome(ctx, alice.ID, 0, 500))
	if a := account(t, d, "alice@example.test"); a.SendBlocked {
		t.Error("blocked where tests send to nowhere")
	}
	must(t, d.BlockSending(ctx, alice.Address, "by hand"))
	if got := said(t, local.Allow(ctx, alice.ID, 1)); got != "550 5.7.1" {
		t.Errorf("a block holds everywhere: %q", got)
	}
}

// notices collects what postmasters are told.
type notices struct {
	ch   chan string
	d    *Directory
	fail atomic.Int32 // so many times
}

func (n *notices) notify(ctx context.Context, to mail.Address, message []byte, inTx func(context.Context, pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, n.d.pool, func(tx pgx.Tx) error {
		if err := inTx(ctx, tx); err != nil {
			return err
		}
		if n.fail.Add(-1) >= 0 {
			return errors.New("no room")
		}
		return nil
	})
	if err != nil {
		return err
	}
	n.ch <- to.String() + "\n" + string(message)
	return nil
}

func (n *notices) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-n.ch:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no notice")
		return ""
	}
}

func TestStolenAccountIsBlocked(t *testing.T) {
	pool := pgtest.Pool(t)
	n := &notices{ch: make(chan string, 10)}
	d := node(t, pool, Options{Hostname: "mx.example.test"})
	n.d = d
	d.Attach(Hooks{Notify: n.notify})
	other := node(t, pool, Options{})
	ctx := t.Context()
	must(t, second(d.CreateDomain(ctx, "example.test")))
	for _, a := range []string{"alice", "bob", "carol", "postmaster2"} {
		must(t, second(d.CreateAccount(ctx, addr(a+"@example.test"), a+"'s secret")))
	}
	blocked := func(a string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !account(t, d, a).SendBlocked; {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not blocked", a)
			}
			time.Sleep(5 * time.Millisecond) // polling: the work is another goroutine's
		}
	}

	// Most of what alice sends fails.
	alice := account(t, d, "alice@example.test")
	must(t, d.Outcome(ctx, alice.ID, 30, 10))
	must(t, d.Outcome(ctx, alice.ID, 6, 3))
	if account(t, d, "alice@example.test").SendBlocked {
		t.Error("blocked too early")
	}
	must(t, other.Outcome(ctx, alice.ID, 0, 8)) // 21 of 57; the other node has nobody to tell
	blocked("alice@example.test")
	if got := said(t, d.Allow(ctx, alice.ID, 1)); got != "550 5.7.1" {
		t.Errorf("she still sends: %q", got)
	}
	if _, err := d.Authenticate(ctx, "alice@example.test", "alice's secret", from("127.0.0.1")); err != nil {
		t.Errorf("she cannot log in: %v", err)
	}
	got := n.next(t)
	for _, want := range []string{"postmaster@example.test\nFrom: ", "\r\nSubject: Sending blocked: alice@example.test\r\n", "Auto-Submitted: auto-generated\r\n",
		"21 of the 57 recipients", "posthouse account unblock alice@example.test\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing from\n%s", want, got)
		}
	}
	if strings.Contains(got, "%!") || strings.Contains(strings.ReplaceAll(got, "\r\n", ""), "\r") {
		t.Errorf("ill-formed:\n%s", got)
	}
	must(t, d.UnblockSending(ctx, alice.Address))
	if got := said(t, d.Allow(ctx, alice.ID, 1)); got != "" {
		t.Errorf("after unblock: %q", got)
	}
	must(t, d.Outcome(ctx, alice.ID, 1, 1))
	if account(t, d, "alice@example.test").SendBlocked {
		t.Error("blocked for what was forgiven")
	}
	if err := d.UnblockSending(ctx, alice.Address); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}

	// Bob's password is used from everywhere; the notice fails the first time.
	n.fail.Store(1)
	bob := account(t, d, "bob@example.test")
	_, err := pool.Exec(ctx, "INSERT INTO login_known (pair, account_id, at) SELECT int4send(n), $1, now() FROM generate_series(1, $2::int) n", bob.ID, manyNetworks)
	must(t, err)
	if err := d.Allow(ctx, bob.ID, manyMin); err != nil {
		t.Fatal(err)
	}
	blocked("bob@example.test")
	for deadline := time.Now().Add(20 * time.Second); n.fail.Load() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody tried to tell")
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, err = pool.Exec(ctx, "UPDATE sending_policy SET notice_at = now() WHERE notice_at IS NOT NULL") // five minutes later
	must(t, err)
	d.wakeNotices()
	if got := n.next(t); !strings.Contains(got, "from 40 networks") {
		t.Error(got)
	}

	// Carol's program pushes on against the limit.
	carol := account(t, d, "carol@example.test")
	must(t, d.SetLimits(ctx, carol.Address, &Limit{N: 1}, nil))
	must(t, d.Allow(ctx, carol.ID, 1))
	for span := range pushedSpans {
		for i := range 3 { // at RCPT, where most of them stop
			got := said(t, d.MaySend(ctx, carol.ID, 1))
			if got == "550 5.7.1" && span == pushedSpans-1 && i > 0 {
				break // the block has come already
			}
			if got != "452 4.7.1" {
				t.Fatal(got)
			}
		}
		_, err := pool.Exec(ctx, "UPDATE sending_count SET five = five - 1 WHERE account_id = $1", carol.ID)
		must(t, err)
	}
	d.MaySend(ctx, carol.ID, 1)
	blocked("carol@example.test")
	if got := n.next(t); !strings.Contains(got, "turned it away in") {
		t.Error(got)
	}
	var due int
	must(t, pool.QueryRow(ctx, "SELECT count(*) FROM sending_policy WHERE notice_at IS NOT NULL").Scan(&due))
	if due != 0 {
		t.Errorf("%d notices are still due", due)
	}
	if len(n.ch) > 0 {
		t.Errorf("told twice: %s", <-n.ch)
	}
}

func BenchmarkAllow(b *testing.B) {
	d := open(b)
	ctx := b.Context()
	alice, err := d.Account(ctx, addr("alice@example.test"))
	must(b, err)
	must(b, d.SetLimits(ctx, alice.Address, &Limit{N: Unlimited}, &Limit{N: Unlimited}))
	for b.Loop() {
		must(b, d.Allow(ctx, alice.ID, 1))
	}
}
