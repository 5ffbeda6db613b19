package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

// problem is an error as its reader gets it (RFC 9457). Code is stable; Detail
// is for people.
type problem struct {
	Type       string       `json:"type"`
	Title      string       `json:"title"`
	Status     int          `json:"status"`
	Code       string       `json:"code"`
	Detail     string       `json:"detail,omitempty"`
	Errors     []fieldError `json:"errors,omitempty"`
	Recipients []recipient  `json:"recipients,omitempty"` // of a message that nobody can get
	RequestID  string       `json:"request_id,omitempty"`

	retryAfter time.Duration // 0: none
	cause      error         // for the log
	allow      string        // methods, of 405
}

// fieldError says what is wrong with one value of a request. Pointer leads to
// it in the JSON (RFC 6901).
type fieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

func (p *problem) Error() string {
	s := fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail)
	for _, e := range p.Errors {
		s += fmt.Sprintf("; %s: %s", e.Pointer, e.Detail)
	}
	if p.cause != nil {
		s += ": " + p.cause.Error()
	}
	return s
}

func (p *problem) Unwrap() error { return p.cause }

// kinds are all problems there are, by their code.
var kinds = map[string]struct {
	status int
	title  string
}{
	"malformed-json":          {http.StatusBadRequest, "The body is not JSON as it is expected here"},
	"invalid-parameter":       {http.StatusBadRequest, "A parameter of the address or a header is wrong"},
	"broken-off":              {http.StatusBadRequest, "The body did not come whole"},
	"unauthorized":            {http.StatusUnauthorized, "A valid key is needed"},
	"insecure-transport":      {http.StatusForbidden, "Keys are taken over HTTPS only"},
	"sender-not-allowed":      {http.StatusForbidden, "The account may not send as this address"},
	"sending-blocked":         {http.StatusForbidden, "The account may not send now"},
	"not-found":               {http.StatusNotFound, "There is nothing here"},
	"method-not-allowed":      {http.StatusMethodNotAllowed, "The method has no meaning here"},
	"not-acceptable":          {http.StatusNotAcceptable, "Answers are JSON"},
	"request-in-progress":     {http.StatusConflict, "The same request is being worked on"},
	"too-large":               {http.StatusRequestEntityTooLarge, "The request is too large"},
	"unsupported-media-type":  {http.StatusUnsupportedMediaType, "The body is of a kind that is not taken"},
	"invalid-message":         {http.StatusUnprocessableEntity, "The message cannot be sent as it is"},
	"invalid-value":           {http.StatusUnprocessableEntity, "A value cannot be used"},
	"no-recipients":           {http.StatusUnprocessableEntity, "None of the recipients can get mail"},
	"idempotency-key-reused":  {http.StatusUnprocessableEntity, "The Idempotency-Key belongs to another request"},
	"too-many-requests":       {http.StatusTooManyRequests, "Too many requests at once"},
	"sending-limit":           {http.StatusTooManyRequests, "The account has sent as much as it may for now"},
	"busy":                    {http.StatusServiceUnavailable, "The server has too much to do"},
	"temporarily-unavailable": {http.StatusServiceUnavailable, "It cannot be done now; nothing was accepted"},
	"outcome-unknown":         {http.StatusServiceUnavailable, "Nobody knows whether it was accepted"},
	"internal":                {http.StatusInternalServerError, "The server has a fault"},
}

// fault makes a problem.
func fault(code, format string, args ...any) *problem {
	kind := kinds[code]
	return &problem{Type: "/api/v1/#" + code, Title: kind.title, Status: kind.status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// because adds what the log should know.
func (p *problem) because(err error) *problem { p.cause = err; return p }

// after says when to try again.
func (p *problem) after(d time.Duration) *problem { p.retryAfter = d; return p }

// invalid is a 422 about fields of a message.
func invalid(errs ...fieldError) *problem {
	p := fault("invalid-message", "%d of its fields cannot be used", len(errs))
	if len(errs) == 1 {
		p.Detail = fmt.Sprintf("%s: %s", errs[0].Pointer, errs[0].Detail)
	}
	p.Errors = errs
	return p
}

// unavailable is a temporary fault of ours.
func unavailable(err error) *problem {
	return fault("temporarily-unavailable", "Try again in a moment").because(err).after(5 * time.Second)
}

// asProblem turns any error into what is answered.
func asProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if busy, ok := errors.AsType[*directory.InProgress](err); ok {
		return fault("request-in-progress", "Ask again; the answer will be that of the first").after(busy.RetryAfter)
	}
	switch {
	case errors.Is(err, directory.ErrKeyReused):
		return fault("idempotency-key-reused", "It came before with another body; a new request needs a new key")
	case errors.Is(err, directory.ErrClaimLost):
		return fault("request-in-progress", "Another server took the request over").because(err).after(time.Second)
	case mail.ClassOf(err) == mail.Unknown:
		return fault("outcome-unknown", "Ask again with the same Idempotency-Key to learn it; without one, the message may be sent twice").because(err).after(time.Second)
	}
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Class == mail.Permanent {
		return fault("invalid-message", "%s", e.Text).because(err)
	}
	return unavailable(err)
}

// write sends the problem as the whole answer.
func (p *problem) write(w http.ResponseWriter, id string) error {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="posthouse"`)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	told := *p
	told.RequestID = id
	body, err := toJSON(told)
	if err != nil {
		return fmt.Errorf("write a problem: %w", err)
	}
	w.WriteHeader(p.Status)
	_, err = w.Write(append(body, '\n'))
	return err
}
