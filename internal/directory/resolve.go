package directory

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Status is what an address means here.
type Status uint8

const (
	NotLocal   Status = iota // no domain of ours
	NoSuchUser               // our domain, but nobody
	Disabled                 // only disabled accounts
	OK
	Backup // a domain that we are backup MX for: who may leave mail there, RelaysFor says
)

func (s Status) String() string {
	return [...]string{"not local", "no such user", "disabled", "ok", "backup"}[s]
}

// Target is an account that an address leads to.
type Target struct {
	Account   int64
	Address   mail.Address // of the account
	Unlimited bool         // it has no quota: nobody needs to ask whether it is full
	Detail    string       // of "user+detail", without the plus, as written; kept through aliases
}

// Resolution is where mail for an address goes: all of Accounts and Remote.
// Both are empty unless Status is OK, or Backup, where Remote is the address
// itself; neither holds anything twice. The slices
// are shared: callers don't change them.
type Resolution struct {
	Status   Status
	Accounts []Target
	Remote   []mail.Address
}

// Resolve expands rcpt through aliases, catch-all addresses, subaddresses and
// the addresses of RFC 2142. A Domain of "" is understood for "postmaster"
// alone (RFC 5321 §4.5.1). The error is a permanent *mail.Error where the
// directory itself is at fault (aliases that only lead round in a circle, more
// than 1,000 targets or 10 levels: 5.4.6), else temporary. One query for an
// account, two for an alias; none when it was asked within the last second.
func (d *Directory) Resolve(ctx context.Context, rcpt mail.Address) (Resolution, error) {
	ctx, cancel := d.asking(ctx)
	defer cancel()
	if rcpt.Domain == "" {
		if !strings.EqualFold(rcpt.Local, "postmaster") {
			return Resolution{Status: NoSuchUser}, nil
		}
		domain, err := d.defaultDomain(ctx)
		if err != nil || domain == "" {
			return Resolution{Status: NoSuchUser}, err
		}
		rcpt.Domain = domain
	}
	k := key(rcpt) // as written: the detail's case is kept
	r, generation, ok := d.resolved.get(k)
	if ok {
		return r, nil
	}
	r, err := d.expand(ctx, d.pool, rcpt)
	if err != nil {
		return Resolution{}, err
	}
	if r.Status == NotLocal {
		routes, err := d.routes(ctx)
		if err != nil {
			return Resolution{}, err
		}
		if _, ok := routes.backup[rcpt.Domain]; ok {
			return Resolution{Status: Backup, Remote: []mail.Address{rcpt}}, nil
		}
	}
	d.resolved.put(k, r, generation)
	return r, nil
}

// LocalDomain reports whether domain, in the form of mail.Address.Domain, is ours.
func (d *Directory) LocalDomain(ctx context.Context, domain string) (bool, error) {
	var ok bool
	err := d.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM domain WHERE name = $1)", clean(domain)).Scan(&ok)
	if err != nil {
		return false, fmt.Errorf("domain %s: %w", domain, err)
	}
	return ok, nil
}

// MaySendAs reports whether the account may use from as reverse-path or in
// From: its own address with any subaddress, and every address whose mail
// Resolve brings to it (aliases, catch-all, postmaster). The null reverse-path
// is everybody's (RFC 5321 §4.5.5).
func (d *Directory) MaySendAs(ctx context.Context, account int64, from mail.Address) (bool, error) {
	if from.IsZero() {
		return true, nil
	}
	r, err := d.Resolve(ctx, from)
	if mail.ClassOf(err) == mail.Permanent {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, t := range r.Accounts {
		if t.Account == account {
			return true, nil
		}
	}
	return d.mayPost(ctx, account, r.Accounts)
}

// defaultDomain is the domain of names without one; "" when there is none.
func (d *Directory) defaultDomain(ctx context.Context) (string, error) {
	rows, err := d.pool.Query(ctx, "SELECT name FROM domain ORDER BY created_at, name")
	if err != nil {
		return "", fmt.Errorf("default domain: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("default domain: %w", err)
	}
	best := ""
	host := strings.ToLower(d.opts.Hostname)
	for _, n := range names {
		if (host == n || strings.HasSuffix(host, "."+n)) && len(n) > len(best) {
			best = n
		}
	}
	if best == "" && len(names) > 0 {
		best = names[0]
	}
	return best, nil
}

// clean keeps what Postgres refuses as text out of a query: no stored name has it.
func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		return ""
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// resolveTTL bounds how long another node's change goes unseen if its notice is lost.
const resolveTTL = time.Second

// resolveCache keeps answers that lead somewhere, for a moment: a burst of mail
// to one address costs one query. What is not there is asked for every time, so
// that a new account works at once.
type resolveCache struct {
	mu         sync.Mutex
	answers    recent[string, cachedResolution]
	generation uint64 // rises with every change, so that an answer read before it is not kept
}

type cachedResolution struct {
	Resolution
	until time.Time
}

func newResolveCache() *resolveCache {
	return &resolveCache{answers: newRecent[string, cachedResolution](5_000)}
}

func (c *resolveCache) get(k string) (Resolution, uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.answers.get(k)
	return r.Resolution, c.generation, ok && time.Now().Before(r.until)
}

func (c *resolveCache) put(k string, r Resolution, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Wide aliases are rare and would weigh much.
	if r.Status == OK && c.generation == generation && len(r.Accounts)+len(r.Remote) <= 20 {
		c.answers.put(k, cachedResolution{r, time.Now().Add(resolveTTL)})
	}
}

func (c *resolveCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.answers.clear()
}
