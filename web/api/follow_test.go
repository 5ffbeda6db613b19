package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

func TestSuppressions(t *testing.T) {
	h := open(t, nil)
	h.ask("POST", "/api/v1/suppressions", `{"address":"Carol@Example.org","note":"asked on the phone"}`).is(201, "")
	g := h.ask("POST", "/api/v1/suppressions", `{"address":"carol@example.org"}`).is(200, "")
	if g.json["address"] != "carol@example.org" || g.json["reason"] != "manual" || g.json["note"] != "asked on the phone" {
		t.Errorf("%s", g.body)
	}
	two := `{"from":"alice@example.test","to":["bob@example.test","CAROL@example.org"],"subject":"s","text":"t"}`
	g = h.ask("POST", "/api/v1/messages", two, "Idempotency-Key", "k").is(202, "")
	if got := g.statuses(); !slices.Equal(got, []string{"bob@example.test accepted", "CAROL@example.org suppressed"}) {
		t.Errorf("%q", got)
	}
	only := `{"from":"alice@example.test","to":"carol@example.org","subject":"s","text":"t"}`
	g = h.ask("POST", "/api/v1/messages", only, "Idempotency-Key", "o").is(202, "")
	id := g.json["id"].(string)
	again := h.ask("POST", "/api/v1/messages", only, "Idempotency-Key", "o").is(202, "")
	if again.json["id"] != id {
		t.Errorf("%s %s", g.body, again.body)
	}
	g = h.ask("GET", "/api/v1/messages/"+id, "").is(200, "")
	if got := g.statuses(); !slices.Equal(got, []string{"carol@example.org suppressed"}) {
		t.Errorf("%s", g.body)
	}
	if n := len(h.inbox("captured@example.test")); n != 0 {
		t.Errorf("%d were sent", n)
	}
	// Another account's list is another; so is its message.
	bob := []string{"Authorization", "Bearer " + h.bobKey}
	h.ask("GET", "/api/v1/messages/"+id, "", bob...).is(404, "not-found")
	g = h.ask("GET", "/api/v1/suppressions", "", bob...).is(200, "")
	if len(g.json["suppressions"].([]any)) != 0 {
		t.Errorf("%s", g.body)
	}
	h.ask("DELETE", "/api/v1/suppressions/carol@example.org", "", bob...).is(404, "not-found")
	h.ask("POST", "/api/v1/messages", strings.Replace(only, "alice@", "bob@", 1), bob...).is(202, "")
	g = h.ask("GET", "/api/v1/suppressions?address=carol", "").is(200, "")
	if len(g.json["suppressions"].([]any)) != 1 || g.json["next"].(float64) == 0 {
		t.Errorf("%s", g.body)
	}
	h.ask("DELETE", "/api/v1/suppressions/carol%40example.org", "").is(204, "")
	h.ask("DELETE", "/api/v1/suppressions/carol@example.org", "").is(404, "not-found")
	h.ask("DELETE", "/api/v1/suppressions/nonsense", "").is(404, "not-found")
	h.ask("POST", "/api/v1/suppressions", `{"address":"x"}`).is(422, "invalid-message")
	h.ask("POST", "/api/v1/suppressions", `{}`).is(422, "invalid-message")
	h.ask("POST", "/api/v1/suppressions", `[]`).is(422, "invalid-message")
	h.ask("GET", "/api/v1/suppressions?after=x", "").is(400, "invalid-parameter")
}

