package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/door"
	"posthouse/internal/events"
	"posthouse/internal/mail"
)

type server struct {
	Config
	slots  chan struct{} // one for each request that is worked on
	active tally         // requests by account
	asking tally         // those that wait for events
}

// tally counts what an account has underway.
type tally struct {
	mu     sync.Mutex
	counts map[int64]int
}

// take adds one unless there are limit already. leave must follow then.
func (t *tally) take(account int64, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[account] >= limit {
		return false
	}
	t.counts[account]++
	return true
}

func (t *tally) leave(account int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[account]--; t.counts[account] == 0 {
		delete(t.counts, account)
	}
}

// request is one on its way.
type request struct {
	*http.Request
	w      http.ResponseWriter
	id     string
	key    directory.APIKey // who asks
	remote netip.Addr
	tls    bool
	log    *slog.Logger
}

// action answers a request. An error is answered as a problem; nothing has
// been written then.
type action func(*request) error

// route is what can be done at a path.
type route struct {
	pattern string // of ServeMux, without a method
	methods map[string]action
	open    bool // no key is asked for
}

func (s *server) routes() []route {
	list := []route{
		{"/api/v1/{$}", map[string]action{"GET": s.page}, true},
		{"/api/v1/openapi.json", map[string]action{"GET": s.openapi}, true},
		{"/api/v1/messages", map[string]action{"POST": s.send}, false},
		{"/api/v1/messages/batch", map[string]action{"POST": s.sendBatch}, false},
		{"/api/v1/messages/{id}", map[string]action{"GET": s.message}, false},
		{eventsPath, map[string]action{"GET": s.events}, false},
		{"/api/v1/", nil, true},
	}
	if s.Suppressions != nil {
		list = append(list,
			route{"/api/v1/suppressions", map[string]action{"GET": s.listSuppressions, "POST": s.addSuppression}, false},
			route{"/api/v1/suppressions/{address}", map[string]action{"DELETE": s.removeSuppression}, false})
	}
	if s.Suppressions != nil && s.Unsubscriber != nil {
		list = append(list, route{unsubscribePath + "{token}", map[string]action{"GET": s.showUnsubscribe, "POST": s.unsubscribe}, true})
	}
	if s.Hooks != nil {
		list = append(list,
			route{"/api/v1/hooks", map[string]action{"GET": s.listHooks, "POST": s.addHook}, false},
			route{"/api/v1/hooks/{id}", map[string]action{"GET": s.showHook, "DELETE": s.removeHook}, false})
	}
	return list
}

// mux leads to the routes. Whatever is below /api/v1/ and no route is 404.
func (s *server) mux() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		if r.methods == nil {
			r.methods = map[string]action{"": func(req *request) error { return fault("not-found", "%s leads nowhere", req.URL.Path) }}
		} else if get := r.methods["GET"]; get != nil {
			r.methods["HEAD"] = get
		}
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { s.serve(r, w, req) })
	}
	return mux
}

// serve takes one request from its first octet to its last metric.
func (s *server) serve(to route, w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	sw := &answer{ResponseWriter: w}
	req := &request{Request: r, w: sw, id: mail.NewID()}
	req.remote, req.tls = s.client(r)
	req.log = s.Log.With("request", req.id, "remote", req.remote.String())
	w.Header().Set("X-Request-Id", req.id)
	err := s.perform(to, req)
	if err != nil && sw.status == 0 {
		p := asProblem(err)
		req.logProblem(p)
		req.mayWrite()
		err = p.write(sw, req.id)
	}
	if err != nil {
		req.log.Debug("answer not sent", "event", "api.gone", "error", err.Error())
	}
	events.APIRequests.WithLabelValues(to.pattern, strconv.Itoa(sw.status)).Inc()
	events.APISeconds.WithLabelValues(to.pattern).Observe(time.Since(began).Seconds())
}

