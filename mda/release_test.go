package mda_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/mda"
	"posthouse/smtp/queue"
	"posthouse/smtp/relay"
)

// elsewhere is what the MDA must not ask about our own domain.
func elsewhere(_ context.Context, _ mail.Address, domain string) (relay.Route, error) {
	return relay.Route{Key: domain, Domain: domain}, nil
}

var errDialled = errors.New("dialled")

func dialled(context.Context, relay.Route, queue.Need) (queue.Connection, error) {
	return nil, errDialled
}

// TestHeld: what is to be sent later waits for recipients here as well, once
// there is somebody to bring it back.
func TestHeld(t *testing.T) {
	h := open(t, false)
	send := func() {
		in := incoming("bob@example.test", "a@far.example")
		in.Account, in.HoldUntil = h.alice, time.Now().Add(time.Hour)
		if _, err := h.deliver(in, text); err != nil {
			t.Fatal(err)
		}
	}
	send()
	if b, q := h.inbox(h.bob), h.queued(); len(b) != 1 || len(q) != 1 {
		t.Fatalf("without a scheduler: %d stored, queued %+v", len(b), q)
	}
	routes := h.mda.Routes(elsewhere)
	send()
	if b, q := h.inbox(h.bob), h.queued(); len(b) != 1 || len(q) != 2 || len(q[1].Recipients) != 2 {
		t.Fatalf("%d stored, queued %+v", len(b), q)
	}
	for range 2 {
		here, err := routes(t.Context(), mail.Address{}, "example.test")
		if err != nil || here.Key != "example.test" || here.Domain != "" {
			t.Errorf("the way here is %+v, %v", here, err)
		}
	}
	there, err := routes(t.Context(), mail.Address{}, "far.example")
	if err != nil || there.Domain != "far.example" {
		t.Errorf("the way there is %+v, %v", there, err)
	}
	if _, err := h.mda.Dial(dialled)(t.Context(), there, queue.Need{}); !errors.Is(err, errDialled) {
		t.Error(err)
	}
}

// TestReleased: the queue speaks with the MDA as with a next hop.
func TestReleased(t *testing.T) {
	h := open(t, false)
	h.alias("two@example.test", "b@far.example", "bob@example.test")
	conn, err := h.mda.Dial(dialled)(t.Context(), relay.Route{Key: "example.test"}, queue.Need{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	asked := 0
	msg := &relay.Message{Ref: "ref1", Content: strings.NewReader(trace + text), Commit: func(context.Context) error { asked++; return nil }}
	msg.From = addr("alice@example.test")
	for _, to := range []string{"bob@example.test", "gone@example.test", "two@example.test"} {
		msg.Recipients = append(msg.Recipients, mail.Recipient{Address: addr(to), Notify: mail.NotifySuccess})
	}
	results := conn.Send(t.Context(), msg)
	if len(results) != 3 || results[0].Outcome != relay.Delivered || results[1].Outcome != relay.Failed || results[1].Enhanced != (mail.Enhanced{5, 1, 1}) ||
		results[2].Outcome != relay.Delivered || asked != 1 || !conn.Alive() {
		t.Fatalf("%+v, asked %d times", results, asked)
	}
	bobs := h.inbox(h.bob)
	if len(bobs) != 2 || bobs[0] != "Return-Path: <alice@example.test>\r\nDelivered-To: bob@example.test\r\n"+trace+text {
		t.Errorf("bob has %q", bobs)
	}
	if q := h.queued(); len(q) != 1 || q[0].Recipients[0] != "b@far.example" {
		t.Errorf("queued %+v", q)
	}
	if reports := h.inbox(h.alice); len(reports) != 2 || !strings.Contains(reports[0], "Action: delivered") || !strings.Contains(reports[1], "Action: expanded") {
		t.Errorf("reported %q", reports)
	}
	if reports := h.inbox(h.alice); !strings.Contains(reports[0], "\r\nX-Posthouse-Id: ref1\r\n") {
		t.Errorf("the report does not name the message: %s", reports[0])
	}
	msg.Commit = func(context.Context) error { return errors.New("the lease is another's") }
	if results := conn.Send(t.Context(), msg); results[0].Outcome != relay.Deferred || len(h.inbox(h.bob)) != 2 {
		t.Errorf("%+v", results)
	}
	h.events.Close()
	list, err := h.events.Events(t.Context(), "ref1")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[events.Kind]int{}
	for _, e := range list {
		kinds[e.Kind]++
	}
	if !maps.Equal(kinds, map[events.Kind]int{events.Stored: 2, events.Queued: 1, events.Reported: 2}) {
		t.Errorf("recorded %v", kinds)
	}
}

// TestHeldAndReleased runs the scheduler.
func TestHeldAndReleased(t *testing.T) {
	h := open(t, false)
	s, err := h.queue.Start(queue.Sending{Dial: queueDial(h.mda), Route: h.mda.Routes(elsewhere), Bounce: h.mda.DeliverIn, Poll: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	in := incoming("bob@example.test")
	in.Account, in.HoldUntil = h.alice, time.Now().Add(700*time.Millisecond)
	if _, err := h.deliver(in, text); err != nil {
		t.Fatal(err)
	}
	if len(h.inbox(h.bob)) != 0 {
		t.Fatal("delivered at once")
	}
	for end := time.Now().Add(20 * time.Second); len(h.inbox(h.bob)) == 0; {
		if time.Now().After(end) {
			t.Fatalf("not released; queued %+v", h.queued())
		}
		<-time.After(20 * time.Millisecond)
	}
	if time.Now().Before(in.HoldUntil) {
		t.Error("released early")
	}
	for end := time.Now().Add(20 * time.Second); len(h.queued()) != 0 && time.Now().Before(end); {
		<-time.After(20 * time.Millisecond)
	}
	if q := h.queued(); len(q) != 0 {
		t.Errorf("queued still: %+v", q)
	}
}

func queueDial(m *mda.MDA) func(context.Context, relay.Route, queue.Need) (queue.Connection, error) {
	return m.Dial(dialled)
}
