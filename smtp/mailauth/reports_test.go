package mailauth

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	moxdns "github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/tlsrpt"

	"posthouse/internal/mail"
)

// post is what the scripted HTTPS server took.
type post struct {
	path, kind string
	body       []byte
}

// reporting is a site that reports, with everybody it talks to.
type reporting struct {
	*Reports
	dns   moxdns.MockResolver
	https *httptest.Server

	mu    sync.Mutex
	posts []post
	mails []string // "to\n" and the message
	codes map[string]int
}

func newReporting(t *testing.T) *reporting {
	t.Helper()
	k := open(t)
	w := &reporting{dns: moxdns.MockResolver{TXT: map[string][]string{}}, codes: map[string]int{}}
	w.https = httptest.NewTLSServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.https.Close)
	w.Reports = NewReports(ReportsConfig{
		Pool: k.pool, Keys: k, Resolver: w.dns, HTTP: w.https.Client(), Log: quiet,
		From: func(context.Context) (mail.Address, error) { return addr("postmaster@example.test"), nil },
		Send: func(_ context.Context, from, to mail.Address, message []byte) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if code := w.codes[to.String()]; code != 0 {
				return fmt.Errorf("not today: %d", code)
			}
			w.mails = append(w.mails, from.String()+" "+to.String()+"\n"+string(message))
			return nil
		},
	})
	t.Cleanup(func() { must(t, w.Close(context.Background())); w.https.CloseClientConnections() })
	return w
}

func (w *reporting) serve(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.posts = append(w.posts, post{r.URL.Path, r.Header.Get("Content-Type"), body})
	if code := w.codes[r.URL.Path]; code != 0 {
		out.Header().Set("Location", "/elsewhere")
		out.WriteHeader(code)
	}
}

// nextDay moves what was collected to yesterday, and makes reports due.
func (w *reporting) nextDay(t *testing.T) {
	t.Helper()
	must(t, w.results.flush(t.Context()))
	_, err := w.cfg.Pool.Exec(t.Context(), "UPDATE tls_result SET day = day - 1")
	must(t, err)
	must(t, w.schedule(t.Context(), 0))
}

func (w *reporting) sendAll(t *testing.T) (n int) {
	t.Helper()
	for {
		more, err := w.sendOne(t.Context())
		must(t, err)
		if !more {
			return n
		}
		n++
	}
}

var sts = TLSPolicy{Type: "sts", Strings: []string{"version: STSv1", "mode: enforce", "mx: mx.example.org"}, Domain: "example.org", MX: []string{"mx.example.org"}}

