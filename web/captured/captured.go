// Package captured shows the mail that local mode keeps instead of sending it:
// a page for people at /captured/, and an interface for tests at
// /api/v1/captured, which lists, reads, waits for and removes messages.
//
// Each recipient of a captured message has a copy of its own, and all of one
// recipient's are an inbox. An id is the copy's UID in the captured account:
// ids rise, so that "after this one" is a question with one answer.
//
// There is no login: local mode listens on loopback, where every user of the
// machine can send and read this mail by SMTP and IMAP, too. What a web page
// from elsewhere could do through the user's browser is refused: a Host that is
// not of this machine (DNS rebinding), and changes from another origin.
//
// Mail is hostile. HTML is sanitised, then served in a sandbox whose content
// security policy runs no script and loads nothing from anywhere but the
// message itself; attachments are downloads.
package captured

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"posthouse/mailstore"
)

//go:embed page.html page.js page.css
var files embed.FS

// Config is what New needs.
type Config struct {
	Store    *mailstore.Store
	Account  int64           // whose INBOX holds the captured mail
	Hostname string          // a name that requests may use beside those of loopback
	Closing  <-chan struct{} // closed when the server stops: waiting ends
	Log      *slog.Logger
}

type handler struct {
	Config
	account mailstore.AccountID
}

// New makes the handler of /captured/ and /api/v1/captured.
func New(c Config) http.Handler {
	h := &handler{Config: c, account: mailstore.AccountID(c.Account)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /captured/{$}", h.file("page.html"))
	mux.HandleFunc("GET /captured/page.js", h.file("page.js"))
	mux.HandleFunc("GET /captured/page.css", h.file("page.css"))
	for pattern, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /api/v1/captured":                   h.list,
		"DELETE /api/v1/captured":                h.remove,
		"GET /api/v1/captured/inboxes":           h.inboxes,
		"GET /api/v1/captured/wait":              h.wait,
		"GET /api/v1/captured/{id}":              h.show,
		"DELETE /api/v1/captured/{id}":           h.removeOne,
		"GET /api/v1/captured/{id}/source":       h.source,
		"GET /api/v1/captured/{id}/html":         h.html,
		"GET /api/v1/captured/{id}/parts/{part}": h.part,
		"GET /api/v1/captured/{id}/cid/{cid}":    h.inline,
	} {
		mux.HandleFunc(pattern, h.answer(f))
	}
	mux.HandleFunc("/api/v1/captured/", func(w http.ResponseWriter, r *http.Request) {
		h.answer(func(http.ResponseWriter, *http.Request) error { return notFound("There is nothing at %s", r.URL.Path) })(w, r)
	})
	return h.local(http.NewCrossOriginProtection().Handler(mux))
}

// local refuses requests under a name that is not this machine's: a page
// elsewhere can have its own name lead here.
func (h *handler) local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
		if strings.EqualFold(name, "localhost") || strings.EqualFold(name, h.Hostname) || err == nil && addr.IsLoopback() {
			next.ServeHTTP(w, r)
			return
		}
		h.answer(func(http.ResponseWriter, *http.Request) error {
			return &problem{http.StatusMisdirectedRequest, "not_this_machine", "Ask by localhost or 127.0.0.1: " + name + " is not this machine's name"}
		})(w, r)
	})
}

// pagePolicy is the content security policy of the page: its own script and
// style, and frames that hold messages.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (h *handler) file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		http.ServeFileFS(w, r, files, name)
	}
}

// problem is an error with its HTTP answer, after RFC 9457.
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return p.Detail }

// answer turns an error of f into a problem document. f returns one only before
// it has written anything.
func (h *handler) answer(f func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil || r.Context().Err() != nil {
			return
		}
		p, ok := errors.AsType[*problem](err)
		if !ok {
			h.Log.Warn("captured mail cannot be shown", "event", "captured", "path", r.URL.Path, "err", err)
			p = &problem{http.StatusServiceUnavailable, "unavailable", "The mailstore cannot be read now, try again"}
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		h.write(w, p)
	}
}

func (h *handler) json(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	h.write(w, v)
	return nil
}

func (h *handler) write(w http.ResponseWriter, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		h.Log.Debug("answer not sent", "event", "captured", "err", err)
	}
}

// inbox is the mailbox of all that was captured.
func (h *handler) inbox(ctx context.Context) (mailstore.Mailbox, error) {
	return h.Store.Mailbox(ctx, h.account, "INBOX")
}

// one reads the message that a request's path names.
func (h *handler) one(r *http.Request, fields mailstore.Fields) (*mailstore.Message, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 32)
	if err != nil || id == 0 {
		return nil, notFound("%s is not the id of a message", r.PathValue("id"))
	}
	box, err := h.inbox(r.Context())
	if err != nil {
		return nil, err
	}
	view, _, err := h.Store.Load(r.Context(), h.account, box.ID)
	if err != nil {
		return nil, err
	}
	if _, ok := view.Seq(mailstore.UID(id)); !ok {
		return nil, notFound("There is no captured message %d; it may have been removed", id)
	}
	var found *mailstore.Message
	err = h.Store.Messages(r.Context(), h.account, box.ID, mailstore.UIDs(mailstore.UID(id)), fields, func(m *mailstore.Message) error {
		found = m
		return nil
	})
	if err == nil && found == nil {
		err = notFound("There is no captured message %d; it may have been removed", id)
	}
	return found, err
}
