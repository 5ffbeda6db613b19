package mda_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

const text = "From: <sender@example.org>\r\nSubject: x\r\n\r\nbody\r\n"

const trace = "Received: from x\r\n\tby mx.example.test;\r\n\tnow\r\n"

func TestLocal(t *testing.T) {
	h := open(t, false)
	h.alias("both@example.test", "alice@example.test", "bob@example.test")
	for _, to := range [][]string{
		{"alice@example.test"},
		{"ALICE@example.test"},
		{"alice+tag@example.test"},
		{"alice@example.test", "alice+tag@example.test", "both@example.test"},
	} {
		settle, err := h.deliver(incoming(to...), text)
		if err != nil {
			t.Fatal(to, err)
		}
		settle(true)
	}
	const head = "Return-Path: <sender@example.org>\r\nDelivered-To: alice@example.test\r\n"
	want := []string{head + trace + text, head + trace + text, head + "X-Original-To: alice+tag@example.test\r\n" + trace + text, head + trace + text}
	if got := h.inbox(h.alice); !slices.Equal(got, want) {
		t.Errorf("alice has %q", got)
	}
	if got := h.inbox(h.bob); len(got) != 1 || got[0] != "Return-Path: <sender@example.org>\r\nDelivered-To: bob@example.test\r\nX-Original-To: both@example.test\r\n"+trace+text {
		t.Errorf("bob has %q", got)
	}
	if q := h.queued(); len(q) != 0 {
		t.Errorf("queued %+v", q)
	}
}

// TestOneFailsAllFail: TRUST promise 1 and DESIGN.md, "if one recipient fails
// at commit all roll back".
func TestOneFailsAllFail(t *testing.T) {
	h := open(t, false)
	small := int64(10)
	if err := h.dir.SetQuota(t.Context(), addr("bob@example.test"), &small, nil); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		to    []string
		code  int
		class mail.Class
	}{
		{[]string{"bob@example.test"}, 552, mail.Permanent},
		{[]string{"alice@example.test", "bob@example.test"}, 452, mail.Temporary},
		{[]string{"alice@example.test", "gone@example.test"}, 451, mail.Temporary},
		{[]string{"gone@example.test"}, 550, mail.Permanent},
		{[]string{"u@elsewhere.example"}, 550, mail.Permanent},
		{[]string{"alice@example.test", "u@elsewhere.example"}, 451, mail.Temporary},
	} {
		_, err := h.deliver(incoming(x.to...), text)
		var e *mail.Error
		if !errors.As(err, &e) || e.Code != x.code || e.Class != x.class {
			t.Errorf("%s: %v", x.to, err)
		}
	}
	if got := h.inbox(h.alice); len(got) != 0 {
		t.Errorf("alice has %q", got)
	}
}