func count(pool *pgxpool.Pool, table string) (n int) {
	if err := pool.QueryRow(context.Background(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		return -1
	}
	return n
}

// TestReports follows results to the reports that mox reads: by mail, signed,
// and by HTTPS, each once.
func TestReports(t *testing.T) {
	w := newReporting(t)
	w.dns.TXT["_smtp._tls.example.org."] = []string{"v=TLSRPTv1; rua=mailto:tls@example.org," + w.https.URL + "/v1/report"}
	other := node(t, w.cfg.Pool) // its results are counted too
	second := &Reports{cfg: w.cfg, results: tlsResults{pool: other.pool, n: map[tlsKey]int64{}}}
	failed := TLSResult{Domain: "example.org", Policy: sts, Failure: "certificate-expired", Reason: "since\r\nyesterday", MX: "mx.example.org", Helo: "mx",
		Remote: netip.MustParseAddr("192.0.2.1"), Local: netip.MustParseAddr("192.0.2.2")}
	for range 3 {
		w.Add(TLSResult{Domain: "example.org", Policy: sts})
		w.Add(failed)
		second.Add(TLSResult{Domain: "example.org", Policy: sts})
	}
	w.Add(TLSResult{Domain: "example.org", Policy: TLSPolicy{Type: "tlsa", Strings: []string{"3 1 1 00"}, Domain: "mx.example.org"}})
	w.Add(TLSResult{Domain: "unwanted.test", Policy: TLSPolicy{Type: "no-policy-found", Domain: "unwanted.test"}})
	must(t, second.results.flush(t.Context()))
	w.Add(TLSResult{Domain: "reporter.test", Policy: TLSPolicy{Type: "no-policy-found", Domain: "reporter.test"}, Waived: true})
	if n := w.sendAll(t); n != 0 {
		t.Errorf("%d reports about a day that is not over", n)
	}
	w.nextDay(t)
	if n := w.sendAll(t); n != 2 {
		t.Errorf("%d reports, want 2", n)
	}
	if len(w.mails) != 1 || len(w.posts) != 1 {
		t.Fatalf("%d mails, %d posts; want 1 and 1", len(w.mails), len(w.posts))
	}
	envelope, message, _ := strings.Cut(w.mails[0], "\n")
	if envelope != "postmaster@example.test tls@example.org" {
		t.Errorf("envelope %s", envelope)
	}
	if got := verdicts(t, published(t, w.cfg.Keys), message); got != "rsa pass, ed25519 pass" {
		t.Errorf("the report's signatures: %s", got)
	}
	for _, want := range []string{"TLS-Report-Domain: example.org\r\n", "TLS-Report-Submitter: example.test\r\n", "TLS-Required: No\r\n", "Auto-Submitted: auto-generated\r\n",
		`report-type="tlsrpt"`, "Subject: Report Domain: example.org\r\n Submitter: example.test\r\n Report-ID: <", "Content-Type: application/tlsrpt+gzip"} {
		if !strings.Contains(message, want) {
			t.Errorf("%q is missing in\n%s", want, message)
		}
	}
	mailed, err := tlsrpt.ParseMessage(quiet, strings.NewReader(message))
	must(t, err)
	z, err := gzip.NewReader(bytes.NewReader(w.posts[0].body))
	must(t, err)
	posted, err := tlsrpt.Parse(z)
	must(t, err)
	if w.posts[0].kind != "application/tlsrpt+gzip" || w.posts[0].path != "/v1/report" {
		t.Errorf("posted %s to %s", w.posts[0].kind, w.posts[0].path)
	}
	for _, r := range []*tlsrpt.ReportJSON{mailed, posted} {
		if got := summary(t, r); got != wantSummary {
			t.Errorf("the report says\n%s\nwant\n%s", got, wantSummary)
		}
		day := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
		if r.DateRange.Start.Format(time.RFC3339) != day+"T00:00:00Z" || r.DateRange.End.Format(time.RFC3339) != day+"T23:59:59Z" {
			t.Errorf("range %v", r.DateRange)
		}
		if r.ContactInfo != "postmaster@example.test" || r.OrganizationName != "example.test" || r.ReportID == "" {
			t.Errorf("report %+v", r)
		}
	}
	// All is told: nothing is left, and what comes late does not tell it again.
	if count(w.cfg.Pool, "tls_result") != 0 {
		t.Error("results are left")
	}
	w.Add(failed)
	w.nextDay(t)
	if n := w.sendAll(t); n != 0 || len(w.mails) != 1 {
		t.Errorf("late results caused %d reports", n)
	}
}

const wantSummary = `sts example.org [version: STSv1 mode: enforce mx: mx.example.org] [mx.example.org] 6/3
  certificate-expired 192.0.2.2 mx.example.org mx 192.0.2.1 3 "since  yesterday"
tlsa mx.example.org [3 1 1 00] [] 1/0
`

func summary(t *testing.T, r *tlsrpt.ReportJSON) string {
	t.Helper()
	var b strings.Builder
	for _, p := range r.Policies {
		fmt.Fprintf(&b, "%s %s %v %v %d/%d\n", p.Policy.Type, p.Policy.Domain, p.Policy.String, p.Policy.MXHost, p.Summary.TotalSuccessfulSessionCount, p.Summary.TotalFailureSessionCount)
		for _, f := range p.FailureDetails {
			fmt.Fprintf(&b, "  %s %s %s %s %s %d %q\n", f.ResultType, f.SendingMTAIP, f.ReceivingMXHostname, f.ReceivingMXHelo, f.ReceivingIP, f.FailedSessionCount, f.FailureReasonCode)
		}
	}
	return b.String()
}

// TestReportsFail holds that one address that cannot be reached is tried again,
// the others not, and that it ends.
func TestReportsFail(t *testing.T) {
	w := newReporting(t)
	w.dns.TXT["_smtp._tls.example.org."] = []string{"v=TLSRPTv1; rua=mailto:tls@example.org," + w.https.URL + "/down," + w.https.URL + "/moved"}
	w.codes["/down"], w.codes["/moved"] = 503, 302
	w.Add(TLSResult{Domain: "example.org", Policy: sts})
	w.nextDay(t)
	if n := w.sendAll(t); n != 1 {
		t.Fatalf("%d attempts", n)
	}
	due := func() {
		t.Helper()
		_, err := w.cfg.Pool.Exec(t.Context(), "UPDATE tls_report SET next_at = now() WHERE next_at IS NOT NULL")
		must(t, err)
	}
	due()
	w.codes["/moved"] = 0
	if n := w.sendAll(t); n != 1 {
		t.Fatalf("%d attempts", n)
	}
	paths := func() (list []string) {
		for _, p := range w.posts {
			list = append(list, p.path)
		}
		return list
	}
	if len(w.mails) != 1 || !slices.Equal(paths(), []string{"/down", "/moved", "/down", "/moved"}) {
		t.Errorf("%d mails, posts to %v", len(w.mails), paths())
	}
	_, err := w.cfg.Pool.Exec(t.Context(), "UPDATE tls_report SET day = day - 5")
	must(t, err)
	_, err = w.cfg.Pool.Exec(t.Context(), "UPDATE tls_result SET day = day - 5")
	must(t, err)
	due()
	if n := w.sendAll(t); n != 1 || len(w.posts) != 5 {
		t.Errorf("%d attempts, %d posts", n, len(w.posts))
	}
	due()
	if n := w.sendAll(t); n != 0 || count(w.cfg.Pool, "tls_result") != 0 {
		t.Errorf("a report that expired is tried %d times", n)
	}
}

// TestReportsDNS holds that a domain whose record cannot be asked for is asked
// again, and that records that say nothing useful end the matter.
func TestReportsDNS(t *testing.T) {
	for _, tt := range []struct {
		name, txt string
		done      bool
	}{
		{"none", "", true},
		{"broken", "v=TLSRPTv1; rua=", true},
		{"no scheme that we know", "v=TLSRPTv1; rua=ftp://example.org/", true},
		{"no address", "v=TLSRPTv1; rua=mailto:nobody", true},
		{"header injection", "v=TLSRPTv1; rua=mailto:a%0d%0aBcc%3a%20b@example.org", true},
		{"SERVFAIL", "fail", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newReporting(t)
			switch tt.txt {
			case "":
			case "fail":
				w.cfg.Resolver = moxdns.MockResolver{Fail: []string{"txt _smtp._tls.example.org."}}
			default:
				w.dns.TXT["_smtp._tls.example.org."] = []string{tt.txt}
			}
			w.Add(TLSResult{Domain: "example.org", Policy: sts})
			w.nextDay(t)
			w.sendAll(t)
			if done := count(w.cfg.Pool, "tls_result") == 0; done != tt.done || len(w.mails)+len(w.posts) != 0 {
				t.Errorf("done %t, want %t; %d mails, %d posts", done, tt.done, len(w.mails), len(w.posts))
			}
		})
	}
}

