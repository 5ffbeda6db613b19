package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/smtp/queue"
	"posthouse/smtp/relay"
)

// TestKilledNode: TRUST rows 22 and 29. One of two nodes dies while it sends;
// the other takes over when the leases end. Nothing is lost, and twice arrives
// at most what was in flight: one message for each session of the dead one.
func TestKilledNode(t *testing.T) {
	h := open(t)
	for d := range 4 {
		h.world.set(fmt.Sprintf("d%d.example", d), &hop{after: func(*relay.Message) { time.Sleep(2 * time.Millisecond) }})
	}
	const n = 400
	for i := range n {
		h.submit(fmt.Sprint("m", i), fmt.Sprintf("a@d%d.example", i%4))
	}
	s := h.sending()
	s.Lease = time.Second
	one, err := h.node("one").Start(s)
	if err != nil {
		t.Fatal(err)
	}
	h.start(h.node("two"), s)
	wait(t, "some have arrived", func() bool { return len(h.world.refs()) > n/8 })
	one.Kill()
	sessions := h.number(`SELECT count(*) FROM queue_session WHERE node = 'one'`) // it gave none back
	h.empty()
	twice := 0
	refs := h.world.refs()
	for _, k := range refs {
		twice += k - 1
	}
	if len(refs) != n || twice > sessions {
		t.Errorf("%d of %d arrived, %d twice, with %d sessions at the kill", len(refs), n, twice, sessions)
	}
	if k := h.number(`SELECT count(*) FROM queue_destination WHERE sessions <> 0`); k != 0 {
		t.Errorf("%d destinations believe in sessions", k)
	}
	t.Logf("%d twice, %d sessions at the kill", twice, sessions)
}

// TestSilentNode: the mail of a killed node is taken over before its leases end,
// that of a live one that is slow is not.
func TestSilentNode(t *testing.T) {
	h := open(t)
	stuck, on := make(chan bool), make(chan bool)
	h.world.set("dead.example", &hop{stall: true})
	h.world.set("slow.example", &hop{after: func(*relay.Message) { stuck <- true; <-on }})
	s := h.sending()
	s.Lease, s.Silence = time.Hour, time.Second
	h.submit("d", "a@dead.example")
	busy := s
	busy.Workers = 1 // so that the slow mail is the other's
	one, err := h.node("one").Start(busy)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "one node is at it", func() bool { return h.number(`SELECT count(*) FROM queue_rcpt WHERE session_id IS NOT NULL`) == 1 })
	h.start(h.node("two"), s)
	h.submit("s", "a@slow.example")
	<-stuck
	h.world.set("dead.example", &hop{})
	one.Kill()
	wait(t, "the other took it over", func() bool { return h.world.refs()["d"] == 1 })
	on <- true
	h.empty()
	if n := h.world.refs()["s"]; n != 1 {
		t.Errorf("slow mail was sent %d times", n)
	}
}

// TestFence: a session that was reaped while it sends records nothing, and
// sends nothing more.
func TestFence(t *testing.T) {
	h := open(t)
	inside, on := make(chan bool), make(chan bool)
	var first atomic.Bool
	h.world.set("x.example", &hop{after: func(*relay.Message) {
		if first.CompareAndSwap(false, true) {
			inside <- true
			<-on
		}
	}})
	for i := range 3 {
		h.submit(fmt.Sprint("m", i), "a@x.example")
	}
	h.start(h.q, h.sending())
	<-inside
	h.exec(`UPDATE queue_session SET lease_until = now() - interval '1 second'`)
	wait(t, "the lease is taken away", func() bool {
		return h.number(`SELECT count(*) FROM event WHERE kind = 'delivered'`) == 3
	})
	on <- true
	h.empty()
	refs := h.world.refs()
	if refs["m0"]+refs["m1"]+refs["m2"] != 4 {
		t.Errorf("%v", refs)
	}
	if n := h.number(`SELECT count(*) FROM event WHERE kind = 'delivered'`); n != 3 {
		t.Errorf("%d deliveries recorded", n)
	}
}

