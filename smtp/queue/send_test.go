package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
	"posthouse/smtp/queue"
	"posthouse/smtp/relay"
)

func temporary(code int, s string) relay.Result {
	return relay.Result{Outcome: relay.Deferred, Stage: relay.StageRcpt, Host: "mx.x.example", Code: code, Enhanced: mail.Enhanced{4, 2, 0}, Text: s}
}

func permanent(s string) relay.Result {
	return relay.Result{Outcome: relay.Failed, Stage: relay.StageRcpt, Host: "mx.x.example", Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: s}
}

func TestDelivered(t *testing.T) {
	h := open(t)
	h.start(h.q, h.sending())
	for i := range 50 {
		h.submit(fmt.Sprint("m", i), "a@one.example", "b@one.example", fmt.Sprintf("c@d%d.example", i%7))
	}
	h.empty()
	for ref, n := range h.world.refs() {
		if n != 3 {
			t.Errorf("%s reached %d recipients", ref, n)
		}
	}
	if n := len(h.world.refs()); n != 50 {
		t.Errorf("%d messages arrived", n)
	}
	h.world.read(func() {
		for _, m := range h.world.taken {
			if m.Domain == "one.example" && len(m.To) != 2 {
				t.Errorf("%s went to %s", m.Ref, m.To)
			}
		}
	})
	if n := h.number(`SELECT count(*) FROM event WHERE kind = 'delivered'`); n != 150 {
		t.Errorf("%d events", n)
	}
	if n := h.number(`SELECT count(*) FROM blob WHERE id NOT IN (SELECT blob_id FROM blob_gc)`); n != 0 {
		t.Errorf("%d bodies were not released", n)
	}
	if len(h.inbox()) != 0 {
		t.Errorf("alice was told %q", h.inbox())
	}
}

// TestOneOfThree: TRUST row 30. One is refused, one put off, one served; each
// is treated by itself, and there is one report.
func TestOneOfThree(t *testing.T) {
	h := open(t)
	h.world.set("x.example", &hop{answer: func(m *relay.Message, n int) []relay.Result {
		list := all(m, relay.Result{Outcome: relay.Delivered, Code: 250})
		for i, r := range m.Recipients {
			switch {
			case r.Local == "gone":
				list[i] = permanent("no such user")
			case r.Local == "later" && h.number(`SELECT attempts FROM queue_rcpt WHERE address LIKE 'later%'`) < 2:
				list[i] = temporary(450, "greylisted")
			}
		}
		return list
	}})
	h.start(h.q, h.sending())
	h.submit("m", "gone@x.example", "later@x.example", "fine@x.example")
	h.empty()
	if n := h.world.refs()["m"]; n != 2 {
		t.Errorf("%d were served", n)
	}
	box := h.inbox()
	if len(box) != 1 || !strings.Contains(box[0], "550 5.1.1 no such user") || strings.Contains(box[0], "later@") || !strings.Contains(box[0], "Subject: x") {
		t.Errorf("alice was told %q", box)
	}
	var kinds string
	if err := h.pool.QueryRow(t.Context(), `SELECT string_agg(kind || ' ' || k, ', ' ORDER BY kind) FROM (SELECT kind, count(*) k FROM event GROUP BY kind) x`).Scan(&kinds); err != nil {
		t.Fatal(err)
	}
	if kinds != "bounced 1, deferred 2, delivered 2, reported 1" {
		t.Errorf("events: %s", kinds)
	}
}

// TestManyRecipients: a message for more recipients than a transaction takes.
func TestManyRecipients(t *testing.T) {
	h := open(t)
	h.start(h.q, h.sending())
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("u%d@x.example", i))
	}
	h.submit("m", to...)
	h.empty()
	if n := h.world.refs()["m"]; n != 250 {
		t.Errorf("%d were served", n)
	}
	h.world.read(func() {
		for _, m := range h.world.taken {
			if len(m.To) > 20 {
				t.Errorf("%d at once", len(m.To))
			}
		}
	})
}