// One click of the recipient stops what is sent for that list.
func TestUnsubscribe(t *testing.T) {
	h := open(t, nil)
	news := simple(`"list_unsubscribe":{"one_click":true,"list":"news","mailto":"info@example.test"}`)
	h.ask("POST", "/api/v1/messages", news).is(202, "")
	text := h.inbox("bob@example.test")[0]
	_, rest, _ := strings.Cut(text, "List-Unsubscribe: <https://mx.example.test")
	link, rest, _ := strings.Cut(rest, ">,\r\n <mailto:info@example.test>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
	if rest == "" {
		t.Fatalf("no link in\n%s", text)
	}
	anybody := []string{"Authorization", "", "Content-Type", "application/x-www-form-urlencoded"}
	g := h.ask("GET", link, "", anybody...).is(200, "")
	if !strings.Contains(string(g.body), "bob@example.test") || !strings.Contains(g.header.Get("Content-Security-Policy"), "form-action 'self'") {
		t.Errorf("%s", g.body)
	}
	h.ask("POST", "/api/v1/messages", news).is(202, "") // looking changed nothing
	h.ask("POST", link, "", anybody...).is(422, "invalid-value")
	h.ask("POST", link, "List-Unsubscribe=One-Click", anybody...).is(200, "")
	h.ask("POST", link, "List-Unsubscribe=One-Click", anybody...).is(200, "")
	h.ask("POST", link, "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n", "Authorization", "", "Content-Type", "multipart/form-data; boundary=x").is(200, "")
	if got := h.ask("POST", "/api/v1/messages", news).is(202, "").statuses(); !slices.Equal(got, []string{"bob@example.test suppressed"}) {
		t.Errorf("%q", got)
	}
	h.ask("POST", "/api/v1/messages", simple()).is(202, "")
	if n := len(h.inbox("bob@example.test")); n != 3 {
		t.Errorf("%d messages", n)
	}
	for _, bad := range []string{link[:len(link)-1], link + "x", "/api/v1/unsubscribe/x"} {
		for _, method := range []string{"GET", "POST"} {
			if g := h.ask(method, bad, "List-Unsubscribe=One-Click", anybody...); g.status != 404 {
				t.Errorf("%s %s: %d", method, bad, g.status)
			}
		}
	}
}

func TestHooks(t *testing.T) {
	h := open(t, nil)
	g := h.ask("POST", "/api/v1/hooks", `{"url":"https://example.org/hook","kinds":["delivered","bounced"]}`).is(201, "")
	if !strings.HasPrefix(g.json["secret"].(string), "whsec_") {
		t.Errorf("%s", g.body)
	}
	at := g.header.Get("Location")
	if g = h.ask("GET", at, "").is(200, ""); g.json["secret"] != nil {
		t.Errorf("%s", g.body)
	}
	if g = h.ask("GET", "/api/v1/hooks", "").is(200, ""); len(g.json["hooks"].([]any)) != 1 {
		t.Errorf("%s", g.body)
	}
	bob := []string{"Authorization", "Bearer " + h.bobKey}
	h.ask("GET", at, "", bob...).is(404, "not-found")
	h.ask("DELETE", at, "", bob...).is(404, "not-found")
	for _, bad := range []string{`{"url":"http://example.org/"}`, `{"url":"https://example.org/","kinds":["x"]}`} {
		h.ask("POST", "/api/v1/hooks", bad).is(422, "invalid-value")
	}
	h.ask("POST", "/api/v1/hooks", `{"kinds":[]}`).is(422, "invalid-message")
	h.ask("DELETE", at, "").is(204, "")
	h.ask("DELETE", at, "").is(404, "not-found")
	h.ask("GET", "/api/v1/hooks/x", "").is(404, "not-found")
}

// events of alice's, with a wait.
func (h *house) eventsAfter(after float64, more string) ([]any, float64) {
	g := h.ask("GET", fmt.Sprintf("/api/v1/events?after=%.0f%s", after, more), "").is(200, "")
	list, _ := g.json["events"].([]any)
	next, _ := g.json["next"].(float64)
	return list, next
}

func TestEvents(t *testing.T) {
	h := open(t, nil)
	alice, ctx := h.accounts["alice@example.test"], t.Context()
	add := func(e events.Event) {
		t.Helper()
		must(t, h.dir.Do(ctx, func(ctx context.Context, tx directory.Tx) error { return h.events.AddTx(ctx, tx, e) }))
	}
	add(events.Event{Kind: events.Received, Message: "m1", Account: alice, From: "alice@example.test", Subject: "s", HeaderID: "<m1@x>", Size: 7})
	add(events.Event{Kind: events.Queued, Message: "m1", Account: alice, From: "alice@example.test", Recipient: "x@example.org"})
	add(events.Event{Kind: events.Deferred, Message: "m1", Account: alice, Recipient: "x@example.org", Code: 451, Enhanced: "4.3.0", Text: "later", Remote: "mx.example.org"})
	add(events.Event{Kind: events.Received, Message: "m2", Account: h.accounts["bob@example.test"], From: "bob@example.test"})
	list, next := h.eventsAfter(0, "&limit=2")
	if len(list) != 2 {
		t.Fatalf("%v", list)
	}
	more, end := h.eventsAfter(next, "")
	if len(more) != 1 || more[0].(map[string]any)["kind"] != "deferred" {
		t.Errorf("%v", more)
	}
	if rest, same := h.eventsAfter(end, ""); len(rest) != 0 || same != end {
		t.Errorf("%v %v", rest, same)
	}
	if rest, _ := h.eventsAfter(0, "&kind=queued,deferred&message=m1"); len(rest) != 2 {
		t.Errorf("%v", rest)
	}
	// Who waits gets what comes.
	got := make(chan []any, 1)
	go func() {
		list, _ := h.eventsAfter(end, "&wait=20")
		got <- list
	}()
	add(events.Event{Kind: events.Delivered, Message: "m1", Account: alice, Recipient: "x@example.org", Code: 250})
	if list := <-got; len(list) != 1 {
		t.Errorf("%v", list)
	}
	g := h.ask("GET", "/api/v1/messages/m1", "").is(200, "")
	if got := g.statuses(); !slices.Equal(got, []string{"x@example.org delivered"}) || g.json["message_id"] != "<m1@x>" || g.json["subject"] != "s" {
		t.Errorf("%s", g.body)
	}
	h.ask("GET", "/api/v1/messages/m2", "").is(404, "not-found")
}

// Who asks at once what became of a message hears it, and so does who waits.
func TestStatusAtOnce(t *testing.T) {
	h := open(t, nil)
	both := `{"from":"alice@example.test","to":["bob@example.test","x@example.org","nobody@example.test"],"subject":"Hi","text":"t"}`
	for i, key := range []string{"", "k"} {
		header := []string{"Idempotency-Key", key}
		id := h.ask("POST", "/api/v1/messages", both, header[:2*i]...).is(202, "").json["id"].(string)
		g := h.ask("GET", "/api/v1/messages/"+id, "").is(200, "")
		got := g.statuses()
		slices.Sort(got)
		if !slices.Equal(got, []string{"bob@example.test stored", "nobody@example.test refused", "x@example.org captured"}) || g.json["message_id"] != "<"+id+"@mx.example.test>" {
			t.Errorf("%s", g.body)
		}
	}
	if list, _ := h.eventsAfter(0, ""); len(list) != 8 {
		t.Errorf("%v", list)
	}
}

// What waits in the queue is told with it, and a server that stops lets nobody wait.
func TestWaiting(t *testing.T) {
	closing := make(chan struct{})
	at := time.Now().Add(time.Hour)
	h := open(t, func(c *Config) {
		c.Closing = closing
		c.Waiting = func(_ context.Context, id string) ([]Waiting, error) {
			return []Waiting{{Recipient: "X@example.org", Held: id == "m2", Attempts: 3, NextAt: at}}, nil
		}
	})
	alice := h.accounts["alice@example.test"]
	must(t, h.dir.Do(t.Context(), func(ctx context.Context, tx directory.Tx) error {
		return h.events.AddTx(ctx, tx, events.Event{Kind: events.Deferred, Message: "m1", Account: alice, Recipient: "x@example.org"},
			events.Event{Kind: events.Deferred, Message: "m2", Account: alice, Recipient: "x@example.org"})
	}))
	for id, want := range map[string]string{"m1": "x@example.org deferred", "m2": "x@example.org held"} {
		g := h.ask("GET", "/api/v1/messages/"+id, "").is(200, "")
		r := g.json["recipients"].([]any)[0].(map[string]any)
		if g.statuses()[0] != want || r["attempts"] != 3.0 || r["next_attempt"] == nil {
			t.Errorf("%s", g.body)
		}
	}
	done := make(chan int, 1)
	go func() { done <- h.ask("GET", "/api/v1/events?wait=30&message=none", "").status }()
	close(closing)
	if status := <-done; status != 200 {
		t.Errorf("%d", status)
	}
}

// The account's limits are told with the time to wait; a fault of ours is ours.
func TestRefusals(t *testing.T) {
	var refuse error
	h := open(t, func(c *Config) {
		c.Allow = func(context.Context, int64, int) error { return refuse }
		c.Sign = func(context.Context, mail.Address, io.ReaderAt, int64) ([]byte, error) {
			return []byte("DKIM-Signature: x\r\n"), nil
		}
	})
	for code, x := range map[string]struct {
		err    error
		status int
	}{
		"":                        {nil, 202},
		"sending-limit":           {mail.Defer(452, mail.Enhanced{4, 7, 1}, "Again at noon", nil), 429},
		"sending-blocked":         {mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Blocked"), 403},
		"temporarily-unavailable": {mail.Defer(451, mail.Enhanced{4, 3, 0}, "Later", nil), 503},
	} {
		refuse = x.err
		g := h.ask("POST", "/api/v1/messages", simple()).is(x.status, code)
		if (x.status == 429 || x.status == 503) && g.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", code)
		}
	}
	list := h.inbox("bob@example.test")
	if len(list) != 1 || !strings.Contains(list[0], "\r\nDKIM-Signature: x\r\nDate: ") {
		t.Errorf("%q", list)
	}
}

// unsure is a Deliverer that commits, and does not know it.
type unsure struct {
	Deliverer
	times int
}

func (u *unsure) DeliverIn(ctx context.Context, in *mail.Incoming, body *spool.Spool, step directory.InTx) error {
	if err := u.Deliverer.DeliverIn(ctx, in, body, step); err != nil {
		return err
	}
	u.times++
	return &mail.Error{Class: mail.Unknown, Code: 451, Text: "the connection broke around COMMIT"}
}

// An answer that is lost with the connection to the database is found again.
func TestUnknownOutcome(t *testing.T) {
	var u *unsure
	h := open(t, func(c *Config) {
		u = &unsure{Deliverer: c.Deliverer}
		c.Deliverer = u
	})
	h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "k").is(503, "outcome-unknown")
	h.ask("POST", "/api/v1/messages", simple(), "Idempotency-Key", "k").is(202, "")
	if n := len(h.inbox("bob@example.test")); n != 1 || u.times != 1 {
		t.Errorf("%d messages, %d deliveries", n, u.times)
	}
}

