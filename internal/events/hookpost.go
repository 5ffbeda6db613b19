package events

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	maxAnswer  = 64 << 10 // octets of a hook's answer that are read
	maxIdle    = 64       // connections to hooks kept open, in all
	idleFor    = 30 * time.Second
	gone       = http.StatusGone // the hook asks not to be told any more
	typeTest   = "test"          // of the event that `hook test` makes up
	signHeader = "Posthouse-Signature"
)

// payload is the body of a request to a hook.
type payload struct {
	ID   string    `json:"id"` // the same in every attempt
	Type string    `json:"type"`
	At   time.Time `json:"at"`
	Data *data     `json:"data"`
}

// data is the event, with what its message is known by.
type data struct {
	Message   string `json:"message,omitempty"`
	HeaderID  string `json:"message_id,omitempty"`
	From      string `json:"from,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	Subject   string `json:"subject,omitempty"`
	Remote    string `json:"remote,omitempty"`
	Code      int    `json:"code,omitempty"`
	Enhanced  string `json:"enhanced,omitempty"`
	Text      string `json:"text,omitempty"`
	TLS       string `json:"tls,omitempty"`
	Size      int64  `json:"size,omitempty"`
}

func newPayload(e *Event) *payload {
	return &payload{strconv.FormatInt(e.ID, 10), string(e.Kind), e.At, &data{e.Message, e.HeaderID, e.From, e.Recipient, e.Subject,
		e.Remote, e.Code, e.Enhanced, e.Text, e.TLS, e.Size}}
}

// Sign computes the value of Posthouse-Signature: the time in seconds since
// 1970, and the HMAC-SHA256 under the hook's secret of that number, a full stop
// and the body.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// poster sends requests to hooks.
type poster struct {
	patience      time.Duration
	public, local *http.Client
}

func newPoster(o *HookOptions) *poster {
	client := func(allowed bool) *http.Client {
		return &http.Client{
			Transport: &http.Transport{
				DialContext:            (&dialer{o.Lookup, allowed}).dial,
				TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
				MaxIdleConns:           maxIdle,
				MaxIdleConnsPerHost:    2,
				IdleConnTimeout:        idleFor,
				MaxResponseHeaderBytes: maxAnswer,
				ForceAttemptHTTP2:      true,
			},
			// An answer that leads elsewhere is not followed: it would carry
			// the event to an URL that nobody entered.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	p := &poster{patience: o.Patience, public: client(false), local: client(true)}
	if o.AllowPrivate {
		p.public = p.local
	}
	return p
}

// attempt is what came of one request. ok: the hook has the event.
type attempt struct {
	ok   bool
	code int
	err  string
}

// post sends one event.
func (p *poster) post(ctx context.Context, h *Hook, secret string, event *payload, try int) attempt {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // Message-IDs stand in angle brackets
	if err := e.Encode(event); err != nil {
		return attempt{err: err.Error()}
	}
	body := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return attempt{err: err.Error()}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Posthouse-Hook/1")
	r.Header.Set("Posthouse-Event-Id", event.ID)
	r.Header.Set("Posthouse-Event-Type", event.Type)
	r.Header.Set("Posthouse-Attempt", strconv.Itoa(try))
	r.Header.Set(signHeader, Sign(secret, time.Now(), body))
	client := p.public
	if h.AllowPrivate {
		client = p.local
	}
	answer, err := client.Do(r)
	if err != nil {
		return attempt{err: p.reason(err)}
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // to its end, so that the connection serves again
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300: // whatever becomes of the body
		return attempt{ok: true, code: code}
	case code >= 300 && code < 400:
		return attempt{code: code, err: "redirects are not followed: " + line(answer.Header.Get("Location"), 200)}
	case err != nil:
		return attempt{code: code, err: p.reason(err)}
	default:
		return attempt{code: code, err: line(fmt.Sprintf("%s: %.300s", http.StatusText(code), said), 300)}
	}
}

// reason is an error without the URL, which whoever reads it knows.
func (p *poster) reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer within " + p.patience.String()
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // url.Error
	}
	return line(err.Error(), 300)
}

// Test sends a made-up event to a hook, now and once. An error says that it was
// not taken.
func (h *Hooks) Test(ctx context.Context, id int64) (code int, err error) {
	hook, err := h.Hook(ctx, id)
	if err != nil {
		return 0, err
	}
	secret, err := h.secret(&hook)
	if err != nil {
		return 0, err
	}
	defer h.post.close()
	now := time.Now().UTC()
	a := h.post.post(ctx, &hook, secret, &payload{"test-" + strconv.FormatInt(now.UnixMilli(), 10), typeTest, now, &data{Text: "a test"}}, 1)
	if !a.ok {
		return a.code, fmt.Errorf("hook %d did not take the event: %s", id, a.words())
	}
	return a.code, nil
}

// words are what a person reads of a failure.
func (a *attempt) words() string {
	if a.code != 0 {
		return strconv.Itoa(a.code) + " " + a.err
	}
	return a.err
}

func (p *poster) close() {
	p.public.CloseIdleConnections()
	p.local.CloseIdleConnections()
}
