package events

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A hook that has taken nothing for the whole time is disabled, and says why.
func TestHopelessHookIsDisabled(t *testing.T) {
	l := open(t)
	h := hooksOn(t, l.pool, quick())
	e := listen(t, answers(500))
	hook, _ := addHook(t, h, Hook{URL: e.URL})
	_, err := l.pool.Exec(t.Context(), `UPDATE hook SET failing_since = now() - interval '73 hours', failures = 9`)
	must(t, err)
	must(t, l.askHooks(t.Context()))
	record(t, l, Event{Kind: Delivered, Message: "m1"}, Event{Kind: Delivered, Message: "m2"})
	start(t, h)
	within(t, 10*time.Second, "the hook disabled", func() bool {
		seen, err := h.Hook(t.Context(), hook.ID)
		must(t, err)
		return seen.Disabled != nil && strings.Contains(seen.DisabledWhy, "500")
	})
	if n := e.requests(); n != 1 {
		t.Errorf("%d requests, want one probe", n)
	}
}

// A hook that stalls does not delay another, and is left alone after a while.
func TestSlowHookDelaysNoOther(t *testing.T) {
	l := open(t)
	opts := quick()
	opts.Patience, opts.Block = 20*time.Second, time.Hour
	h := hooksOn(t, l.pool, opts)
	release := make(chan struct{})
	slow := listen(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	fast := listen(t, nil)
	addHook(t, h, Hook{URL: slow.URL})
	addHook(t, h, Hook{URL: fast.URL})
	must(t, l.askHooks(t.Context()))
	start(t, h)
	var list []Event
	for i := range 200 {
		list = append(list, Event{Kind: Delivered, Message: fmt.Sprint("m", i)})
	}
	record(t, l, list...)
	within(t, 15*time.Second, "the fast hook's events", func() bool { return len(fast.messages()) == 200 })
	if n := slow.requests(); n > hookPosts {
		t.Errorf("%d requests at once to one hook", n)
	}
	close(release)
}

// A dead hook is asked less and less, not by every event that it is owed.
func TestDeadHookIsLeftAlone(t *testing.T) {
	l := open(t)
	opts := quick()
	opts.Block, opts.Retry = time.Hour, []time.Duration{time.Millisecond}
	h := hooksOn(t, l.pool, opts)
	e := listen(t, answers(500))
	hook, _ := addHook(t, h, Hook{URL: e.URL})
	must(t, l.askHooks(t.Context()))
	start(t, h)
	var list []Event
	for i := range 300 {
		list = append(list, Event{Kind: Delivered, Message: fmt.Sprint("m", i)})
	}
	record(t, l, list...)
	within(t, 10*time.Second, "the hook blocked", func() bool {
		seen, err := h.Hook(t.Context(), hook.ID)
		must(t, err)
		return seen.BlockedUntil != nil
	})
	if n := e.requests(); n > (blockAfter+1)*claimSize {
		t.Errorf("%d requests to a hook that takes nothing", n)
	}
}

// What a node that died had taken is delivered by another when the lease ends,
// and the dead node's late word does not count.
func TestLeaseIsTakenOver(t *testing.T) {
	l := open(t)
	opts := quick()
	opts.Lease = 300 * time.Millisecond
	dead := hooksOn(t, l.pool, opts)
	e := listen(t, nil)
	hook, _ := addHook(t, dead, Hook{URL: e.URL})
	must(t, l.askHooks(t.Context()))
	record(t, l, Event{Kind: Delivered, Message: "m1"}, Event{Kind: Delivered, Message: "m2"})
	taken, err := dead.claim(t.Context(), hook.ID, 1, claimSize)
	must(t, err)
	if len(taken) != 2 {
		t.Fatalf("%d claimed", len(taken))
	}
	alive := hooksOn(t, again(t, l), opts)
	if list, err := alive.claim(t.Context(), hook.ID, 2, claimSize); err != nil || len(list) != 0 {
		t.Fatalf("%d claimed beside the lease, %v", len(list), err)
	}
	start(t, alive)
	within(t, 10*time.Second, "both events", func() bool { return len(e.messages()) == 2 })
	within(t, 10*time.Second, "an empty table", func() bool { return count(t, l, `SELECT count(*) FROM hook_delivery`) == 0 })
	record(t, l, Event{Kind: Delivered, Message: "m3"})
	within(t, 10*time.Second, "the third", func() bool { return len(e.messages()) == 3 })
	must(t, dead.record(t.Context(), &hook, 1, taken, false))
}

// Two nodes tell of each event once.
func TestTwoNodesShareTheWork(t *testing.T) {
	l := open(t)
	other := again(t, l)
	e := listen(t, nil)
	h := hooksOn(t, l.pool, quick())
	addHook(t, h, Hook{URL: e.URL})
	must(t, l.askHooks(t.Context()))
	start(t, h)
	start(t, hooksOn(t, other, quick()))
	for i := range 10 {
		var list []Event
		for j := range 30 {
			list = append(list, Event{Kind: Delivered, Message: fmt.Sprint(i, ".", j)})
		}
		record(t, l, list...)
	}
	within(t, 15*time.Second, "all events", func() bool { return count(t, l, `SELECT count(*) FROM hook_delivery`) == 0 })
	if n := e.requests(); n != 300 || len(e.messages()) != 300 {
		t.Errorf("%d requests, %d events", n, len(e.messages()))
	}
}

// A node that is stopped gives back what it was at, at once.
func TestCloseGivesBack(t *testing.T) {
	l := open(t)
	opts := quick()
	opts.Patience, opts.Lease = time.Minute, time.Hour
	h := hooksOn(t, l.pool, opts)
	e := listen(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	addHook(t, h, Hook{URL: e.URL})
	must(t, l.askHooks(t.Context()))
	d := h.Start()
	record(t, l, Event{Kind: Delivered, Message: "m1"})
	within(t, 10*time.Second, "the request", func() bool { return e.requests() == 1 })
	d.Close()
	if n := count(t, l, `SELECT count(*) FROM hook_delivery WHERE next_at <= now() AND attempts = 0 AND lease IS NULL`); n != 1 {
		t.Errorf("the event was not given back")
	}
}