func TestDatabaseAway(t *testing.T) {
	h := open(t, nil)
	h.dirPool.Close()
	g := h.ask("POST", "/api/v1/messages", simple()).is(503, "temporarily-unavailable")
	if g.header.Get("Retry-After") == "" || strings.Contains(string(g.body), "pool") {
		t.Errorf("%v %s", g.header, g.body)
	}
}

func TestClient(t *testing.T) {
	s := &server{Config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, x := range []struct {
		remote, forwarded, proto, addr string
		secure                         bool
	}{
		{"192.0.2.1:5", "", "", "192.0.2.1", false},
		{"192.0.2.1:5", "198.51.100.1", "https", "192.0.2.1", false},
		{"10.0.0.1:5", "198.51.100.1", "https", "198.51.100.1", true},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.1, 10.0.0.2", "HTTPS", "198.51.100.1", true},
		{"10.0.0.1:5", "nonsense", "http", "10.0.0.1", false},
		{"[::ffff:10.0.0.1]:5", "2001:db8::1", "https", "2001:db8::1", true},
		{"@", "", "https", "invalid IP", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = x.remote
		if x.forwarded != "" {
			r.Header.Set("X-Forwarded-For", x.forwarded)
		}
		r.Header.Set("X-Forwarded-Proto", x.proto)
		if addr, secure := s.client(r); addr.String() != x.addr || secure != x.secure {
			t.Errorf("%+v: %s %v", x, addr, secure)
		}
	}
}

// slow is a Deliverer that takes its time.
type slow struct {
	Deliverer
	began, goOn chan struct{}
}

func (s *slow) Deliver(ctx context.Context, in *mail.Incoming, body *spool.Spool) (func(bool), error) {
	s.began <- struct{}{}
	<-s.goOn
	return s.Deliverer.Deliver(ctx, in, body)
}

// Requests of an account, or of all, that are too many at once are sent away.
func TestTooManyAtOnce(t *testing.T) {
	for _, x := range []struct {
		perAccount, all int
		status          int
		code, bob       string
	}{
		{1, 10, 429, "too-many-requests", "sender-not-allowed"},
		{10, 1, 503, "busy", "busy"},
	} {
		var s *slow
		h := open(t, func(c *Config) {
			s = &slow{c.Deliverer, make(chan struct{}), make(chan struct{})}
			c.Deliverer, c.Limits.PerAccount, c.Limits.InFlight = s, x.perAccount, x.all
		})
		done := make(chan *got, 1)
		go func() { done <- h.ask("POST", "/api/v1/messages", simple()) }()
		<-s.began
		g := h.ask("POST", "/api/v1/messages", simple()).is(x.status, x.code)
		if g.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After: %q", g.header.Get("Retry-After"))
		}
		if g := h.ask("POST", "/api/v1/messages", simple(), "Authorization", "Bearer "+h.bobKey); g.json["code"] != x.bob {
			t.Errorf("bob: %s", g.body)
		}
		close(s.goOn)
		(<-done).is(202, "")
	}
}

// A body that comes too slowly is given up.
func TestSlowBody(t *testing.T) {
	h := open(t, func(c *Config) { c.Limits.Idle = 20 * time.Millisecond })
	pr, pw := io.Pipe()
	defer pw.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/api/v1/messages", pr)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+h.key)
	req.Header.Set("Content-Type", "application/json")
	h.do(req).is(400, "broken-off")
}
