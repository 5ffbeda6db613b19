package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
	"posthouse/smtp/queue"
	"posthouse/smtp/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 20 * time.Second

const text = "From: <alice@example.test>\r\nSubject: x\r\n\r\nbody\r\n"

// house is a database with alice, a queue on it and a world to send to.
type house struct {
	t      testing.TB
	url    string
	pool   *pgxpool.Pool
	store  *mailstore.Store
	q      *queue.Queue
	events *events.Log
	alice  mailstore.AccountID
	world  *world
}

func open(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, url: pgtest.URL(t), world: newWorld()}
	h.pool = pgtest.PoolOn(t, h.url)
	h.store = storetest.OpenOn(t, h.pool, mailstore.Options{Log: slog.New(slog.DiscardHandler), Sweep: -1, Index: -1})
	h.alice = storetest.Account(t, h.store, "alice@example.test")
	var err error
	if h.events, err = events.Open(h.pool, events.Options{Node: "test", Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.events.Close)
	h.q = h.node("one")
	return h
}

// node is another node's queue on the same database.
func (h *house) node(name string) *queue.Queue {
	return queue.New(queue.Config{Pool: h.pool, Store: h.store, Node: name, Hostname: "mx.example.test",
		Log: slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))})
}

// sending is quick in everything.
func (h *house) sending() queue.Sending {
	return queue.Sending{
		Dial: h.world.dial, Bounce: h.bounce, Events: h.events,
		Route: func(_ context.Context, _ mail.Address, domain string) (relay.Route, error) {
			return relay.Route{Key: domain, Domain: domain}, nil
		},
		Retry: queue.Schedule{50 * time.Millisecond, 100 * time.Millisecond}, Poll: 200 * time.Millisecond, Linger: 20 * time.Millisecond, Lease: 2 * time.Second,
	}
}

func (h *house) start(q *queue.Queue, s queue.Sending) *queue.Scheduler {
	h.t.Helper()
	scheduler, err := q.Start(s)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := scheduler.Close(ctx); err != nil {
			h.t.Error(err)
		}
	})
	return scheduler
}

// bounce stores a report in alice's INBOX, as the MDA does.
func (h *house) bounce(ctx context.Context, in *mail.Incoming, body *spool.Spool, inTx func(context.Context, pgx.Tx) error) error {
	if in.Recipients[0].String() != "alice@example.test" {
		return mail.Refuse(550, mail.Enhanced{5, 1, 1}, "No such user here")
	}
	_, err := h.store.Deliver(ctx, &mailstore.Delivery{Body: body, Targets: []mailstore.Target{{Account: h.alice, Mailbox: "INBOX", Recipient: "alice@example.test"}},
		InTx: func(ctx context.Context, tx pgx.Tx, _ mailstore.BlobRef) error { return inTx(ctx, tx) }})
	return err
}

// submit accepts a message of alice's for recipients elsewhere.
func (h *house) submit(ref string, to ...string) { h.t.Helper(); h.submitItem(envelope(ref, to...)) }

func envelope(ref string, to ...string) queue.Item {
	return queue.Item{Ref: ref, Envelope: mail.Envelope{From: addr("alice@example.test"), Recipients: recipients(to...)}}
}

func (h *house) submitItem(it queue.Item) {
	h.t.Helper()
	it.Prefix = fmt.Appendf(nil, "X-Ref: %s\r\n", it.Ref)
	body := spool.New(h.t.TempDir(), spool.Memory)
	defer body.Close()
	if _, err := io.WriteString(body, text); err != nil {
		h.t.Fatal(err)
	}
	wait(h.t, it.Ref+" is taken", func() bool { // a client asks again when it hears 451
		_, err := h.store.Deliver(context.Background(), &mailstore.Delivery{Body: body, InTx: func(ctx context.Context, tx pgx.Tx, blob mailstore.BlobRef) error {
			it.BlobID, it.Size = blob.ID, blob.Size+int64(len(it.Prefix))
			return h.q.Enqueue(ctx, tx, it)
		}})
		if err != nil && (mail.ClassOf(err) != mail.Temporary || errors.Is(err, mailstore.ErrUnknownOutcome)) {
			h.t.Fatal(err)
		}
		return err == nil
	})
	h.q.Committed(context.Background(), it)
}