// TestNullSender: nobody is told of a bounce's bounce.
func TestNullSender(t *testing.T) {
	h := open(t)
	h.world.set("x.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result { return all(m, permanent("no")) }})
	h.start(h.q, h.sending())
	it := envelope("m", "a@x.example")
	it.From = mail.Address{}
	h.submitItem(it)
	double := envelope("d", "b@x.example")
	double.From = addr("nobody@example.test")
	h.submitItem(double)
	never := envelope("n", "c@x.example")
	never.Recipients[0].Notify = mail.NotifyNever
	h.submitItem(never)
	h.empty()
	if box := h.inbox(); len(box) != 0 {
		t.Errorf("alice was told %q", box)
	}
	if n := h.number(`SELECT count(*) FROM event WHERE kind = 'bounced'`); n != 3 {
		t.Errorf("%d events", n)
	}
	if n := h.number(`SELECT count(*) FROM event WHERE kind = 'bounced' AND text LIKE '%report to the sender could not be delivered%'`); n != 1 {
		t.Errorf("%d events say that the report was dropped", n)
	}
}

// TestSuccess: NOTIFY=SUCCESS is answered where the next hop does not report.
func TestSuccess(t *testing.T) {
	h := open(t)
	h.world.set("reports.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result {
		return all(m, relay.Result{Outcome: relay.Delivered, Code: 250, DSN: true})
	}})
	h.start(h.q, h.sending())
	for _, domain := range []string{"plain.example", "reports.example"} {
		it := envelope(domain, "a@"+domain)
		it.Recipients[0].Notify = mail.NotifySuccess
		h.submitItem(it)
	}
	h.empty()
	if box := h.inbox(); len(box) != 1 || !strings.Contains(box[0], "Action: relayed") || !strings.Contains(box[0], "a@plain.example") {
		t.Errorf("alice was told %q", box)
	}
}

// TestExpiry: what is always put off is announced once and bounces once, and
// not before its time.
func TestExpiry(t *testing.T) {
	h := open(t)
	h.world.set("x.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result { return all(m, temporary(451, "not today")) }})
	h.world.set("down.example", &hop{refuse: func(int) *queue.DialError {
		return &queue.DialError{Result: relay.Result{Stage: relay.StageConnect, Text: "nobody answers", Enhanced: mail.Enhanced{4, 4, 1}}}
	}})
	s := h.sending()
	s.Warn, s.Expire = 400*time.Millisecond, 1500*time.Millisecond
	h.start(h.q, s)
	begin := time.Now()
	h.submit("m1", "a@x.example", "b@x.example")
	h.submit("m2", "a@down.example")
	h.empty()
	if d := time.Since(begin); d < s.Expire {
		t.Errorf("bounced after %v", d)
	}
	count := map[string]int{}
	for _, m := range h.inbox() {
		for _, action := range []string{"delayed", "failed"} {
			for _, rcpt := range []string{"a@x.example", "b@x.example", "a@down.example"} {
				if strings.Contains(m, "Action: "+action) && strings.Contains(m, "Final-Recipient: rfc822; "+rcpt) || strings.Contains(m, "Action: "+action) && strings.Contains(m, "rfc822;"+rcpt) {
					count[action+" "+rcpt]++
				}
			}
		}
	}
	for _, rcpt := range []string{"a@x.example", "b@x.example", "a@down.example"} {
		if count["delayed "+rcpt] != 1 || count["failed "+rcpt] != 1 {
			t.Errorf("%s: %v", rcpt, count)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(h.inbox(), "\n=====\n"))
	}
}

// TestExpiredUntried: a server that was off while the time to bounce came tries
// first.
func TestExpiredUntried(t *testing.T) {
	h := open(t)
	h.submit("m", "a@x.example")
	h.exec(`UPDATE queue_message SET created_at = now() - interval '20 days'`)
	h.exec(`UPDATE queue_rcpt SET deadline_at = now() - interval '15 days', attempts = 40, tried_at = now() - interval '18 days', next_at = now() + interval '1 hour'`)
	h.exec(`UPDATE queue_destination SET ready = false, failures = 9, backoff_until = now() + interval '1 hour', next_at = now() + interval '1 hour'`)
	h.start(h.q, h.sending())
	h.empty()
	if h.world.refs()["m"] != 1 || len(h.inbox()) != 0 {
		t.Errorf("%v, alice was told %q", h.world.refs(), h.inbox())
	}
}

// TestDeliverBy: RFC 2852. With R it comes back in time, although the next
// attempt is far away; the next hop hears what is left.
func TestDeliverBy(t *testing.T) {
	h := open(t)
	left := make(chan time.Duration, 100)
	h.world.set("x.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result {
		left <- time.Until(m.DeliverBy)
		return all(m, temporary(451, "not today"))
	}})
	s := h.sending()
	s.Retry = queue.Schedule{time.Hour}
	h.start(h.q, s)
	it := envelope("m", "a@x.example")
	it.DeliverBy, it.ByMode = time.Now().Add(2*time.Second), mail.ByMode{Return: true}
	h.submitItem(it)
	if d := <-left; d < 0 || d > 2*time.Second {
		t.Errorf("the next hop heard %v", d)
	}
	h.empty()
	if box := h.inbox(); len(box) != 1 || !strings.Contains(box[0], "5.4.7") || !strings.Contains(box[0], "not today") {
		t.Errorf("alice was told %q", box)
	}
}