func TestQueued(t *testing.T) {
	h := open(t, false)
	h.alias("away@example.test", "alice@example.test", "alice@elsewhere.example")
	in := incoming("bob@example.test", "a@elsewhere.example", "b@far.example", "a@elsewhere.example", "away@example.test")
	in.Account, in.SMTPUTF8, in.Body = h.bob, true, mail.Body8Bit
	settle, err := h.deliver(in, text)
	if err != nil {
		t.Fatal(err)
	}
	settle(true)
	q := h.queued()
	if len(q) != 2 || q[0].Account != h.bob || q[1].Account != 0 || q[0].From != "sender@example.org" || q[0].Ref != "id1" ||
		!slices.Equal(q[0].Recipients, []string{"a@elsewhere.example", "b@far.example"}) ||
		!slices.Equal(q[1].Recipients, []string{"alice@elsewhere.example"}) || q[0].Size != int64(len(trace+text)) {
		t.Errorf("queued %+v", q)
	}
	if len(h.inbox(h.alice)) != 1 || len(h.inbox(h.bob)) != 1 {
		t.Error("the local copies")
	}
	var blobs, bodies int
	var prefix []byte
	err = h.pool.QueryRow(t.Context(), `SELECT count(DISTINCT blob_id), (SELECT count(*) FROM blob), (array_agg(prefix) FILTER (WHERE account_id IS NULL))[1] FROM queue_message`).Scan(&blobs, &bodies, &prefix)
	if err != nil || blobs != 1 || bodies != 1 || string(prefix) != "Delivered-To: away@example.test\r\n"+trace {
		t.Errorf("%d blobs, %d bodies, prefix %q, %v", blobs, bodies, prefix, err)
	}
	var destinations int
	if err := h.pool.QueryRow(t.Context(), `SELECT count(*) FROM queue_destination WHERE ready`).Scan(&destinations); err != nil || destinations != 2 {
		t.Errorf("%d destinations are due, %v", destinations, err)
	}
	if m, r, err := h.queue.Depth(t.Context()); m != 2 || r != 3 || err != nil {
		t.Errorf("depth %d, %d, %v", m, r, err)
	}
	if err := h.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestQueuedOnly: a message without a local copy keeps its body.
func TestQueuedOnly(t *testing.T) {
	h := open(t, false)
	in := incoming("a@elsewhere.example")
	in.Account = h.alice
	settle, err := h.deliver(in, strings.Repeat(text, 20000)) // several frames
	if err != nil {
		t.Fatal(err)
	}
	settle(true)
	if err := h.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := h.pool.QueryRow(t.Context(), `SELECT count(*) FROM queue_message q JOIN blob_chunk USING (blob_id)`).Scan(&n); err != nil || n != 4 {
		t.Errorf("%d frames, %v", n, err)
	}
}

// TestLostReply is TRUST promise 2 for a message with local and remote
// recipients: not answered, sent again: folded; answered: two copies.
func TestLostReply(t *testing.T) {
	h := open(t, false)
	send := func(heard bool) {
		in := incoming("bob@example.test", "a@elsewhere.example")
		in.Account = h.bob
		settle, err := h.deliver(in, text)
		if err != nil {
			t.Fatal(err)
		}
		settle(heard)
	}
	send(false)
	send(true)
	if b, q := h.inbox(h.bob), h.queued(); len(b) != 1 || len(q) != 1 {
		t.Errorf("a lost 250 made %d copies, %d queued", len(b), len(q))
	}
	send(true)
	if b, q := h.inbox(h.bob), h.queued(); len(b) != 2 || len(q) != 2 {
		t.Errorf("the same mail sent again: %d copies, %d queued", len(b), len(q))
	}
}

func TestCapture(t *testing.T) {
	h := open(t, true)
	h.alias("away@example.test", "alice@elsewhere.example")
	settle, err := h.deliver(incoming("a@elsewhere.example", "b@far.example", "away@example.test", "bob@example.test", "a@elsewhere.example"), text)
	if err != nil {
		t.Fatal(err)
	}
	settle(true)
	head := func(to, original string) string {
		return "Return-Path: <sender@example.org>\r\nDelivered-To: " + to + "\r\nX-Original-To: " + original + "\r\n" + trace + text
	}
	want := []string{head("a@elsewhere.example", "a@elsewhere.example"), head("b@far.example", "b@far.example"), head("alice@elsewhere.example", "away@example.test")}
	if got := h.inbox(h.captured); !slices.Equal(got, want) {
		t.Errorf("captured %q", got)
	}
	if len(h.inbox(h.bob)) != 1 || len(h.queued()) != 0 {
		t.Error("bob's copy, or the queue")
	}
}

// TestLoop is TRUST row 18: two servers that forward to each other.
func TestLoop(t *testing.T) {
	h := open(t, false)
	h.alias("away@example.test", "back@elsewhere.example")
	for header, ok := range map[string]bool{
		"": true,
		"Delivered-To: back@elsewhere.example\r\n":  true,
		"Delivered-To: away@example.test\r\n":       false,
		"delivered-to:\r\n <AWAY@example.test>\r\n": false,
	} {
		_, err := h.deliver(incoming("away@example.test"), header+text)
		var e *mail.Error
		if ok && err != nil || !ok && (!errors.As(err, &e) || e.Code != 554 || e.Enhanced != mail.Enhanced{5, 4, 6}) {
			t.Errorf("%q: %v", header, err)
		}
	}
	if _, err := h.deliver(incoming("alice@example.test"), "Delivered-To: alice@example.test\r\n"+text); err != nil {
		t.Errorf("a message that alice sends to herself once more: %v", err)
	}
}

func TestDatabaseOutOfReach(t *testing.T) {
	h := open(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body := spool.New(t.TempDir(), 1000)
	defer body.Close()
	if _, err := h.mda.Deliver(ctx, incoming("alice@example.test"), body); mail.ClassOf(err) != mail.Temporary {
		t.Errorf("%v", err)
	}
	if got := h.inbox(h.alice); len(got) != 0 {
		t.Errorf("alice has %q", got)
	}
}