// TestReportsLease holds that of several nodes one sends a report.
func TestReportsLease(t *testing.T) {
	w := newReporting(t)
	w.dns.TXT["_smtp._tls.example.org."] = []string{"v=TLSRPTv1; rua=mailto:tls@example.org"}
	w.Add(TLSResult{Domain: "example.org", Policy: sts})
	w.nextDay(t)
	var wg sync.WaitGroup
	for range 4 {
		other := &Reports{cfg: w.cfg}
		wg.Go(func() {
			if _, err := other.sendOne(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(w.mails) != 1 {
		t.Errorf("%d mails, want 1", len(w.mails))
	}
}

// TestResultsBounded holds that strangers who fail in ever new ways fill neither
// memory nor the database.
func TestResultsBounded(t *testing.T) {
	w := newReporting(t)
	for i := range 3 * tlsPending {
		w.Add(TLSResult{Domain: "example.org", Policy: sts, Failure: "validation-failure", Reason: fmt.Sprint(i, strings.Repeat("x", 10_000))})
	}
	if n := len(w.results.n); n > tlsPending {
		t.Errorf("%d results in memory", n)
	}
	for i := range 5 {
		must(t, w.results.flush(t.Context()))
		w.Add(TLSResult{Domain: "example.org", Policy: TLSPolicy{Type: "sts", Domain: "example.org", Strings: []string{strings.Repeat("y", 1<<20)}}, Failure: "validation-failure", Reason: fmt.Sprint(i)})
	}
	must(t, w.results.flush(t.Context()))
	if n := count(w.cfg.Pool, "tls_result"); n > tlsDistinct {
		t.Errorf("%d rows", n)
	}
	var sum, widest int
	must(t, w.cfg.Pool.QueryRow(t.Context(), "SELECT sum(n), max(length(policy) + length(failure)) FROM tls_result").Scan(&sum, &widest))
	if sum != tlsPending+5 || widest > tlsPolicyMax+1000 {
		t.Errorf("%d counted, the widest row has %d octets", sum, widest)
	}
}

// TestResultsKept holds that a database that is down costs no result.
func TestResultsKept(t *testing.T) {
	w := newReporting(t)
	w.Add(TLSResult{Domain: "example.org", Policy: sts})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.results.flush(cancelled); err == nil {
		t.Fatal("stored with a cancelled context")
	}
	w.Add(TLSResult{Domain: "example.org", Policy: sts})
	must(t, w.results.flush(t.Context()))
	var n int
	must(t, w.cfg.Pool.QueryRow(t.Context(), "SELECT n FROM tls_result").Scan(&n))
	if n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

func TestClip(t *testing.T) {
	got := clip("a\r\nb\x00\xff" + strings.Repeat("\u00e4", 400))
	if len(got) > tlsText || !strings.HasPrefix(got, "a  b ?") {
		t.Errorf("%q", got)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

func TestSTSCache(t *testing.T) {
	k := open(t)
	c := NewSTSCache(k.pool)
	now := time.Now().Truncate(time.Second)
	put := func(id string, fetched, expires time.Duration) {
		t.Helper()
		must(t, c.Put(t.Context(), "example.org", id, "policy "+id, now.Add(fetched), now.Add(expires)))
	}
	expect := func(want string) {
		t.Helper()
		id, policy, fetched, expires, found, err := c.Get(t.Context(), "example.org")
		must(t, err)
		if found != (want != "") || id != want || found && (policy != "policy "+want || fetched.IsZero() || !expires.After(now)) {
			t.Errorf("%s %q %v %v %t, want %q", id, policy, fetched, expires, found, want)
		}
	}
	expect("")
	put("2", 0, time.Hour)
	expect("2")
	put("1", -time.Minute, time.Hour) // another node that was slower
	expect("2")
	put("3", time.Second, time.Hour)
	expect("3")
	put("4", time.Minute, -time.Second)
	expect("")
	must(t, sweepSTS(t.Context(), k.pool))
	if n := count(k.pool, "sts_policy"); n != 0 {
		t.Errorf("%d rows", n)
	}
}
