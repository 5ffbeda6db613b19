package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var siteKey = bytes.Repeat([]byte{7}, 32)

// quick are options under which a test need not wait.
func quick() HookOptions {
	return HookOptions{
		Key: siteKey, Log: slog.New(slog.DiscardHandler), AllowPrivate: true, Poll: 10 * time.Millisecond,
		Patience: 300 * time.Millisecond, Retry: []time.Duration{20 * time.Millisecond}, Lease: 2 * time.Second, Block: 50 * time.Millisecond,
	}
}

func hooksOn(t testing.TB, pool *pgxpool.Pool, opts HookOptions) *Hooks {
	t.Helper()
	h, err := NewHooks(pool, opts)
	must(t, err)
	return h
}

// start runs a dispatcher for the time of a test.
func start(t testing.TB, h *Hooks) *Dispatcher {
	d := h.Start()
	t.Cleanup(d.Close)
	return d
}

// ear is an HTTP server that records what it is told.
type ear struct {
	*httptest.Server
	mu     sync.Mutex
	heard  []payload
	heads  []http.Header
	bodies [][]byte
	answer http.HandlerFunc // nil: 204
}

func listen(t testing.TB, answer http.HandlerFunc) *ear {
	e := &ear{answer: answer}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var p payload
		if err == nil {
			err = json.Unmarshal(body, &p)
		}
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		e.heard, e.heads, e.bodies = append(e.heard, p), append(e.heads, r.Header), append(e.bodies, body)
		answer := e.answer
		e.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *ear) set(answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// messages are those heard of, in order, each once.
func (e *ear) messages() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []string
	for _, p := range e.heard {
		list = append(list, p.Data.Message)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (e *ear) requests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.heard)
}

func answers(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no, thank\r\nyou", code) }
}

func addHook(t testing.TB, h *Hooks, hook Hook) (Hook, string) {
	t.Helper()
	made, secret, err := h.Add(t.Context(), hook)
	must(t, err)
	return made, secret
}

// record writes events as a transaction does.
func record(t testing.TB, l *Log, list ...Event) {
	t.Helper()
	must(t, pgx.BeginFunc(t.Context(), l.pool, func(tx pgx.Tx) error { return l.AddTx(t.Context(), tx, list...) }))
}

// A hook is told of the kinds it asked for, by both ways of recording, signed so
// that another implementation of HMAC agrees.
func TestHookIsTold(t *testing.T) {
	l := open(t)
	h := hooksOn(t, l.pool, quick())
	e := listen(t, nil)
	hook, secret := addHook(t, h, Hook{URL: e.URL + "/in?x=1", Kinds: []Kind{Delivered, Bounced}})
	must(t, l.askHooks(t.Context()))
	start(t, h)
	record(t, l, Event{Kind: Received, Message: "m1", HeaderID: "<1@example.org>", Subject: "Grüße", From: "alice@example.test"},
		Event{Kind: Delivered, Message: "m1", Recipient: "bob@example.org", Code: 250, Text: "ok"})
	undo := errors.New("undo")
	err := pgx.BeginFunc(t.Context(), l.pool, func(tx pgx.Tx) error {
		must(t, l.AddTx(t.Context(), tx, Event{Kind: Bounced, Message: "undone"}))
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	l.Add(Event{Kind: Bounced, Message: "m2", Recipient: "bob@example.org", Code: 550})
	within(t, 10*time.Second, "both events", func() bool { return slices.Equal(e.messages(), []string{"m1", "m2"}) })
	within(t, 10*time.Second, "an empty table", func() bool { return count(t, l, `SELECT count(*) FROM hook_delivery`) == 0 })

	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.heard, func(p payload) bool { return p.Data.Message == "m1" })
	p, head, body := e.heard[i], e.heads[i], e.bodies[i]
	if p.Type != "delivered" || p.ID == "" || p.ID != head.Get("Posthouse-Event-Id") || p.Data.Subject != "Grüße" || p.Data.HeaderID != "<1@example.org>" || p.Data.From != "alice@example.test" || p.Data.Code != 250 || p.At.IsZero() {
		t.Errorf("%s %v", body, head)
	}
	if time.Since(p.At) > time.Minute || head.Get("Content-Type") != "application/json" {
		t.Errorf("%v %v", p.At, head)
	}
	verify(t, secret, head.Get(signHeader), body)
	if len(secret) < 40 || strings.Contains(fmt.Sprintf("%+v", hook), secret) {
		t.Error("the secret is short, or shown")
	}
	if n := count(t, l, `SELECT count(*) FROM hook WHERE position($1::bytea in secret) > 0`, []byte(secret)); n != 0 {
		t.Error("the secret lies open in the database")
	}
}

// verify computes the signature with Python's hmac.
func verify(t *testing.T, secret, header string, body []byte) {
	t.Helper()
	const script = `import hashlib, hmac, sys
fields = dict(f.split("=", 1) for f in sys.argv[2].split(","))
mac = hmac.new(sys.argv[1].encode(), (fields["t"] + ".").encode() + sys.stdin.buffer.read(), hashlib.sha256)
sys.exit(0 if hmac.compare_digest(mac.hexdigest(), fields["v1"]) else 1)`
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("no python3 here: the signature is not checked by another implementation")
		return
	}
	check := func(body []byte) error {
		cmd := exec.Command(python, "-c", script, secret, header)
		cmd.Stdin = bytes.NewReader(body)
		return cmd.Run()
	}
	if err := check(body); err != nil {
		t.Errorf("another HMAC does not agree: %v", err)
	}
	if check(append(bytes.Clone(body), ' ')) == nil {
		t.Error("the other implementation takes anything")
	}
}