// TestFairness: mail for others does not wait behind a stalled destination,
// however much waits there.
func TestFairness(t *testing.T) {
	h := open(t)
	h.world.set("stalled.example", &hop{stall: true})
	h.submit("s", "a@stalled.example")
	h.exec(`WITH s AS (INSERT INTO queue_message (blob_id, reverse_path, prefix, size, recipients) SELECT blob_id, reverse_path, prefix, size, 1 FROM queue_message, generate_series(1, 5000) RETURNING id)
		INSERT INTO queue_rcpt (message_id, n, address, destination, deadline_at) SELECT id, 1, 'a@stalled.example', 'stalled.example', now() + interval '4 hours' FROM s`)
	s := h.sending()
	s.Workers = 10
	scheduler, err := h.q.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the destination stalls", func() (stalled bool) {
		h.world.read(func() { stalled = h.world.hops["stalled.example"].stalled > 0 })
		return stalled
	})
	begun := map[string]time.Time{}
	for i := range 300 {
		ref := fmt.Sprint("m", i)
		begun[ref] = time.Now()
		h.submit(ref, fmt.Sprintf("a@d%d.example", i%100))
	}
	wait(t, "the others' mail arrives", func() bool { return len(h.world.refs()) == 300 })
	var waits []time.Duration
	h.world.read(func() {
		for _, m := range h.world.taken {
			waits = append(waits, m.At.Sub(begun[m.Ref]))
		}
	})
	slices.Sort(waits)
	t.Logf("waited %v in the median, %v at most", waits[150], waits[299])
	if n := h.number(`SELECT count(*) FROM queue_session WHERE destination = 'stalled.example'`); n > 2 {
		t.Errorf("%d sessions with the stalled one", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := scheduler.Close(ctx); err == nil {
		t.Error("the stalled sessions were not cut")
	}
	if n := h.number(`SELECT (SELECT count(*) FROM queue_session) + (SELECT count(*) FROM queue_rcpt WHERE session_id IS NOT NULL)`); n != 0 {
		t.Errorf("%d claims were not given back", n)
	}
}

// TestConcurrency rises while mail is taken and falls to one when connections
// fail; a failing destination is left alone.
func TestConcurrency(t *testing.T) {
	h := open(t)
	for i := range 600 {
		h.submit(fmt.Sprint("m", i), "a@x.example")
	}
	h.world.set("x.example", &hop{after: func(*relay.Message) { time.Sleep(time.Millisecond) }})
	h.start(h.q, h.sending())
	h.empty()
	var peak int
	h.world.read(func() { peak = h.world.hops["x.example"].peak })
	if c := h.number(`SELECT concurrency FROM queue_destination WHERE name = 'x.example'`); peak < 4 || c < 4 || c > 20 || peak > 20 {
		t.Errorf("%d connections at once, concurrency %d", peak, c)
	}
	var up atomic.Bool
	down := &hop{refuse: func(n int) *queue.DialError {
		if up.Load() {
			return nil
		}
		return &queue.DialError{Result: relay.Result{Stage: relay.StageConnect, Text: "nobody answers"}}
	}}
	h.world.set("x.example", down)
	for i := range 100 {
		h.submit(fmt.Sprint("n", i), "a@x.example")
	}
	wait(t, "the destination backs off", func() bool {
		return h.number(`SELECT count(*) FROM queue_destination WHERE name = 'x.example' AND failures >= 3 AND concurrency = 1`) == 1
	})
	up.Store(true)
	h.empty()
	if n := h.number(`SELECT failures FROM queue_destination WHERE name = 'x.example'`); n != 0 {
		t.Errorf("%d failures are remembered", n)
	}
}

// TestLostWake: mail whose commit nobody told of is found by the poll.
func TestLostWake(t *testing.T) {
	h := open(t)
	h.start(h.node("other"), h.sending())
	h.submit("m", "a@x.example") // by a node without a scheduler: NOTIFY
	h.empty()
	h.exec(`UPDATE queue_destination SET ready = false, next_at = now() + interval '1 hour'`)
	h.exec(`WITH m AS (INSERT INTO queue_message (blob_id, ref, prefix, size, recipients) SELECT blob_id, 'quiet', 'X-Ref: quiet', 12, 1 FROM blob_gc LIMIT 1 RETURNING id)
		INSERT INTO queue_rcpt (message_id, n, address, destination) SELECT id, 1, 'a@x.example', 'x.example' FROM m`)
	h.empty()
}

// TestDatabaseAway: a scheduler whose connections are cut goes on.
func TestDatabaseAway(t *testing.T) {
	h := open(t)
	h.start(h.q, h.sending())
	for i := range 100 {
		h.submit(fmt.Sprint("m", i), "a@x.example")
		if i%25 == 10 {
			if _, err := pgtest.PoolOn(t, h.url).Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%queue%'`); err != nil {
				t.Fatal(err)
			}
			wait(t, "the pool works again", func() bool { return h.pool.Ping(context.Background()) == nil })
		}
	}
	h.empty()
	if n := len(h.world.refs()); n != 100 {
		t.Errorf("%d arrived", n)
	}
}