// TestHoldUntil: FUTURERELEASE.
func TestHoldUntil(t *testing.T) {
	h := open(t)
	h.start(h.q, h.sending())
	it := envelope("m", "a@x.example")
	it.HoldUntil = time.Now().Add(600 * time.Millisecond)
	h.submitItem(it)
	h.empty()
	h.world.read(func() {
		if at := h.world.taken[0].At; at.Before(it.HoldUntil.Add(-100*time.Millisecond)) || at.After(it.HoldUntil.Add(2*time.Second)) {
			t.Errorf("sent %v after its time", at.Sub(it.HoldUntil))
		}
	})
}

// TestPriority: RFC 6710 within a destination.
func TestPriority(t *testing.T) {
	h := open(t)
	for i, p := range []int8{0, -9, 9, 3, 0, -1} {
		it := envelope(fmt.Sprintf("%d %d", p, i), "a@x.example")
		it.Priority = p
		h.submitItem(it)
	}
	s := h.sending()
	s.PerDestination = 1
	h.exec(`UPDATE queue_destination SET concurrency = 1`)
	h.start(h.q, s)
	h.empty()
	var order []string
	h.world.read(func() {
		for _, m := range h.world.taken {
			order = append(order, m.Ref)
		}
	})
	if got := strings.Join(order, ", "); got != "9 2, 3 3, 0 0, 0 4, -1 5, -9 1" {
		t.Errorf("order %s", got)
	}
}

// TestPoison: a message that makes the sender panic, and one whose body is
// gone, hold up nobody.
func TestPoison(t *testing.T) {
	h := open(t)
	h.world.set("x.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result {
		if m.Recipients[0].Local == "panic" {
			panic("poison")
		}
		return all(m, relay.Result{Outcome: relay.Delivered, Code: 250})
	}})
	h.submit("m1", "panic@x.example")
	h.submit("m2", "gone@x.example")
	h.exec(`DELETE FROM blob_chunk WHERE blob_id = (SELECT max(blob_id) FROM queue_message)`)
	h.submit("m3", "odd@x.example")
	h.exec(`UPDATE queue_rcpt SET address = 'no address at all' WHERE address = 'odd@x.example'`)
	for i := range 5 {
		h.submit(fmt.Sprint("n", i), "a@x.example")
	}
	s := h.sending()
	s.Retry = queue.Schedule{time.Hour}
	h.start(h.q, s)
	wait(t, "the others arrive", func() bool { return len(h.world.refs()) == 6 })
	wait(t, "the poison is put off", func() bool {
		return h.number(`SELECT count(*) FROM queue_rcpt WHERE attempts = 1 AND next_at > now()`) == 2
	})
	h.exec(`DELETE FROM queue_message`)
	h.exec(`DELETE FROM queue_rcpt`)
	h.exec(`DELETE FROM blob_chunk`)
	h.exec(`DELETE FROM blob`)
}

