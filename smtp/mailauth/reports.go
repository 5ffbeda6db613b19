package mailauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	moxdns "github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/tlsrpt"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// ReportsConfig is what NewReports needs.
type ReportsConfig struct {
	Pool     *pgxpool.Pool
	Keys     *Keys
	SRS      *SRS // swept along; nil: none
	Resolver moxdns.Resolver
	// HTTP posts reports. Its transport must refuse this site's own networks:
	// where reports go to is for strangers to say.
	HTTP *http.Client
	// From is whom reports are from, an address of a domain here: its DKIM keys
	// sign them. It is asked each time; a zero address says that there is no
	// domain yet, and reports wait.
	From func(ctx context.Context) (mail.Address, error)
	// Send hands a signed message over for delivery, with From as reverse-path
	// and no reports about failures (NOTIFY=NEVER).
	Send func(ctx context.Context, from, to mail.Address, message []byte) error
	Log  *slog.Logger
}

// Times of reporting. Days are those of UTC.
const (
	flushEvery  = 30 * time.Second
	reportEvery = 5 * time.Minute
	tendEvery   = time.Hour
	// daySettles is how long after midnight the last results of a day may
	// still be written by other nodes.
	daySettles = 15 * time.Minute
	// reportSpread is over which time reports are spread (RFC 8460 §4.1: up
	// to four hours).
	reportSpread = 4 * time.Hour
	reportLease  = 10 * time.Minute
	reportWorks  = 5 * time.Minute // for one report, all its addresses
	// reportExpires is when a report is given up that could not be sent.
	reportExpires = 3 * 24 * time.Hour
	reportAddress = 10 // addresses of one domain at most
)

// Reports counts how TLS went, and tells those domains that want to hear of it
// (RFC 8460), once a day, by one node of the site.
type Reports struct {
	cfg     ReportsConfig
	http    http.Client
	results tlsResults
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// NewReports starts collecting. One goroutine writes what is collected, sends
// the reports that are due, and looks after keys and caches; Close ends it.
func NewReports(cfg ReportsConfig) *Reports {
	r := &Reports{cfg: cfg, results: tlsResults{pool: cfg.Pool, n: make(map[tlsKey]int64)}}
	if cfg.Log == nil {
		r.cfg.Log = slog.Default()
	}
	if cfg.HTTP != nil {
		r.http = *cfg.HTTP
	}
	// A redirect would lead where nobody was asked.
	r.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() { r.run(ctx) })
	return r
}

// Add counts a result. It never waits. What went to mail that waives TLS is not
// counted: reports do, and two sites would report on their reports for ever.
func (r *Reports) Add(result TLSResult) { r.results.add(result) }

// Close ends the work, and writes what was collected.
func (r *Reports) Close(ctx context.Context) error {
	r.stop()
	r.done.Wait()
	return r.results.flush(ctx)
}

func (r *Reports) run(ctx context.Context) {
	flush, report, tend := time.NewTicker(flushEvery), time.NewTicker(reportEvery), time.NewTicker(tendEvery)
	defer flush.Stop()
	defer report.Stop()
	defer tend.Stop()
	r.tend(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			r.complain(ctx, r.results.flush(ctx))
		case <-report.C:
			r.complain(ctx, r.sendDue(ctx))
		case <-tend.C:
			r.tend(ctx)
		}
	}
}

func (r *Reports) complain(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn("identity work is late", "event", "identity.late", "err", err)
	}
}

// tend looks after what else this package keeps.
func (r *Reports) tend(ctx context.Context) {
	if r.cfg.Keys != nil {
		r.complain(ctx, r.cfg.Keys.EnsureAll(ctx))
		r.complain(ctx, r.cfg.Keys.EraseRetired(ctx))
	}
	if r.cfg.SRS != nil {
		r.complain(ctx, r.cfg.SRS.Sweep(ctx))
	}
	r.complain(ctx, sweepSTS(ctx, r.cfg.Pool))
	_, err := r.cfg.Pool.Exec(ctx, "WITH gone AS (DELETE FROM tls_report WHERE day < (now() AT TIME ZONE 'UTC')::date - 7) "+
		"DELETE FROM tls_result WHERE day < (now() AT TIME ZONE 'UTC')::date - 7")
	r.complain(ctx, err)
}

// sendDue makes the reports of days that are over due, and sends those whose
// time has come.
func (r *Reports) sendDue(ctx context.Context) error {
	if err := r.schedule(ctx, reportSpread); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if more, err := r.sendOne(ctx); err != nil || !more {
			return err
		}
	}
	return nil
}

func (r *Reports) schedule(ctx context.Context, spread time.Duration) error {
	_, err := r.cfg.Pool.Exec(ctx, `INSERT INTO tls_report (day, domain, next_at)
		SELECT day, domain, now() + random() * $1 * interval '1 second' FROM (
			SELECT DISTINCT day, domain FROM tls_result WHERE day < (now() AT TIME ZONE 'UTC' - $2 * interval '1 second')::date) d
		ON CONFLICT DO NOTHING`, spread.Seconds(), daySettles.Seconds())
	if err != nil {
		return fmt.Errorf("schedule TLS reports: %w", err)
	}
	return nil
}

// dueReport is a report that this node has leased.
type dueReport struct {
	day      time.Time
	domain   string
	attempts int
	served   []string
}