// perform checks what holds for all routes, and acts.
func (s *server) perform(to route, r *request) error {
	act := to.methods[r.Method]
	if act == nil {
		act = to.methods[""]
	}
	if act == nil {
		allow := strings.Join(slices.Sorted(maps.Keys(to.methods)), ", ")
		p := fault("method-not-allowed", "%s takes %s", r.URL.Path, allow)
		p.allow = allow
		return p
	}
	if to.open {
		return act(r)
	}
	if err := s.authenticate(r); err != nil {
		return err
	}
	if !acceptsJSON(r.Header.Values("Accept")) {
		return fault("not-acceptable", "Accept application/json and application/problem+json")
	}
	account := r.key.Account
	if to.pattern == eventsPath && r.URL.Query().Get("wait") != "" {
		return act(r) // it has a limit of its own
	}
	if !s.active.take(account, s.Limits.PerAccount) {
		return fault("too-many-requests", "The account has %d requests underway", s.Limits.PerAccount).after(time.Second)
	}
	defer s.active.leave(account)
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return fault("busy", "Try again in a moment").after(time.Second)
	}
	return act(r)
}

// authenticate finds out whom the key speaks for.
func (s *server) authenticate(r *request) error {
	if !r.tls && !s.Plain {
		return fault("insecure-transport", "Use https://%s%s. A key that was sent here has crossed the network in clear: replace it", s.Hostname, r.URL.Path)
	}
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return fault("unauthorized", "Send Authorization: Bearer and the key that `posthouse apikey add` printed")
	}
	var err error
	r.key, err = s.Directory.AuthenticateKey(r.Context(), strings.TrimSpace(secret))
	if errors.Is(err, directory.ErrBadCredentials) {
		return fault("unauthorized", "The key is unknown, has ended, or its account is disabled")
	}
	if err != nil {
		return unavailable(err)
	}
	r.log = r.log.With("account", r.key.Address.String(), "key", r.key.ID)
	return nil
}

// acceptsJSON reads Accept fields (RFC 9110 §12.5.1) as far as needed: one of
// them names a range that JSON is in, without q=0.
func acceptsJSON(fields []string) bool {
	if len(fields) == 0 {
		return true
	}
	for part := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		media, params, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "*/*", "application/*", "application/json", "application/problem+json":
		default:
			continue
		}
		params = strings.ReplaceAll(strings.ToLower(params), " ", "")
		if q, ok := strings.CutPrefix(params, "q="); !ok || strings.Trim(q, "0.") != "" {
			return true
		}
	}
	return false
}

// client is who asks, and whether by HTTPS.
func (s *server) client(r *http.Request) (netip.Addr, bool) {
	return door.HTTPClient(r, s.TrustedProxies)
}

// answer remembers the status for the metrics.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// writeTimeout is for an answer to be taken.
const writeTimeout = 30 * time.Second

// mayWrite gives the client time from now on to take the answer: the server's
// own limit counts from the request's header.
func (r *request) mayWrite() {
	// Not every ResponseWriter has a deadline; then there is none to move.
	if err := http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		r.log.Debug("no write deadline", "event", "api.deadline", "error", err.Error())
	}
}

// reply sends v as JSON.
func (r *request) reply(status int, v any) error {
	body, err := toJSON(v)
	if err != nil {
		return fault("internal", "The answer cannot be written").because(err)
	}
	return r.replyJSON(status, body)
}

// toJSON leaves <, > and & as they are, which no browser takes for HTML here.
func toJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func (r *request) replyJSON(status int, body []byte) error {
	r.w.Header().Set("Content-Type", "application/json")
	r.mayWrite()
	r.w.WriteHeader(status)
	_, err := r.w.Write(append(body, '\n'))
	return err
}

// logProblem writes down why a request was not done, for whom it concerns.
func (r *request) logProblem(p *problem) {
	level := slog.LevelInfo
	if p.Status >= 500 && !errors.Is(p.cause, context.Canceled) {
		level = slog.LevelWarn
	}
	r.log.Log(r.Context(), level, "request refused", "event", "api.refused", "method", r.Method, "path", r.URL.Path, "code", p.Status, "error", p.Error())
}
