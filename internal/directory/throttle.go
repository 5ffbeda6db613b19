package directory

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The throttle slows the guesser and not the owner. Failures are counted in
// Postgres, for all protocols and nodes, against the client's address block,
// the user's name, and the two together; each count halves every ten minutes.
//
//   - The pair: after 3 failures each attempt waits, from 0.5 s doubling to 5 s.
//   - The block, whatever the names: after 5 it waits likewise; with 20 it is
//     banned for 15 minutes.
//   - The name, from wherever: after 10 it waits 1 s, after 50 3 s. It is never
//     refused, or a guesser could lock the owner out.
//
// A block from which the owner logged in during the last 90 days only answers
// for its own pair, and is never refused: neither a botnet guessing the name
// nor another guesser behind the same address stands in its way. Repeating one
// and the same wrong password is no new guess: a phone with an old password
// does not lock out its household. Attempts under way count as failures, so
// that guessing in parallel gains nothing.
const (
	halfLife    = 10 * time.Minute
	banAt       = 20.0
	banFor      = 15 * time.Minute
	maxDelay    = 5 * time.Second
	maxParallel = 8 // attempts under way for a pair
	knownFor    = 90 * 24 * time.Hour
	maxKnown    = 100 // blocks remembered of an account
	pruneEvery  = 5 * time.Minute
)

type throttleKey [16]byte

type throttle struct {
	pool     *pgxpool.Pool
	key      []byte
	opts     ThrottleOptions
	mu       sync.Mutex
	underway map[throttleKey]int              // distinct attempts by block and by pair
	attempts map[throttleKey]int              // references to each of them
	last     recent[throttleKey, throttleKey] // by pair: the last wrong password
	noted    recent[throttleKey, time.Time]   // by pair: when it was last written as known
}

func newThrottle(pool *pgxpool.Pool, key []byte, opts ThrottleOptions) *throttle {
	return &throttle{
		pool: pool, key: subkey(key, "throttle"), opts: opts,
		underway: make(map[throttleKey]int), attempts: make(map[throttleKey]int),
		last: newRecent[throttleKey, throttleKey](10_000), noted: newRecent[throttleKey, time.Time](10_000),
	}
}

// attempt is one guess under way. nil is one that the throttle does not concern.
type attempt struct {
	t                       *throttle
	block, name, pair, self throttleKey
	counts                  counts
	waited                  time.Duration
	exempt                  bool // counted nowhere
}

// counts are what the database knows.
type counts struct {
	block, name, pair float64
	banned            time.Duration // left of the block's ban
	known             bool
}

// enter begins an attempt; guess tells apart what is tried. leave must be called.
func (t *throttle) enter(c Client, name, guess string) *attempt {
	a := &attempt{t: t}
	if t.opts.Off || t.opts.ExemptLoopback && c.Remote.Unmap().IsLoopback() {
		a.exempt = true
		return a
	}
	block := addressBlock(c.Remote).String()
	a.block = t.hash("block", block)
	a.name = t.hash("name", name)
	a.pair = t.hash("pair", block, name)
	a.self = t.hash("guess", block, name, guess)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.attempts[a.self]++; t.attempts[a.self] == 1 {
		t.underway[a.block]++
		t.underway[a.pair]++
	}
	return a
}

func (a *attempt) leave() {
	if a.exempt {
		return
	}
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if less(t.attempts, a.self) {
		less(t.underway, a.block)
		less(t.underway, a.pair)
	}
}

func less(m map[throttleKey]int, k throttleKey) (gone bool) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
		return true
	}
	return false
}

func (t *throttle) hash(parts ...string) throttleKey { return throttleKey(mac(t.key, parts...)[:16]) }

// addressBlock is what counts as one client: an IPv6 client owns a /64.
func addressBlock(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero address gives the zero prefix
	return p
}

// queue asks for the counts along with the login's own query.
func (a *attempt) queue(b *pgx.Batch) {
	if a.exempt {
		return
	}
	a.counts = counts{}
	b.Queue(`SELECT key, n * power(0.5::float8, extract(epoch FROM now() - at)::float8 / $2::float8), coalesce(extract(epoch FROM banned_until - now()), 0)::float8
		FROM login_failure WHERE key = ANY($1)`, [][]byte{a.block[:], a.name[:], a.pair[:]}, halfLife.Seconds()).Query(a.scanCounts)
	b.Queue("SELECT EXISTS (SELECT FROM login_known WHERE pair = $1 AND at > now() - make_interval(secs => $2))",
		a.pair[:], knownFor.Seconds()).QueryRow(func(row pgx.Row) error { return row.Scan(&a.counts.known) })
}

func (a *attempt) scanCounts(rows pgx.Rows) error {
	var k []byte
	var n, banned float64
	_, err := pgx.ForEachRow(rows, []any{&k, &n, &banned}, func() error {
		switch throttleKey(k) {
		case a.block:
			a.counts.block = n
			a.counts.banned = time.Duration(max(banned, 0) * float64(time.Second))
		case a.name:
			a.counts.name = n
		case a.pair:
			a.counts.pair = n
		}
		return nil
	})
	return err
}

