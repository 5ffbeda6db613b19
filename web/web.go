// Package web is the server's HTTP side: what monitors ask (/healthz, /readyz,
// /metrics), the local authority's certificate, and a page that says what this
// is. It holds no mail and no secrets.
package web

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

//go:embed index.html style.css
var files embed.FS

var index = template.Must(template.ParseFS(files, "index.html"))

const (
	maxConnections = 256
	maxHeaderBytes = 16 << 10
	headerTimeout  = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = time.Minute
	readyTimeout   = 3 * time.Second
)

// Listener is an address that the index page shows.
type Listener struct{ Name, Addr string }

// Config is what New needs.
type Config struct {
	Hostname, Version string
	Local             bool
	Listeners         []Listener
	CAFile            string                      // the local authority's certificate, served at /ca.pem; may be empty
	Ready             func(context.Context) error // nil error: mail can be taken and read
	Metrics           prometheus.Gatherer
	MetricsFrom       []netip.Prefix                  // networks that may see the operator's pages, beside this machine
	HTTPS             bool                            // there is an HTTPS listener at port 443 to send strangers to
	Challenges        func(http.Handler) http.Handler // answers HTTP-01 challenges and passes all else on; nil: there are none
	Setup             Setup
	Captured          http.Handler // of the captured mail, in local mode; else nil
	Password          http.Handler // of /password/: sets one by a link; may be nil
	API               http.Handler // of /api/v1/: it decides itself what is answered without TLS; may be nil
	Log               *slog.Logger
}

// Server answers HTTP requests.
type Server struct {
	config Config
	http   *http.Server
}

// New makes a server; Serve starts it on a listener.
func New(c Config) *Server {
	s := &Server{config: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "style.css") })
	if c.CAFile != "" {
		mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-pem-file")
			http.ServeFile(w, r, c.CAFile)
		})
	}
	if c.Captured != nil {
		for _, path := range []string{"/captured/", "/api/v1/captured", "/api/v1/captured/"} {
			mux.Handle(path, c.Captured)
		}
	}
	if c.Password != nil {
		mux.Handle("/password/", c.Password)
	}
	if c.API != nil {
		mux.Handle(apiPath, c.API)
	}
	mux.HandleFunc("GET /{$}", s.index)
	s.http = &http.Server{
		Handler:           s.handler(mux),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return s
}

func (s *Server) handler(mux *http.ServeMux) http.Handler {
	h := guard(s.public(s.setup(mux)))
	if s.config.Challenges != nil {
		h = s.config.Challenges(h)
	}
	return h
}

// Serve answers on ln, over TLS when tlsConfig is not nil, until Shutdown.
func (s *Server) Serve(ln net.Listener, tlsConfig *tls.Config) error {
	ln = netutil.LimitListener(ln, maxConnections)
	if tlsConfig != nil {
		ln = tls.NewListener(ln, tlsConfig)
	}
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests finish until ctx ends, then closes their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// guard sets what browsers must not do with our pages.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// health says that the process lives; it asks nobody else, so that a monitor
// does not kill the server for its database's sake.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}

// ready says whether mail can be taken and read. The cause of a failure is for
// the log: it can name hosts and users.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.config.Ready(ctx); err != nil {
		s.config.Log.Warn("not ready", "event", "readyz", "err", err)
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ready\n"))
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page := s.config
	if !s.knows(r) { // a stranger learns who this is, and no more
		page.Listeners, page.Version = nil, ""
	}
	if err := index.Execute(w, page); err != nil {
		s.config.Log.Debug("write the index page", "event", "http", "err", err)
	}
}