// TestDrain: Close waits for the message under way, and gives the rest back.
func TestDrain(t *testing.T) {
	h := open(t)
	inside, on := make(chan bool), make(chan bool)
	var first atomic.Bool
	h.world.set("x.example", &hop{after: func(*relay.Message) {
		if first.CompareAndSwap(false, true) {
			inside <- true
			<-on
		}
	}})
	for i := range 5 {
		h.submit(fmt.Sprint("m", i), "a@x.example")
	}
	h.exec(`UPDATE queue_destination SET concurrency = 1`)
	s, err := h.q.Start(h.sending())
	if err != nil {
		t.Fatal(err)
	}
	<-inside
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	on <- true
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n := len(h.world.refs()) + h.number(`SELECT count(*) FROM queue_rcpt WHERE session_id IS NULL`); n != 5 || h.number(`SELECT count(*) FROM queue_session`) != 0 {
		t.Errorf("%d, sent %v", n, h.world.refs())
	}
	h.exec(`WITH gone AS (DELETE FROM queue_message RETURNING blob_id) INSERT INTO blob_gc SELECT blob_id, now() FROM gone ON CONFLICT DO NOTHING`)
	h.exec(`DELETE FROM queue_rcpt`)
}

// TestDrainInterrupts: a next hop that lets us wait for anything but the reply
// to the end of a message does not keep the server from stopping; its mail is
// given back as if it had not been tried. TRUST.md row 33.
func TestDrainInterrupts(t *testing.T) {
	h := open(t)
	inside, on := make(chan bool), make(chan bool)
	h.world.set("stalled.example", &hop{stall: true})
	h.world.set("x.example", &hop{after: func(*relay.Message) { inside <- true; <-on }})
	sending := h.sending()
	sending.Grace = 50 * time.Millisecond
	s, err := h.q.Start(sending)
	if err != nil {
		t.Fatal(err)
	}
	h.submit("s", "a@stalled.example")
	h.submit("m", "a@x.example")
	<-inside
	wait(t, "it is stalled", func() (yes bool) {
		h.world.read(func() { yes = h.world.hops["stalled.example"].stalled == 1 })
		return yes
	})
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	wait(t, "the stalled one is given back", func() bool {
		return h.number(`SELECT count(*) FROM queue_rcpt WHERE session_id IS NULL AND attempts = 0`) == 1
	})
	select {
	case err := <-closed:
		t.Fatalf("it closed before the end was answered: %v", err)
	case on <- true:
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if h.world.refs()["m"] != 1 || h.number(`SELECT count(*) FROM queue_rcpt`) != 1 {
		t.Errorf("sent %v", h.world.refs())
	}
}

// TestClockSetBack: mail that was put off before the clock went back by days is
// sent all the same; what its sender holds is not. TRUST.md row 26.
func TestClockSetBack(t *testing.T) {
	h := open(t)
	h.submit("m", "a@x.example")
	held := envelope("h", "b@y.example")
	held.HoldUntil = time.Now().Add(72 * time.Hour)
	h.submitItem(held)
	const later = ` now() + interval '3 days' `
	h.exec(`UPDATE queue_rcpt SET attempts = 1, tried_at = ` + later + `, next_at = ` + later + ` WHERE destination = 'x.example'`)
	h.exec(`UPDATE queue_message SET created_at = ` + later + ` WHERE ref = 'm'`)
	h.exec(`UPDATE queue_destination SET ready = false, failures = 1, next_at = ` + later + `, backoff_until = ` + later + `, tried_at = ` + later)
	h.start(h.q, h.sending())
	wait(t, "it is sent", func() bool { return h.world.refs()["m"] == 1 })
	if h.world.refs()["h"] != 0 {
		t.Error("what is held was sent")
	}
}

// TestOperate: hold, release, retry and bounce, with the server and without.
func TestOperate(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	h.submit("m1", "a@x.example", "b@y.example")
	h.submit("m2", "c@x.example")
	dry, err := h.q.Hold(ctx, queue.Filter{Recipient: "@X.example"}, queue.Operator{DryRun: true})
	if err != nil || dry.Messages != 2 || dry.Recipients != 2 || h.number(`SELECT count(*) FROM queue_rcpt WHERE held`) != 0 {
		t.Fatalf("%+v, %v", dry, err)
	}
	if c, err := h.q.Hold(ctx, queue.Filter{Recipient: "@x.example"}, queue.Operator{Events: h.events}); err != nil || c.Recipients != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	s := h.sending()
	s.Retry = queue.Schedule{time.Hour}
	h.world.set("x.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result { return all(m, temporary(451, "not now")) }})
	h.start(h.q, s)
	wait(t, "what is not held arrives", func() bool { return h.world.refs()["m1"] == 1 && h.number(`SELECT count(*) FROM queue_rcpt`) == 2 })
	if c, err := h.q.Release(ctx, queue.Filter{Held: true}, queue.Operator{}); err != nil || c.Recipients != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	wait(t, "both are tried", func() bool { return h.number(`SELECT count(*) FROM queue_rcpt WHERE attempts = 1`) == 2 })
	list, err := h.q.List(ctx, queue.Filter{Deferred: true})
	if err != nil || len(list) != 2 || list[0].State != "deferred" || list[0].Reason != "mx.x.example said: 451 4.2.0 not now" || time.Until(list[0].Next) < 50*time.Minute {
		t.Errorf("%+v, %v", list, err)
	}
	if c, err := h.q.Retry(ctx, queue.Filter{Sender: "alice@example.test"}, queue.Operator{}); err != nil || c.Recipients != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	wait(t, "both are tried again", func() bool { return h.number(`SELECT count(*) FROM queue_rcpt WHERE attempts = 2`) == 2 })
	if c, err := h.q.Bounce(ctx, queue.Filter{Ref: "m2"}, "we gave up", queue.Operator{}); err != nil || c.Recipients != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	wait(t, "it bounced", func() bool { return h.number(`SELECT count(*) FROM queue_message`) == 1 })
	if box := h.inbox(); len(box) != 1 || !strings.Contains(box[0], "we gave up") {
		t.Errorf("alice was told %q", box)
	}
	h.world.set("x.example", &hop{})
	if _, err := h.q.Retry(ctx, queue.Filter{}, queue.Operator{}); err != nil {
		t.Fatal(err)
	}
	h.empty()
	if _, err := h.q.Show(ctx, 1); err == nil {
		t.Error("what was sent is shown")
	}
}
