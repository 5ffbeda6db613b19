// Package password is the page by which a link sets an account's password, once:
// /password/TOKEN. Looking at it changes nothing, so that programs that follow
// the links in a mail do not use it up. It works without scripts, and loads
// nothing from elsewhere.
package password

import (
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"posthouse/internal/directory"
	"posthouse/internal/door"
)

//go:embed page.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// Path is where the pages lie.
const Path = "/password/"

// maxForm bounds what is posted, in octets; a password has 1,024 at most.
const maxForm = 16 << 10

// Config is what New needs.
type Config struct {
	Hostname  string
	Directory *directory.Directory
	// Plain takes passwords without TLS: local mode, loopback only.
	Plain bool
	// TrustedProxies may say who asks, and whether by HTTPS.
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
}

type server struct{ Config }

// New makes the handler of Path.
func New(c Config) http.Handler {
	s := &server{c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"{token}", s.show)
	mux.HandleFunc("POST "+Path+"{token}", s.set)
	// A form elsewhere cannot post here, whoever made it (RFC 9110 §9.2.1 leaves
	// that to us): browsers say where a request comes from.
	return http.NewCrossOriginProtection().Handler(headers(mux))
}

// headers let a form be sent here, and nothing else happen.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the address of the page is a secret
		h.Set("Cache-Control", "no-store")
		h.Set("X-Robots-Tag", "noindex")
		next.ServeHTTP(w, r)
	})
}

// view is what the page shows: a form, or how it went.
type view struct {
	Hostname, Address string
	Form, Done        bool
	Fault             string
}

// client is who asks. Without TLS nobody does: a password would be seen.
func (s *server) client(w http.ResponseWriter, r *http.Request) (directory.Client, bool) {
	remote, secure := door.HTTPClient(r, s.TrustedProxies)
	if !secure && !s.Plain {
		s.render(w, http.StatusForbidden, view{Fault: "This page needs https."})
		return directory.Client{}, false
	}
	return directory.Client{Remote: remote, Protocol: "http", TLS: secure}, true
}

func (s *server) show(w http.ResponseWriter, r *http.Request) {
	c, ok := s.client(w, r)
	if !ok {
		return
	}
	addr, err := s.Directory.Link(r.Context(), r.PathValue("token"), c)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.render(w, http.StatusOK, view{Address: addr.String(), Form: true})
}

func (s *server) set(w http.ResponseWriter, r *http.Request) {
	c, ok := s.client(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.render(w, http.StatusBadRequest, view{Fault: "That was not sent by the form."})
		return
	}
	token, password := r.PathValue("token"), r.PostForm.Get("password")
	again := func(fault string) {
		addr, err := s.Directory.Link(r.Context(), token, c)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		s.render(w, http.StatusUnprocessableEntity, view{Address: addr.String(), Form: true, Fault: fault})
	}
	switch {
	case password == "":
		again("The password is empty.")
		return
	case password != r.PostForm.Get("again"):
		again("The two passwords differ.")
		return
	}
	addr, err := s.Directory.UseLink(r.Context(), token, password, c)
	switch {
	case err == nil:
		s.render(w, http.StatusOK, view{Address: addr.String(), Done: true})
	case errors.Is(err, directory.ErrInvalid):
		again("This password cannot be used: it is too long, or has characters that mail programs cannot send.")
	default:
		s.refuse(w, r, err)
	}
}

// refuse answers without the form. Nothing tells a link that is used up from one
// that never was.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if slow, ok := errors.AsType[*directory.Throttled](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(slow.RetryAfter/time.Second)+1))
		s.render(w, http.StatusTooManyRequests, view{Fault: "Too many attempts from here. Try again later."})
		return
	}
	if errors.Is(err, directory.ErrNotFound) {
		s.render(w, http.StatusNotFound, view{Fault: "This link is not good any more: it was used, its time is over, or there is a newer one. Ask for another."})
		return
	}
	s.Log.Warn("a password link cannot be answered", "event", "http", "err", err)
	s.render(w, http.StatusServiceUnavailable, view{Fault: "That cannot be done now. Try again later."})
}

func (s *server) render(w http.ResponseWriter, status int, v view) {
	v.Hostname = s.Hostname
	var b strings.Builder
	if err := page.Execute(&b, v); err != nil || !utf8.ValidString(b.String()) {
		s.Log.Error("the page of a password link", "event", "http", "err", err)
		http.Error(w, "Try again later", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(b.String())) // who hung up sees nothing
}
