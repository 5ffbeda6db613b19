package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
	"posthouse/mda"
	"posthouse/smtp/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is example.test with alice and bob on a real database, and the API over
// real HTTP. Mail for elsewhere is captured.
type house struct {
	t        testing.TB
	pool     *pgxpool.Pool
	dirPool  *pgxpool.Pool // the directory's own: a test can take it away
	store    *mailstore.Store
	dir      *directory.Directory
	events   *events.Log
	url      string
	client   *http.Client
	accounts map[string]int64
	key      string // alice's
	bobKey   string
	document *document
}

func open(t testing.TB, change func(*Config)) *house {
	t.Helper()
	url := pgtest.URL(t)
	h := &house{t: t, pool: pgtest.PoolOn(t, url), dirPool: pgtest.PoolOn(t, url), accounts: make(map[string]int64), document: openDocument(t)}
	log := slog.New(slog.DiscardHandler)
	h.store = storetest.OpenOn(t, h.pool, mailstore.Options{})
	var err error
	h.dir, err = directory.New(h.dirPool, directory.Options{Key: bytes.Repeat([]byte{7}, directory.MinKey), Hostname: "mx.example.test",
		Log: log, OnCreate: func(ctx context.Context, tx pgx.Tx, id int64) error {
			return h.store.InitAccount(ctx, tx, mailstore.AccountID(id))
		}})
	must(t, err)
	t.Cleanup(h.dir.Close)
	h.events, err = events.Open(h.pool, events.Options{Log: log, Node: "test"})
	must(t, err)
	t.Cleanup(h.events.Close)
	_, err = h.dir.CreateDomain(t.Context(), "example.test")
	must(t, err)
	for _, a := range []string{"alice@example.test", "bob@example.test", "captured@example.test"} {
		made, err := h.dir.CreateAccount(t.Context(), addr(a), "secret")
		must(t, err)
		h.accounts[a] = made.ID
	}
	_, err = h.dir.AddAlias(t.Context(), addr("info@example.test"), addr("alice@example.test"))
	must(t, err)
	h.key, h.bobKey = h.newKey("alice@example.test"), h.newKey("bob@example.test")
	c := Config{Hostname: "mx.example.test", Directory: h.dir, Events: h.events, Plain: true, SpoolDir: t.TempDir(), Log: log,
		Suppressions: events.NewSuppressions(h.pool)}
	c.Unsubscriber, err = events.NewUnsubscriber(bytes.Repeat([]byte{7}, directory.MinKey))
	must(t, err)
	c.Hooks, err = events.NewHooks(h.pool, events.HookOptions{Key: bytes.Repeat([]byte{7}, directory.MinKey), Log: log})
	must(t, err)
	c.Deliverer = mda.New(mda.Config{Directory: h.dir, Store: h.store, Events: h.events, Hostname: "mx.example.test", SpoolDir: t.TempDir(), Log: log, Queue: queue.New(queue.Config{Pool: h.pool, Store: h.store}),
		Capture: &mda.CaptureTo{Account: h.accounts["captured@example.test"]}})
	if change != nil {
		change(&c)
	}
	web := httptest.NewServer(New(c))
	t.Cleanup(web.Close)
	h.url, h.client = web.URL, web.Client()
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (h *house) newKey(account string) string {
	h.t.Helper()
	secret, _, err := h.dir.AddAPIKey(h.t.Context(), addr(account), "test", noTime)
	must(h.t, err)
	return secret
}

// got is an answer.
type got struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

// ask sends a request with alice's key, as JSON unless header says otherwise,
// and holds the answer against the document.
func (h *house) ask(method, path, body string, header ...string) *got {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, strings.NewReader(body))
	must(h.t, err)
	req.Header.Set("Authorization", "Bearer "+h.key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	return h.do(req)
}

func (h *house) do(req *http.Request) *got {
	h.t.Helper()
	resp, err := h.client.Do(req)
	must(h.t, err)
	defer resp.Body.Close()
	g := &got{t: h.t, status: resp.StatusCode, header: resp.Header}
	g.body, err = io.ReadAll(resp.Body)
	must(h.t, err)
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && len(g.body) > 0 {
		must(h.t, json.Unmarshal(g.body, &g.json))
	}
	if err := h.document.check(req, resp, g.body); err != nil {
		h.t.Errorf("%s %s: %d does not match the document: %v\n%s", req.Method, req.URL.Path, g.status, err, g.body)
	}
	return g
}

// is checks the status and, of a problem, the code.
func (g *got) is(status int, code string) *got {
	g.t.Helper()
	told, _ := g.json["code"].(string)
	if g.status != status || told != code {
		g.t.Errorf("%d %q, want %d %q: %s", g.status, told, status, code, g.body)
	}
	return g
}

// pointers are where a problem says that something is wrong.
func (g *got) pointers() (list []string) {
	all, _ := g.json["errors"].([]any)
	for _, e := range all {
		list = append(list, e.(map[string]any)["pointer"].(string))
	}
	return list
}

// statuses are the recipients of an answer, "address status".
func (g *got) statuses() (list []string) {
	all, _ := g.json["recipients"].([]any)
	for _, e := range all {
		r := e.(map[string]any)
		list = append(list, r["address"].(string)+" "+r["status"].(string))
	}
	return list
}

// inbox is the messages in an account's INBOX, octet for octet.
func (h *house) inbox(account string) (list []string) {
	h.t.Helper()
	ctx := h.t.Context()
	id := mailstore.AccountID(h.accounts[account])
	box, err := h.store.Mailbox(ctx, id, "INBOX")
	must(h.t, err)
	var all mailstore.UIDSet
	if box.UIDNext > 1 {
		all.AddRange(1, box.UIDNext-1)
	}
	must(h.t, h.store.Messages(ctx, id, box.ID, all, mailstore.FieldPrefix, func(m *mailstore.Message) error {
		var b bytes.Buffer
		if _, err := h.store.OpenBody(ctx, m).WriteRange(ctx, &b, 0, m.Size); err != nil {
			return err
		}
		list = append(list, b.String())
		return nil
	}))
	return list
}
