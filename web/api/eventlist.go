package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/events"
)

// eventView is an event as the API shows it.
type eventView struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"`
	Message   string    `json:"message"`
	MessageID string    `json:"message_id,omitempty"`
	From      string    `json:"from,omitempty"`
	Recipient string    `json:"recipient,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Remote    string    `json:"remote,omitempty"`
	Code      int       `json:"code,omitempty"`
	Enhanced  string    `json:"enhanced,omitempty"`
	Text      string    `json:"text,omitempty"`
	TLS       string    `json:"tls,omitempty"`
	Size      int64     `json:"size,omitempty"`
	Duration  int64     `json:"duration_ms,omitempty"`
}

// eventPage is a piece of the log; Next is the after of the next one.
type eventPage struct {
	Events []eventView `json:"events"`
	Next   int64       `json:"next"`
}

const eventsPath = "/api/v1/events"

const (
	defaultEvents = 100
	maxEvents     = 1000
	pollEvery     = 500 * time.Millisecond
	// settle is how long an event waits for others with lower ids, which are
	// given out before commit: the cursor must not step over them.
	settle = 300 * time.Millisecond
)

// eventQuery is what the parameters ask for.
type eventQuery struct {
	events.Query
	wait time.Duration
}

func (s *server) eventQuery(values url.Values, account int64) (q eventQuery, err error) {
	q.Account, q.Limit = account, defaultEvents
	for name, list := range values {
		value := list[len(list)-1]
		switch name {
		case "after":
			q.After, err = strconv.ParseInt(value, 10, 64)
			if err != nil || q.After < 0 {
				return q, fault("invalid-parameter", "after: the next of an answer, or 0")
			}
		case "limit":
			q.Limit, err = strconv.Atoi(value)
			if err != nil || q.Limit < 1 || q.Limit > maxEvents {
				return q, fault("invalid-parameter", "limit: 1 to %d", maxEvents)
			}
		case "wait":
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil || !(seconds >= 0 && seconds <= s.Limits.Wait.Seconds()) {
				return q, fault("invalid-parameter", "wait: seconds, at most %v", s.Limits.Wait.Seconds())
			}
			q.wait = time.Duration(seconds * float64(time.Second))
		case "kind":
			for kind := range strings.SplitSeq(strings.Join(list, ","), ",") {
				if !slices.Contains(events.Kinds, events.Kind(kind)) {
					return q, fault("invalid-parameter", "kind: %.40q is none; there are %v", kind, events.Kinds)
				}
				q.Kinds = append(q.Kinds, events.Kind(kind))
			}
		case "message":
			q.Message = value
		case "recipient":
			q.Recipient = value
		default:
			return q, fault("invalid-parameter", "%.40q is unknown; known are after, limit, kind, message, recipient and wait", name)
		}
	}
	return q, nil
}

// events is GET /events: what happened to the account's messages, oldest first.
// With wait it answers as soon as there is something.
func (s *server) events(r *request) error {
	q, err := s.eventQuery(r.URL.Query(), r.key.Account)
	if err != nil {
		return err
	}
	if q.wait > 0 {
		if !s.asking.take(r.key.Account, s.Limits.Waiting) {
			return fault("too-many-requests", "The account has %d requests waiting for events", s.Limits.Waiting).after(time.Second)
		}
		defer s.asking.leave(r.key.Account)
		r.mayWait()
	}
	list, err := s.awaitEvents(r.Context(), q)
	if err != nil {
		return unavailable(err)
	}
	if q.wait > 0 { // a key that was removed meanwhile learns nothing more
		if err := s.authenticate(r); err != nil {
			return err
		}
	}
	page := eventPage{Events: make([]eventView, len(list)), Next: q.After}
	for i, e := range list {
		page.Events[i] = eventView{e.ID, e.At, string(e.Kind), e.Message, bracketed(e.HeaderID), e.From, e.Recipient, e.Subject, e.Remote,
			e.Code, e.Enhanced, e.Text, e.TLS, e.Size, e.Duration.Milliseconds()}
		page.Next = e.ID
	}
	return r.reply(http.StatusOK, page)
}

// mayWait takes the server's limit for the reading of a request away: it would
// end the request's context.
func (r *request) mayWait() {
	if err := http.NewResponseController(r.w).SetReadDeadline(time.Time{}); err != nil {
		r.log.Debug("no read deadline", "event", "api.deadline", "error", err.Error())
	}
}

// awaitEvents asks until there is something or the time is over, then once more
// when the newest has hardly happened.
func (s *server) awaitEvents(ctx context.Context, q eventQuery) ([]events.Event, error) {
	end := time.Now().Add(q.wait)
	for {
		list, err := s.Events.Find(ctx, q.Query)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			if time.Since(list[len(list)-1].At) > settle {
				return list, nil
			}
			s.pause(ctx, settle)
			return s.Events.Find(ctx, q.Query)
		}
		left := time.Until(end)
		if left <= 0 || !s.pause(ctx, min(left, pollEvery)) {
			return nil, ctx.Err()
		}
	}
}

// pause waits; false says that the client or the server goes away.
func (s *server) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.Closing:
	}
	return false
}