// What a hook does not take is tried again, under the same id.
func TestHookFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		error  string
	}{
		{"500", answers(500), "no, thank you"},
		{"404", answers(404), "Not Found"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "redirects are not followed: /elsewhere"},
		{"stall", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within"},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "Internal Server Error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t)
			h := hooksOn(t, l.pool, quick())
			e := listen(t, c.answer)
			hook, _ := addHook(t, h, Hook{URL: e.URL})
			must(t, l.askHooks(t.Context()))
			start(t, h)
			record(t, l, Event{Kind: Delivered, Message: "m"})
			var failures []HookFailure
			within(t, 10*time.Second, "two attempts", func() bool {
				var err error
				failures, err = h.Failures(t.Context(), hook.ID, 10)
				must(t, err)
				return len(failures) == 1 && failures[0].Attempts >= 2
			})
			if !strings.Contains(failures[0].Error, c.error) || failures[0].Next == nil {
				t.Errorf("%+v", failures[0])
			}
			e.set(nil)
			within(t, 10*time.Second, "the event", func() bool { return count(t, l, `SELECT count(*) FROM hook_delivery`) == 0 })
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, p := range e.heard {
				if p.ID != e.heard[0].ID {
					t.Error("the id changed")
				}
			}
		})
	}
}

// 410 ends a hook; enabling it lets what it is owed go out.
func TestHookGone(t *testing.T) {
	l := open(t)
	h := hooksOn(t, l.pool, quick())
	e := listen(t, answers(http.StatusGone))
	hook, _ := addHook(t, h, Hook{URL: e.URL})
	must(t, l.askHooks(t.Context()))
	start(t, h)
	record(t, l, Event{Kind: Delivered, Message: "m1"})
	within(t, 10*time.Second, "the hook disabled", func() bool {
		seen, err := h.Hook(t.Context(), hook.ID)
		must(t, err)
		return seen.Disabled != nil && strings.Contains(seen.DisabledWhy, "410")
	})
	must(t, l.askHooks(t.Context()))
	record(t, l, Event{Kind: Delivered, Message: "unheard"})
	if n := e.requests(); n != 1 {
		t.Errorf("%d requests", n)
	}
	e.set(nil)
	must(t, h.Enable(t.Context(), hook.ID))
	within(t, 10*time.Second, "the event", func() bool { return count(t, l, `SELECT count(*) FROM hook_delivery`) == 0 })
	if got := e.messages(); !slices.Equal(got, []string{"m1"}) {
		t.Errorf("%v", got)
	}
}