// exec runs SQL.
func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.pool.Exec(context.Background(), sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

// number reads one.
func (h *house) number(sql string, args ...any) (n int) {
	h.t.Helper()
	if err := h.pool.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// wait polls until f holds.
func wait(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// empty waits until nothing is queued and no session is open.
func (h *house) empty() {
	h.t.Helper()
	wait(h.t, "the queue is empty", func() bool {
		return h.number(`SELECT (SELECT count(*) FROM queue_message) + (SELECT count(*) FROM queue_rcpt) + (SELECT count(*) FROM queue_session)`) == 0
	})
}

// inbox is what alice was told.
func (h *house) inbox() (list []string) {
	h.t.Helper()
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, h.alice, "INBOX")
	if err != nil {
		h.t.Fatal(err)
	}
	var all mailstore.UIDSet
	if box.UIDNext > 1 {
		all.AddRange(1, box.UIDNext-1)
	}
	if err := h.store.Messages(ctx, h.alice, box.ID, all, mailstore.FieldPrefix, func(m *mailstore.Message) error {
		var b bytes.Buffer
		_, err := h.store.OpenBody(ctx, m).WriteRange(ctx, &b, 0, m.Size)
		list = append(list, b.String())
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	return list
}

// world are the next hops: what each domain does with mail.
type world struct {
	mu    sync.Mutex
	hops  map[string]*hop
	taken []taken
}

type taken struct {
	Ref, Domain string
	To          []string
	At          time.Time
}

// hop is how a domain behaves. The zero hop takes everything.
type hop struct {
	refuse  func(n int) *queue.DialError // the nth connection, from 1
	stall   bool                         // connections hang until they are cut
	answer  func(m *relay.Message, n int) []relay.Result
	after   func(m *relay.Message) // with the message taken, before it is answered
	dead    func(n int) bool       // the connection ends after the nth message
	dials   int
	open    int
	peak    int
	sent    int
	needs   []queue.Need
	stalled int
}

func newWorld() *world { return &world{hops: map[string]*hop{}} }

func (w *world) set(domain string, h *hop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hops[domain] = h
}

func (w *world) read(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// refs are how often each message was taken.
func (w *world) refs() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for _, t := range w.taken {
		n[t.Ref] += len(t.To)
	}
	return n
}

func (w *world) dial(ctx context.Context, route relay.Route, need queue.Need) (queue.Connection, error) {
	w.mu.Lock()
	h := w.hops[route.Domain]
	if h == nil {
		h = &hop{}
		w.hops[route.Domain] = h
	}
	h.dials++
	h.needs = append(h.needs, need)
	if h.stall {
		h.stalled++
		w.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if h.refuse != nil {
		if e := h.refuse(h.dials); e != nil {
			w.mu.Unlock()
			return nil, e
		}
	}
	h.open++
	h.peak = max(h.peak, h.open)
	w.mu.Unlock()
	return &link{w: w, h: h, domain: route.Domain, alive: true}, nil
}

type link struct {
	w      *world
	h      *hop
	domain string
	n      int
	alive  bool
}

func (l *link) Alive() bool { return l.alive }

func (l *link) Close() { l.w.read(func() { l.h.open-- }) }

func all(m *relay.Message, r relay.Result) []relay.Result {
	list := make([]relay.Result, len(m.Recipients))
	for i := range list {
		list[i] = r
	}
	return list
}

func (l *link) Send(ctx context.Context, m *relay.Message) []relay.Result {
	l.n++
	content := make([]byte, m.Content.Size())
	if _, err := m.Content.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) {
		l.alive = false
		return all(m, relay.Result{Stage: relay.StageBody, Text: err.Error()})
	}
	if err := m.Commit(ctx); err != nil {
		l.alive = false
		return all(m, relay.Result{Stage: relay.StageDot, Text: err.Error()})
	}
	results := all(m, relay.Result{Outcome: relay.Delivered, Stage: relay.StageDot, Host: "mx." + l.domain, Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "OK"})
	if l.h.answer != nil {
		results = l.h.answer(m, l.n)
	}
	_, ref, _ := strings.Cut(string(content), "X-Ref: ")
	ref, _, _ = strings.Cut(ref, "\r\n")
	t := taken{Ref: ref, Domain: l.domain, At: time.Now()}
	for i, r := range results {
		if r.Outcome == relay.Delivered || r.Outcome == relay.Ambiguous {
			t.To = append(t.To, m.Recipients[i].String())
		}
	}
	if len(t.To) > 0 {
		l.w.read(func() { l.w.taken = append(l.w.taken, t); l.h.sent++ })
	}
	if l.h.after != nil {
		l.h.after(m)
	}
	if l.h.dead != nil && l.h.dead(l.n) {
		l.alive = false
	}
	return results
}
