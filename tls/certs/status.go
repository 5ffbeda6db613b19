package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Source is where the certificate comes from that serves a name.
type Source string

const (
	FromFile  Source = "file"
	FromACME  Source = "acme"
	FromLocal Source = "local" // the local authority, which nobody else knows
)

// ordering is the problem of a name that was asked for just now.
const ordering = "it is being ordered"

// NameStatus is what is known of the certificate of one name.
type NameStatus struct {
	Name    string    `json:"name"`
	Source  Source    `json:"source"`
	Until   time.Time `json:"until"`
	Problem string    `json:"problem,omitempty"` // why it is not the one that should serve, or will not be renewed
}

// Fallback reports whether something else serves than should: the last good
// certificate in place of a newer one, or the local authority's.
func (s NameStatus) Fallback() bool { return s.Problem != "" }

// Status lists the names that this site wants certificates for, by name, each
// with what a client is shown now. Without ACME and files that is the host's
// name alone, and the local authority is no fallback.
func (c *Certificates) Status() []NameStatus {
	problems := map[string]string{}
	if c.acme != nil {
		problems = c.acme.problems()
	}
	for _, f := range c.own() {
		for _, name := range f.cert.Load().Leaf.DNSNames {
			if !strings.HasPrefix(name, "*.") {
				problems[name] = cmp.Or(f.trouble(), problems[name])
			}
		}
	}
	list := make([]NameStatus, 0, len(problems))
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		cert, source, err := c.serves(name)
		if err != nil || cert.Leaf == nil {
			continue
		}
		s := NameStatus{Name: name, Source: source, Until: cert.Leaf.NotAfter, Problem: problems[name]}
		switch {
		case source == FromFile && !c.inTrouble(cert):
			s.Problem = "" // what the authority says of it matters no more
		case source == FromLocal && s.Problem == "":
			s.Problem = ordering
		}
		list = append(list, s)
	}
	return list
}

// inTrouble reports whether a certificate of a file is not what lies there now.
func (c *Certificates) inTrouble(cert *tls.Certificate) bool {
	return slices.ContainsFunc(c.own(), func(f *file) bool { return f.cert.Load() == cert && f.trouble() != "" })
}

// serves is the certificate for a host's name, and where it comes from.
func (c *Certificates) serves(name string) (*tls.Certificate, Source, error) {
	for _, f := range c.own() {
		if cert := f.cert.Load(); cert.Leaf.VerifyHostname(name) == nil {
			return cert, FromFile, nil
		}
	}
	if c.acme != nil {
		for _, cert := range c.acme.cache.AllMatchingCertificates(name) {
			if time.Now().Before(cert.Leaf.NotAfter) {
				return &cert.Certificate, FromACME, nil
			}
		}
	}
	cert, err := c.local.get(&tls.ClientHelloInfo{ServerName: name})
	return cert, FromLocal, err
}

var (
	expiry = prometheus.NewDesc("posthouse_certificate_expiry_timestamp_seconds",
		"When the certificate ends that serves a name, in seconds since 1970.", []string{"name", "source"}, nil)
	fallback = prometheus.NewDesc("posthouse_certificate_fallback",
		"1 while a name is served by another certificate than it should be: the last good one, or the local authority's.", []string{"name", "source"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(to chan<- *prometheus.Desc) { to <- expiry; to <- fallback }

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(to chan<- prometheus.Metric) {
	for _, s := range c.Status() {
		on := 0.0
		if s.Fallback() {
			on = 1
		}
		to <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(s.Until.Unix()), s.Name, string(s.Source))
		to <- prometheus.MustNewConstMetric(fallback, prometheus.GaugeValue, on, s.Name, string(s.Source))
	}
}

const (
	reports      = "posthouse/status"
	reportsEvery = 10 * time.Minute
	reportsAge   = 3 * reportsEvery // older ones are of nodes that are gone
)

// Report is what one node says of its certificates.
type Report struct {
	Node  string       `json:"node"`
	At    time.Time    `json:"at"`
	Names []NameStatus `json:"names"`
}

// publish lets commands on any machine of the site know the status, when it
// changed and now and then. An error is the log's: nothing depends on it.
func (c *Certificates) publish(ctx context.Context) {
	if c.acme == nil || c.node == "" {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	now := c.Status()
	if slices.Equal(now, c.told) && time.Since(c.toldAt) < reportsEvery {
		return
	}
	text, err := json.Marshal(Report{Node: c.node, At: time.Now(), Names: now})
	if err == nil {
		err = c.acme.storage.Store(ctx, reports+"/"+c.node, text)
	}
	if err != nil {
		c.log.Debug("the state of certificates is not noted", "event", "certificate", "err", err)
		return
	}
	c.told, c.toldAt = now, time.Now()
}

// Reports are what the nodes of a site said of their certificates lately; key
// is the site's. Those of nodes that are gone are left out.
func Reports(ctx context.Context, pool *pgxpool.Pool, key []byte) ([]Report, error) {
	store, err := openStorage(pool, key, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	keys, err := store.List(ctx, reports, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Report
	for _, key := range keys {
		text, err := store.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var r Report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("certificates: the report %s: %w", key, err)
		}
		if time.Since(r.At) < reportsAge {
			list = append(list, r)
		}
	}
	return list, nil
}