// TestNeed: messages with needs of their own get sessions of their own.
func TestNeed(t *testing.T) {
	h := open(t)
	for i := range 6 {
		it := envelope(fmt.Sprint("m", i), "a@x.example")
		it.RequireTLS = i%2 == 1
		h.submitItem(it)
	}
	s := h.sending()
	s.PerDestination = 1
	h.exec(`UPDATE queue_destination SET concurrency = 1`)
	h.start(h.q, s)
	h.empty()
	h.world.read(func() {
		needs := h.world.hops["x.example"].needs
		if len(needs) != 6 || needs[0].RequireTLS || !needs[1].RequireTLS {
			t.Errorf("%+v", needs)
		}
	})
}

// TestFallback is tried when nobody takes a connection, not when policy forbids.
func TestFallback(t *testing.T) {
	h := open(t)
	h.world.set("x.example", &hop{refuse: func(int) *queue.DialError {
		return &queue.DialError{Result: relay.Result{Stage: relay.StageConnect, Text: "blocked"}}
	}})
	h.world.set("policy.example", &hop{refuse: func(int) *queue.DialError {
		return &queue.DialError{Result: relay.Result{Stage: relay.StagePolicy, Text: "MTA-STS"}}
	}})
	s := h.sending()
	s.Route = func(_ context.Context, _ mail.Address, domain string) (relay.Route, error) {
		return relay.Route{Key: domain, Domain: domain, Fallback: &relay.Route{Key: "relay:fallback", Domain: "fallback.example"}}, nil
	}
	s.Retry = queue.Schedule{time.Hour}
	h.start(h.q, s)
	h.submit("m", "a@x.example")
	h.submit("p", "a@policy.example")
	wait(t, "the fallback has it", func() bool { return h.world.refs()["m"] == 1 })
	wait(t, "the other waits", func() bool {
		return h.number(`SELECT count(*) FROM queue_rcpt WHERE attempts = 1 AND reply = 'MTA-STS'`) == 1
	})
	h.world.read(func() {
		if h.world.hops["fallback.example"].dials != 1 {
			t.Error("the fallback was dialled for what policy forbids")
		}
	})
}

// TestRefusedByPolicy: a destination that takes no mail from us, as it says to
// MAIL or RCPT, gets it by the fallback; what it refuses for its recipient's
// sake bounces. Who is put off by policy for once is asked again first.
func TestRefusedByPolicy(t *testing.T) {
	h := open(t)
	policy := func(stage relay.Stage, code int, e mail.Enhanced) relay.Result {
		r := relay.Result{Outcome: relay.Failed, Stage: stage, Host: "mx.x.example", Code: code, Enhanced: e, Text: "you are listed"}
		if code < 500 {
			r.Outcome = relay.Deferred
		}
		return r
	}
	say := map[string]relay.Result{
		"rcpt":  policy(relay.StageRcpt, 550, mail.Enhanced{5, 7, 1}),
		"ptr":   policy(relay.StageRcpt, 550, mail.Enhanced{5, 7, 25}),
		"mail":  policy(relay.StageMail, 554, mail.Enhanced{5, 0, 0}),
		"often": policy(relay.StageRcpt, 450, mail.Enhanced{4, 7, 1}),
		"gone":  permanent("no such user"),
		"spam":  policy(relay.StageDot, 554, mail.Enhanced{5, 7, 1}),
	}
	h.world.set("x.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result {
		list := all(m, relay.Result{Outcome: relay.Delivered, Code: 250})
		for i, r := range m.Recipients {
			if res, ok := say[r.Local]; ok {
				list[i] = res
			}
		}
		return list
	}})
	s := h.sending()
	s.Route = func(_ context.Context, _ mail.Address, domain string) (relay.Route, error) {
		return relay.Route{Key: domain, Domain: domain, Fallback: &relay.Route{Key: "relay:fallback", Domain: "fallback.example"}}, nil
	}
	h.start(h.q, s)
	h.submit("m", "rcpt@x.example", "ptr@x.example", "mail@x.example", "often@x.example", "gone@x.example", "spam@x.example", "fine@x.example")
	h.empty()
	var round, direct []string
	h.world.read(func() {
		for _, m := range h.world.taken {
			if m.Domain == "fallback.example" {
				round = append(round, m.To...)
			} else {
				direct = append(direct, m.To...)
			}
		}
	})
	slices.Sort(round)
	if got := strings.Join(round, " "); got != "mail@x.example often@x.example ptr@x.example rcpt@x.example" || strings.Join(direct, " ") != "fine@x.example" {
		t.Errorf("round %s, direct %s", got, direct)
	}
	if n := h.number(`SELECT count(*) FROM event WHERE kind = 'deferred'`); n != 2 {
		t.Errorf("put off %d times", n)
	}
	if box := h.inbox(); len(box) != 1 || !strings.Contains(box[0], "gone@") || !strings.Contains(box[0], "spam@") {
		t.Errorf("alice was told %q", box)
	}
}