// pace waits as the counts demand and reports whether they must be asked for
// again, because time went by. The error is a *Throttled or the context's.
func (a *attempt) pace(ctx context.Context) (again bool, err error) {
	if a.exempt {
		return false, nil
	}
	a.t.mu.Lock()
	inBlock, inPair := a.t.underway[a.block]-1, a.t.underway[a.pair]-1
	a.t.mu.Unlock()
	delay, refuse := a.counts.decide(inBlock, inPair)
	if refuse > 0 {
		return false, &Throttled{RetryAfter: refuse}
	}
	if delay -= a.waited; delay <= 0 {
		return false, nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		a.waited += delay
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// decide is the policy: how long an attempt waits, or for how long it is refused.
func (c counts) decide(inBlock, inPair int) (delay, refuse time.Duration) {
	if inPair >= maxParallel {
		return 0, maxDelay
	}
	delay = backoff(c.pair+float64(inPair), 3)
	if c.known {
		return delay, 0
	}
	if c.banned > 0 {
		return 0, c.banned
	}
	delay = max(delay, backoff(c.block+float64(inBlock), 5))
	switch {
	case c.name >= 50:
		delay = max(delay, 3*time.Second)
	case c.name >= 10:
		delay = max(delay, time.Second)
	}
	return delay, 0
}

// backoff is nothing up to free failures, then half a second, doubling.
func backoff(n, free float64) time.Duration {
	if n <= free {
		return 0
	}
	return time.Duration(min(0.5*math.Pow(2, math.Floor(n-free-0.001)), maxDelay.Seconds()) * float64(time.Second))
}

// failed counts a wrong guess before it is answered.
func (a *attempt) failed(ctx context.Context) error {
	if a.exempt || a.repeated() {
		return nil
	}
	// Keys in one order for all writers, so that no two wait for each other.
	_, err := a.t.pool.Exec(ctx, `INSERT INTO login_failure AS f (key, n, at)
			SELECT k, 1, now() FROM unnest($1::bytea[]) k ORDER BY k
		ON CONFLICT (key) DO UPDATE SET at = now(),
			n = 1 + f.n * power(0.5::float8, extract(epoch FROM now() - f.at)::float8 / $2::float8),
			banned_until = CASE WHEN f.key = $3 AND 1 + f.n * power(0.5::float8, extract(epoch FROM now() - f.at)::float8 / $2::float8) >= $4::float8
				THEN now() + make_interval(secs => $5) ELSE f.banned_until END`,
		[][]byte{a.block[:], a.name[:], a.pair[:]}, halfLife.Seconds(), a.block[:], banAt, banFor.Seconds())
	if err != nil {
		return fmt.Errorf("count failed login: %w", err)
	}
	return nil
}

// repeated reports whether the same guess failed last time, and remembers it.
func (a *attempt) repeated() bool {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	last, ok := a.t.last.get(a.pair)
	a.t.last.put(a.pair, a.self)
	return ok && last == a.self
}

// succeeded remembers where the owner is, at most once a day, and forgets what
// was counted against the pair.
func (a *attempt) succeeded(ctx context.Context, account int64) error {
	if a.exempt {
		return nil
	}
	if a.counts.pair > 0 {
		if _, err := a.t.pool.Exec(ctx, "DELETE FROM login_failure WHERE key = $1", a.pair[:]); err != nil {
			return fmt.Errorf("forget failed logins: %w", err)
		}
	}
	if a.counts.known && !a.due() {
		return nil
	}
	_, err := a.t.pool.Exec(ctx, `WITH gone AS (DELETE FROM login_known WHERE pair IN (
			SELECT pair FROM login_known WHERE account_id = $2 ORDER BY at DESC OFFSET $3))
		INSERT INTO login_known (pair, account_id, at) VALUES ($1, $2, now())
		ON CONFLICT (pair) DO UPDATE SET account_id = excluded.account_id, at = now()`, a.pair[:], account, maxKnown)
	if err != nil {
		return fmt.Errorf("remember login: %w", err)
	}
	return nil
}

func (a *attempt) due() bool {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if at, ok := a.t.noted.get(a.pair); ok && time.Since(at) < 24*time.Hour {
		return false
	}
	a.t.noted.put(a.pair, time.Now())
	return true
}

// prune drops what has decayed to nothing, so that the tables stay as small as the last hours' failures.
func prune(ctx context.Context, q querier) error {
	_, err := q.Exec(ctx, "DELETE FROM login_failure WHERE at < now() - make_interval(secs => $1) AND coalesce(banned_until < now(), true)",
		(6 * halfLife).Seconds())
	if err == nil {
		_, err = q.Exec(ctx, "DELETE FROM login_known WHERE at < now() - make_interval(secs => $1)", knownFor.Seconds())
	}
	if err != nil {
		return fmt.Errorf("prune login counts: %w", err)
	}
	return nil
}