// sendOne leases a report that is due and sends it. more is false when none is.
func (r *Reports) sendOne(ctx context.Context) (more bool, err error) {
	var d dueReport
	err = r.cfg.Pool.QueryRow(ctx, `UPDATE tls_report SET next_at = now() + $1 * interval '1 second', attempts = attempts + 1
		WHERE (day, domain) = (SELECT day, domain FROM tls_report WHERE next_at <= now() ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING day, domain, attempts, served`, reportLease.Seconds()).Scan(&d.day, &d.domain, &d.attempts, &d.served)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lease a TLS report: %w", err)
	}
	work, cancel := context.WithTimeout(ctx, reportWorks)
	defer cancel()
	result, err := r.send(work, &d)
	if ctx.Err() != nil {
		return false, ctx.Err() // the lease runs out, and the report is sent then
	}
	if err != nil {
		level := slog.LevelInfo
		if result = "deferred"; time.Since(d.day) > 24*time.Hour+reportExpires {
			result, level = "failed", slog.LevelWarn
		}
		r.cfg.Log.Log(ctx, level, "TLS report not sent", "event", "tlsrpt."+result, "domain", d.domain, "day", d.day.Format(time.DateOnly), "err", err)
	}
	events.TLSReports.WithLabelValues(result).Inc()
	return true, r.settle(ctx, d, result)
}

// settle records what became of a report.
func (r *Reports) settle(ctx context.Context, d dueReport, result string) error {
	err := pgx.BeginFunc(ctx, r.cfg.Pool, func(tx pgx.Tx) error {
		if result == "deferred" {
			wait := min(time.Duration(d.attempts)*time.Hour, 6*time.Hour)
			_, err := tx.Exec(ctx, "UPDATE tls_report SET next_at = now() + $3 * interval '1 second', served = $4 WHERE day = $1 AND domain = $2",
				d.day, d.domain, wait.Seconds(), d.served)
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE tls_report SET next_at = NULL, served = $3 WHERE day = $1 AND domain = $2", d.day, d.domain, d.served); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM tls_result WHERE day = $1 AND domain = $2", d.day, d.domain)
		return err
	})
	if err != nil {
		return fmt.Errorf("record the TLS report on %s: %w", d.domain, err)
	}
	return nil
}

// send sends a report to every address that wants it and has it not yet.
func (r *Reports) send(ctx context.Context, d *dueReport) (result string, err error) {
	name, err := moxdns.ParseDomainLax(d.domain)
	if err != nil {
		return "failed", nil // it got mail, somehow; nobody can have a record there
	}
	record, _, err := tlsrpt.Lookup(ctx, r.cfg.Log, r.cfg.Resolver, name)
	switch {
	case errors.Is(err, tlsrpt.ErrNoRecord), errors.Is(err, tlsrpt.ErrMultipleRecords), errors.Is(err, tlsrpt.ErrRecordSyntax):
		return "unwanted", nil
	case err != nil:
		return "", err
	}
	from, err := r.cfg.From(ctx)
	if err != nil {
		return "", err
	}
	if from.IsZero() {
		return "", errors.New("there is no domain here that could send it")
	}
	rows, err := r.rows(ctx, d)
	if err != nil {
		return "", err
	}
	report, err := newTLSReport(d.day, d.domain, from, rows)
	if err != nil {
		return "", err
	}
	file, err := report.file()
	if err != nil {
		return "", err
	}
	var failures []error
	for _, rua := range addressesOf(record) {
		if slices.Contains(d.served, rua.String()) {
			continue
		}
		if err := r.sendTo(ctx, rua, report, from, file); err != nil {
			failures = append(failures, fmt.Errorf("to %s: %w", rua, err))
			continue
		}
		d.served = append(d.served, rua.String())
	}
	return "sent", errors.Join(failures...)
}

// addressesOf are the different addresses of a record, as URIs.
func addressesOf(record *tlsrpt.Record) []*url.URL {
	var list []*url.URL
	for _, group := range record.RUAs {
		for _, rua := range group {
			u, err := rua.URI()
			if err != nil || len(list) == reportAddress || slices.ContainsFunc(list, func(v *url.URL) bool { return v.String() == u.String() }) {
				continue
			}
			list = append(list, u)
		}
	}
	return list
}

func (r *Reports) rows(ctx context.Context, d *dueReport) ([]tlsRow, error) {
	rows, err := r.cfg.Pool.Query(ctx, "SELECT policy, failure, n FROM tls_result WHERE day = $1 AND domain = $2 ORDER BY policy, failure LIMIT 5000", d.day, d.domain)
	if err != nil {
		return nil, fmt.Errorf("results of TLS: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[tlsRow])
	if err != nil {
		return nil, fmt.Errorf("results of TLS: %w", err)
	}
	return list, nil
}

func (r *Reports) sendTo(ctx context.Context, rua *url.URL, report *tlsReport, from mail.Address, file []byte) error {
	if strings.EqualFold(rua.Scheme, "https") {
		return r.post(ctx, rua, file)
	}
	if !strings.EqualFold(rua.Scheme, "mailto") {
		return nil // RFC 8460 §3 knows no others, and trying again changes nothing
	}
	text, err := url.PathUnescape(rua.Opaque)
	if err != nil {
		return nil
	}
	to, err := mail.ParseAddress(text)
	if err != nil {
		return nil
	}
	message := report.message(from, to, file, time.Now())
	signature, err := r.cfg.Keys.Sign(ctx, from, bytes.NewReader(message), int64(len(message)))
	if err != nil {
		return err
	}
	if len(signature) == 0 { // RFC 8460 §3: reports by mail must be signed
		return fmt.Errorf("%s has no DKIM keys", from.Domain)
	}
	return r.cfg.Send(ctx, from, to, append(signature, message...))
}

// post sends a report by HTTPS (RFC 8460 §5.4).
func (r *Reports) post(ctx context.Context, rua *url.URL, file []byte) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rua.String(), bytes.NewReader(file))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	req.Header.Set("User-Agent", "posthouse")
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the answer was %s", clip(resp.Status))
	}
	return nil
}