// TestRekey: what lies at a destination that no route leads to any more goes
// where the route leads.
func TestRekey(t *testing.T) {
	h := open(t)
	s := h.sending()
	s.Route = func(_ context.Context, _ mail.Address, domain string) (relay.Route, error) {
		return relay.Route{Key: "relay:new", Domain: "smarthost.example"}, nil
	}
	h.start(h.q, s)
	h.submit("m", "a@x.example", "b@y.example")
	h.empty()
	h.world.read(func() {
		for _, m := range h.world.taken {
			if m.Domain != "smarthost.example" {
				t.Errorf("%+v", m)
			}
		}
	})
	if h.world.refs()["m"] != 2 {
		t.Error(h.world.refs())
	}
}

// TestRetryIsPunctual: what is put off is tried when it is due, and not only
// when the database is polled.
func TestRetryIsPunctual(t *testing.T) {
	h := open(t)
	h.world.set("grey.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result {
		if h.number(`SELECT max(attempts) FROM queue_rcpt WHERE destination = 'grey.example'`) == 0 {
			return all(m, temporary(450, "greylisted"))
		}
		return all(m, relay.Result{Outcome: relay.Delivered, Code: 250})
	}})
	h.world.set("down.example", &hop{refuse: func(n int) *queue.DialError {
		if n == 1 {
			return &queue.DialError{Result: relay.Result{Stage: relay.StageConnect, Text: "refused"}}
		}
		return nil
	}})
	s := h.sending()
	s.Poll = time.Hour
	h.start(h.q, s)
	h.submit("m", "a@grey.example", "b@grey.example", "c@grey.example", "d@down.example")
	h.empty()
	h.world.read(func() {
		if h.world.hops["grey.example"].sent != 1 {
			t.Errorf("what failed together came in %d transactions: %v", h.world.hops["grey.example"].sent, h.world.taken)
		}
	})
}

// TestExpiredWords: a bounce because time is up quotes the last reply as it was.
func TestExpiredWords(t *testing.T) {
	h := open(t)
	h.world.set("grey.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result { return all(m, temporary(450, "greylisted")) }})
	s := h.sending()
	s.Expire = 400 * time.Millisecond
	h.start(h.q, s)
	h.submit("m", "a@grey.example")
	h.empty()
	box := h.inbox()
	if len(box) != 1 || !strings.Contains(box[0], "Status: 4.4.7") || !strings.Contains(box[0], "Diagnostic-Code: smtp; 450 4.2.0 greylisted") {
		t.Errorf("alice was told %q", box)
	}
}

// TestDelayAskedFor: who asked for it hears of a delay before the bounce, under
// the shortest of schedules, too.
func TestDelayAskedFor(t *testing.T) {
	h := open(t)
	h.world.set("grey.example", &hop{answer: func(m *relay.Message, _ int) []relay.Result { return all(m, temporary(450, "greylisted")) }})
	s := h.sending()
	s.Expire = 3 * time.Second
	h.start(h.q, s)
	it := envelope("m", "a@grey.example", "b@grey.example")
	it.Recipients[0].Notify = mail.NotifyDelay | mail.NotifyFailure
	h.submitItem(it)
	h.empty()
	box := h.inbox()
	if len(box) != 2 || !strings.Contains(box[0], "Action: delayed") || !strings.Contains(box[0], "Status: 4.2.0") || strings.Contains(box[0], "b@grey.example") {
		t.Fatalf("alice was told %q", box)
	}
	if !strings.Contains(box[0], "If that fails, you will be told") {
		t.Errorf("alice was told %s", box[0])
	}
	if strings.Count(box[1], "Action: failed") != 2 {
		t.Errorf("alice was told %s", box[1])
	}
}