// An event that is not taken for long is given up, and seen to be.
func TestHookGivesUp(t *testing.T) {
	l := open(t)
	opts := quick()
	opts.GiveUp = 150 * time.Millisecond
	h := hooksOn(t, l.pool, opts)
	e := listen(t, answers(503))
	hook, _ := addHook(t, h, Hook{URL: e.URL})
	must(t, l.askHooks(t.Context()))
	start(t, h)
	record(t, l, Event{Kind: Delivered, Message: "m1"})
	within(t, 10*time.Second, "the event given up", func() bool {
		seen, err := h.Hook(t.Context(), hook.ID)
		must(t, err)
		return seen.GivenUp == 1 && seen.Waiting == 0
	})
	failures, err := h.Failures(t.Context(), hook.ID, 10)
	must(t, err)
	if len(failures) != 1 || failures[0].GivenUp == nil || failures[0].Code != 503 {
		t.Errorf("%+v", failures)
	}
}

// A hook of an account hears of what that account submitted; one made on another
// node is heard of within two seconds.
func TestHookOfAnAccountMadeElsewhere(t *testing.T) {
	l := open(t)
	_, err := l.pool.Exec(t.Context(), `INSERT INTO account (id, address) OVERRIDING SYSTEM VALUE VALUES (5, 'alice@example.test')`)
	must(t, err)
	h := hooksOn(t, again(t, l), quick())
	hook, _ := addHook(t, h, Hook{URL: "http://127.0.0.1:1/", AccountID: 5})
	if hook.Account != "alice@example.test" || !slices.Equal(hook.Kinds, hookDefaults) {
		t.Errorf("%+v", hook)
	}
	began := time.Now()
	within(t, 5*time.Second, "the other node to know", func() bool { return l.hooked.Load() })
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("after %v", d)
	}
	record(t, l, Event{Kind: Delivered, Message: "mine", Account: 5}, Event{Kind: Delivered, Message: "another's", Account: 6}, Event{Kind: Delivered, Message: "nobody's"})
	if n := count(t, l, `SELECT count(*) FROM hook_delivery WHERE message = 'mine'`); n != 1 {
		t.Error("not told")
	}
	if n := count(t, l, `SELECT count(*) FROM hook_delivery`); n != 1 {
		t.Errorf("told of %d", n)
	}
	for range maxHooks - 1 {
		addHook(t, h, Hook{URL: "http://127.0.0.1:1/", AccountID: 5})
	}
	if _, _, err := h.Add(t.Context(), Hook{URL: "http://127.0.0.1:1/", AccountID: 5}); !errors.Is(err, ErrInvalid) {
		t.Error("one hook too many:", err)
	}
	must(t, h.Remove(t.Context(), hook.ID))
	if n := count(t, l, `SELECT count(*) FROM hook_delivery`); n != 0 {
		t.Errorf("%d owed to nobody", n)
	}
	if err := h.Remove(t.Context(), hook.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestHookURLs(t *testing.T) {
	opts := quick()
	opts.AllowPrivate = false
	h := hooksOn(t, open(t).pool, opts)
	for url, allowed := range map[string]bool{
		"https://example.org/x": true, "https://example.org:8443/x#y": true, "https://192.0.2.1/": true,
		"http://example.org/": false, "ftp://example.org/": false, "https:///x": false, "example.org": false,
		"https://user:pass@example.org/": false, "https:example.org": false, "https://example.org/\x00": false, "": false,
	} {
		_, _, err := h.Add(t.Context(), Hook{URL: url})
		if (err == nil) != allowed || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, _, err := h.Add(t.Context(), Hook{URL: "https://example.org/", Kinds: []Kind{Held}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestHookTest(t *testing.T) {
	h := hooksOn(t, open(t).pool, quick())
	e := listen(t, nil)
	hook, secret := addHook(t, h, Hook{URL: e.URL})
	code, err := h.Test(context.Background(), hook.ID)
	if err != nil || code != http.StatusNoContent {
		t.Fatalf("%d %v", code, err)
	}
	verify(t, secret, e.heads[0].Get(signHeader), e.bodies[0])
	e.set(answers(500))
	if code, err := h.Test(t.Context(), hook.ID); err == nil || code != 500 {
		t.Errorf("%d %v", code, err)
	}
}
