package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// send is POST /messages.
func (s *server) send(r *request) error {
	switch r.media() {
	case "application/json":
		return s.sendJSON(r, readOne)
	case "message/rfc822":
		return s.sendRaw(r)
	}
	return fault("unsupported-media-type", "Send application/json or message/rfc822")
}

// sendBatch is POST /messages/batch.
func (s *server) sendBatch(r *request) error {
	if r.media() != "application/json" {
		return fault("unsupported-media-type", "Send application/json")
	}
	return s.sendJSON(r, readBatch)
}

// readOne reads a message from the root of a request.
func readOne(r *reader, root *node) []*draft {
	if root.kind != isObject {
		r.wrong(root, "an object is needed, not %s", root.kind)
		return nil
	}
	return []*draft{r.draft(root, nil)}
}

// readBatch reads {"messages": […], "defaults": {…}}. What a message lacks it
// takes from defaults; of variables it takes those that it does not name.
func readBatch(r *reader, root *node) (list []*draft) {
	if !r.object(root, "messages", "defaults") {
		if root.kind == isNull {
			r.wrong(root, "an object is needed")
		}
		return nil
	}
	common := root.members["defaults"]
	if common != nil && !r.object(common, messageFields...) {
		common = nil
	}
	for _, n := range r.elements(root.members["messages"], r.limits.Batch) {
		list = append(list, r.draft(n, common))
	}
	if len(list) == 0 {
		r.errors = append(r.errors, fieldError{"/messages", "at least one message is needed"})
	}
	return list
}

// sendJSON takes a request of one message or several.
func (s *server) sendJSON(r *request, read func(*reader, *node) []*draft) error {
	key, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	body, err := s.receive(r, s.Limits.body())
	if err != nil {
		return err
	}
	defer body.Close()
	root, err := readJSON(body, s.Limits.Text)
	if err != nil {
		return err
	}
	in := &reader{body: body, limits: s.Limits, oneClick: s.Unsubscriber != nil && s.Suppressions != nil}
	drafts := read(in, root)
	if err := in.err(); err != nil {
		events.APIMessages.WithLabelValues("refused").Inc()
		return err
	}
	job := &job{server: s, request: r, key: key, hash: r.fingerprint(body), n: len(drafts), one: func(i int, keep keep) ([]byte, error) {
		return s.sendDraft(r, drafts[i], keep)
	}}
	if r.URL.Path == "/api/v1/messages" {
		return job.single()
	}
	return job.batch()
}

// sendDraft composes a message and has it accepted.
func (s *server) sendDraft(r *request, d *draft, keep keep) ([]byte, error) {
	if err := s.maySendAs(r, d.from.address); err != nil {
		return nil, err
	}
	m := &outgoing{id: mail.NewID(), from: d.from.address, author: d.from.address, to: d.recipients()}
	if d.sendAt.After(time.Now()) {
		m.holdUntil = d.sendAt
	}
	for _, people := range [][]person{{d.from}, d.to, d.cc, d.bcc, d.replyTo} {
		for _, p := range people {
			m.smtputf8 = m.smtputf8 || !p.address.IsASCII()
		}
	}
	if m.smtputf8 {
		m.kind = mail.Body8Bit
	}
	c := &composer{draft: d, id: m.id, hostname: s.Hostname, date: time.Now()}
	if u := d.unsubscribe; u != nil {
		m.list = u.list
		if u.oneClick && u.url == "" {
			var err error
			if c.unsubscribe, err = s.unsubscribeLink(r.key.Account, u.list, m.to[0]); err != nil {
				return nil, unavailable(err)
			}
		}
	}
	m.body = spool.New(s.SpoolDir, s.Limits.Memory)
	defer m.body.Close() // an unlinked file: there is nothing to lose
	if err := c.write(&bounded{w: m.body, left: s.Limits.Message}); err != nil {
		return nil, asProblem(err)
	}
	return s.accept(r, m, func(list []recipient) ([]byte, error) {
		return toJSON(result{ID: m.id, MessageID: "<" + m.id + "@" + s.Hostname + ">", Recipients: list})
	}, keep)
}

// job is a request of n messages, each accepted once for its key.
type job struct {
	server  *server
	request *request
	key     string // empty: none, and each time is a new one
	hash    [32]byte
	n       int
	one     func(i int, keep keep) ([]byte, error)

	claim *directory.Request
}

// begin claims the request; end must follow.
func (j *job) begin() error {
	if j.key == "" {
		return nil
	}
	var err error
	j.claim, err = j.server.Directory.BeginRequest(j.request.Context(), j.request.key.Account, j.key, j.hash, j.n)
	return err
}

func (j *job) end() {
	if j.claim == nil || j.claim.Done() {
		return
	}
	// Without it, the claim ends by itself after some time.
	if err := j.server.Directory.EndRequest(detached(j.request), j.claim); err != nil {
		j.request.log.Warn("claim not given back", "event", "api.claim", "error", err.Error())
	}
}

// do answers for message i, again or for the first time.
func (j *job) do(i int) (answer []byte, err error) {
	if j.claim == nil {
		return j.one(i, nil)
	}
	if answer := j.claim.Answers[i]; answer != nil {
		events.APIMessages.WithLabelValues("repeated").Inc()
		return answer, nil
	}
	return j.one(i, func(answer []byte) directory.InTx { return j.claim.Record(i, answer) })
}

// replayed is the header of an answer that was given before.
const replayed = "Idempotency-Replayed"

func (j *job) single() error {
	if err := j.begin(); err != nil {
		return err
	}
	defer j.end()
	if j.claim != nil && j.claim.Done() {
		j.request.w.Header().Set(replayed, "true")
	}
	answer, err := j.do(0)
	if err != nil {
		return j.failed(err)
	}
	return j.request.replyJSON(http.StatusAccepted, answer)
}

// item is the answer for one message of a batch.
type item struct {
	Status  int             `json:"status"`
	Message json.RawMessage `json:"message,omitempty"`
	Problem *problem        `json:"problem,omitempty"`
}

// batch answers for each message by itself. Those that could not be accepted
// are tried again when the request comes again with the same key.
func (j *job) batch() error {
	if err := j.begin(); err != nil {
		return err
	}
	defer j.end()
	if j.claim != nil && j.claim.Done() {
		j.request.w.Header().Set(replayed, "true")
	}
	items := make([]item, j.n)
	for i := range items {
		answer, err := j.do(i)
		if err == nil {
			items[i] = item{Status: http.StatusAccepted, Message: answer}
			continue
		}
		p := asProblem(j.failed(err))
		j.request.logProblem(p)
		items[i] = item{Status: p.Status, Problem: p}
	}
	return j.request.reply(http.StatusOK, struct {
		Messages []item `json:"messages"`
	}{items})
}

// failed counts a message that was not accepted.
func (j *job) failed(err error) error {
	result := "refused"
	if asProblem(err).Status >= 500 {
		result = "deferred"
	}
	events.APIMessages.WithLabelValues(result).Inc()
	return err
}

// detached is a request's context that does not end with its connection.
func detached(r *request) context.Context { return context.WithoutCancel(r.Context()) }
