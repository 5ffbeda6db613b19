package mailauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/events"
)

// TLSResult is how one attempt to open a session with a host of a domain went.
type TLSResult struct {
	Domain string // of the recipients: its _smtp._tls record says who hears of it
	Policy TLSPolicy
	// Failure is a result type of RFC 8460 §4.3, "certificate-expired"; empty
	// says that TLS came about as the policy wants it.
	Failure string
	Reason  string // failure-reason-code: anything that helps, one line
	MX      string // host that was tried; empty: it failed before
	Helo    string // name in its greeting
	Remote  netip.Addr
	Local   netip.Addr
	Waived  bool // the mail said TLS-Required: No: it is not counted
}

// TLSPolicy is the policy that an attempt was made under (RFC 8460 §4.2).
type TLSPolicy struct {
	Type    string   `json:"policy-type"` // "sts", "tlsa", "no-policy-found"
	Strings []string `json:"policy-string,omitempty"`
	Domain  string   `json:"policy-domain"` // recipient domain for sts, TLSA base domain for tlsa
	MX      []string `json:"mx-host,omitempty"`
}

// tlsFailure is a failure as a report shows it.
type tlsFailure struct {
	Type   string `json:"result-type"`
	Local  string `json:"sending-mta-ip,omitempty"`
	MX     string `json:"receiving-mx-hostname,omitempty"`
	Helo   string `json:"receiving-mx-helo,omitempty"`
	Remote string `json:"receiving-ip,omitempty"`
	Count  int64  `json:"failed-session-count,omitempty"` // not in the database, where it is a column
	Reason string `json:"failure-reason-code,omitempty"`
}

// Bounds of what is kept of results: what others say and how often must not
// fill the database.
const (
	tlsPending   = 10_000 // distinct results in memory
	tlsDistinct  = 200    // failures told apart for a domain and day; further ones keep their type only
	tlsText      = 300    // octets of a reason or name
	tlsPolicyMax = 4096   // octets of a policy; a longer one keeps its type and domain
)

// tlsKey are equal results of one day.
type tlsKey struct{ day, domain, policy, failure string }

func (k tlsKey) compare(l tlsKey) int {
	return cmp.Or(cmp.Compare(k.day, l.day), cmp.Compare(k.domain, l.domain), cmp.Compare(k.policy, l.policy), cmp.Compare(k.failure, l.failure))
}

// tlsResults collects results in memory and writes them in batches. What was
// not written when a process dies is lost: these are statistics.
type tlsResults struct {
	pool *pgxpool.Pool
	mu   sync.Mutex
	n    map[tlsKey]int64
}

// add counts a result. It never waits.
func (c *tlsResults) add(r TLSResult) {
	if r.Waived || r.Domain == "" || strings.HasPrefix(r.Domain, "[") {
		return
	}
	k := tlsKey{day: time.Now().UTC().Format(time.DateOnly), domain: r.Domain, policy: r.Policy.text()}
	if r.Failure != "" {
		k.failure = tlsFailure{Type: clip(r.Failure), Local: ipText(r.Local), MX: clip(r.MX), Helo: clip(r.Helo), Remote: ipText(r.Remote), Reason: clip(r.Reason)}.text()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.n[k]; !known && len(c.n) >= tlsPending {
		events.TLSResultsDropped.Inc()
		return
	}
	c.n[k]++
}

func (p TLSPolicy) text() string {
	text, err := json.Marshal(p)
	if err != nil || len(text) > tlsPolicyMax {
		text, _ = json.Marshal(TLSPolicy{Type: p.Type, Domain: p.Domain}) // strings cannot fail
	}
	return string(text)
}

func (f tlsFailure) text() string {
	text, _ := json.Marshal(f) // strings and a number cannot fail
	return string(text)
}

func ipText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

// clip makes one printable line of bounded length.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	for len(s) > tlsText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// flush writes what has come in. On an error it is kept for the next time.
func (c *tlsResults) flush(ctx context.Context) error {
	c.mu.Lock()
	taken := c.n
	c.n = make(map[tlsKey]int64)
	c.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	err := c.store(ctx, taken)
	if err != nil {
		c.mu.Lock()
		for k, n := range taken {
			if _, known := c.n[k]; known || len(c.n) < tlsPending {
				c.n[k] += n
			}
		}
		c.mu.Unlock()
	}
	return err
}

func (c *tlsResults) store(ctx context.Context, counts map[tlsKey]int64) error {
	crowded, err := c.crowded(ctx, counts)
	if err != nil {
		return err
	}
	folded := make(map[tlsKey]int64, len(counts))
	for k, n := range counts {
		if k.failure != "" && crowded[[2]string{k.day, k.domain}] {
			k.failure = typeOnly(k.failure)
		}
		folded[k] += n
	}
	keys := make([]tlsKey, 0, len(folded))
	for k := range folded {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, tlsKey.compare) // one order on every node: no deadlock
	var days, domains, policies, failures []string
	var sums [][]byte
	var ns []int64
	for _, k := range keys {
		sum := sha256.Sum256([]byte(k.policy + "\x00" + k.failure))
		days, domains, policies, failures = append(days, k.day), append(domains, k.domain), append(policies, k.policy), append(failures, k.failure)
		sums, ns = append(sums, sum[:16]), append(ns, folded[k])
	}
	_, err = c.pool.Exec(ctx, `INSERT INTO tls_result AS t (day, domain, key, policy, failure, n)
		SELECT * FROM unnest($1::text[]::date[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[])
		ON CONFLICT (day, domain, key) DO UPDATE SET n = t.n + excluded.n`, days, domains, sums, policies, failures, ns)
	if err != nil {
		return fmt.Errorf("store results of TLS: %w", err)
	}
	return nil
}

// crowded are the days and domains with so many failures told apart that
// further ones keep only their type. What comes in one batch counts too.
func (c *tlsResults) crowded(ctx context.Context, counts map[tlsKey]int64) (map[[2]string]bool, error) {
	known := make(map[[2]string]int)
	for k := range counts {
		if k.failure != "" {
			known[[2]string{k.day, k.domain}]++
		}
	}
	var days, domains []string
	for k := range known {
		days, domains = append(days, k[0]), append(domains, k[1])
	}
	rows, err := c.pool.Query(ctx, `SELECT q.day::text, q.domain, (SELECT count(*) FROM (SELECT FROM tls_result t WHERE t.day = q.day AND t.domain = q.domain LIMIT 1000) s)
		FROM unnest($1::text[]::date[], $2::text[]) AS q(day, domain)`, days, domains)
	if err != nil {
		return nil, fmt.Errorf("count results of TLS: %w", err)
	}
	defer rows.Close()
	crowded := make(map[[2]string]bool)
	for rows.Next() {
		var k [2]string
		var n int
		if err := rows.Scan(&k[0], &k[1], &n); err != nil {
			return nil, fmt.Errorf("count results of TLS: %w", err)
		}
		crowded[k] = n+known[k] > tlsDistinct
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count results of TLS: %w", err)
	}
	return crowded, nil
}

// typeOnly leaves of a failure what many have in common.
func typeOnly(failure string) string {
	var f tlsFailure
	if err := json.Unmarshal([]byte(failure), &f); err != nil {
		return failure // we wrote it: it cannot be
	}
	return tlsFailure{Type: f.Type}.text()
}
