package directory

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
)

func TestDecide(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		what            string
		counts          counts
		inBlock, inPair int
		delay, refuse   time.Duration
	}{
		{what: "first time"},
		{what: "three slips", counts: counts{pair: 3, block: 3, name: 3}},
		{what: "a fourth", counts: counts{pair: 4, block: 4, name: 4}, delay: 500 * ms},
		{what: "a fifth", counts: counts{pair: 5, block: 5, name: 5}, delay: 1000 * ms},
		{what: "many", counts: counts{pair: 15, block: 15, name: 15}, delay: maxDelay},
		{what: "many names", counts: counts{block: 8}, delay: 2000 * ms},
		{what: "banned", counts: counts{block: 20, banned: time.Minute}, refuse: time.Minute},
		{what: "owner beside a banned guesser", counts: counts{block: 20, banned: time.Minute, known: true}},
		{what: "owner while the name is guessed", counts: counts{name: 1000, known: true}},
		{what: "owner at a new place meanwhile", counts: counts{name: 1000}, delay: 3000 * ms},
		{what: "guessing where the owner is", counts: counts{pair: 100, known: true}, delay: maxDelay},
		{what: "four at once", inPair: 4, inBlock: 4, delay: 500 * ms},
		{what: "eight at once", inPair: 8, inBlock: 8, refuse: maxDelay},
		{what: "eight at once where the owner is", counts: counts{known: true}, inPair: 8, refuse: maxDelay},
	} {
		if delay, refuse := c.counts.decide(c.inBlock, c.inPair); delay != c.delay || refuse != c.refuse {
			t.Errorf("%s: delay %v, refuse %v; want %v, %v", c.what, delay, refuse, c.delay, c.refuse)
		}
	}
}

// TRUST row 12: a guesser is banned on every node and for every protocol; the
// owner gets in, from a new address, from the old one, and from the guesser's.
func TestGuesserAndOwner(t *testing.T) {
	url := pgtest.URL(t)
	one := node(t, pgtest.PoolOn(t, url), Options{})
	two := node(t, pgtest.PoolOn(t, url), Options{})
	ctx := t.Context()
	must(t, second(one.CreateDomain(ctx, "example.test")))
	must(t, second(one.CreateAccount(ctx, addr("alice@example.test"), "right")))
	must(t, second(one.Authenticate(ctx, "alice@example.test", "right", from("127.0.0.2")))) // where the guesser comes to be
	must(t, second(one.Authenticate(ctx, "alice@example.test", "right", from("127.0.0.3"))))

	guess := func(d *Directory, user string, i int, ip string) error {
		return second(d.Authenticate(ctx, user, fmt.Sprint("guess ", i), from(ip)))
	}
	var wg sync.WaitGroup
	for i := range 3 {
		for _, d := range []*Directory{one, two} {
			wg.Go(func() {
				if err := guess(d, fmt.Sprintf("user%d@example.test", i), 0, "127.0.0.2"); !errors.Is(err, ErrBadCredentials) {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	// Minutes of guessing in a moment: each failure counts as the twentieth would.
	_, err := one.pool.Exec(ctx, "UPDATE login_failure SET n = 19.5")
	must(t, err)
	start := time.Now()
	if err := guess(two, "alice@example.test", 1, "127.0.0.4"); !errors.Is(err, ErrBadCredentials) { // counts the name
		t.Error(err)
	}
	_, err = one.pool.Exec(ctx, "UPDATE login_failure SET n = 19.5, banned_until = now() + interval '5 minutes' WHERE key = $1", blockKey(one, "127.0.0.2"))
	must(t, err)
	for _, d := range []*Directory{one, two} {
		err := guess(d, "user9@example.test", 2, "127.0.0.2")
		if th, ok := errors.AsType[*Throttled](err); !ok || th.RetryAfter < 4*time.Minute {
			t.Errorf("guesser: %v", err)
		}
		for _, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.5"} {
			if _, err := d.Authenticate(ctx, "alice@example.test", "right", from(ip)); err != nil {
				t.Errorf("owner from %s: %v", ip, err)
			}
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("all of this took %v", took)
	}
}

func blockKey(d *Directory, ip string) []byte {
	k := d.throttle.hash("block", addressBlock(from(ip).Remote).String())
	return k[:]
}

// Twenty failures ban the block; what is counted is counted once per guess.
func TestFailuresCount(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	counted := func() (n float64, banned bool) {
		t.Helper()
		must(t, d.pool.QueryRow(ctx, `SELECT coalesce(max(n), 0), coalesce(bool_or(banned_until > now()), false)
			FROM login_failure WHERE key = $1`, blockKey(d, "192.0.2.1")).Scan(&n, &banned))
		return n, banned
	}
	fail := func(user, password string) {
		t.Helper()
		if _, err := d.Authenticate(ctx, user, password, from("192.0.2.1")); !errors.Is(err, ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	fail("alice", "old password")
	fail("alice", "old password")
	fail("alice", "old password")
	if n, _ := counted(); n != 1 {
		t.Errorf("one wrong password thrice counts %v", n)
	}
	fail("nobody", "x")
	if n, _ := counted(); n < 1.9 || n > 2 {
		t.Errorf("a second guess: %v", n)
	}
	mustExec(t, d, "UPDATE login_failure SET at = now() - interval '20 minutes'")
	fail("nobody", "y")
	if n, _ := counted(); n < 1.4 || n > 1.6 {
		t.Errorf("a third, two half-lives later: %v", n)
	}
	mustExec(t, d, "UPDATE login_failure SET n = 38.5, at = now() - interval '10 minutes' WHERE key = $1", blockKey(d, "192.0.2.1"))
	d.throttle.opts.Off = true // no waiting
	at := d.throttle.enter(from("192.0.2.1"), "z", "z")
	if !at.exempt {
		t.Error("the throttle is off and counts")
	}
	at.leave()
	d.throttle.opts.Off = false
	at = d.throttle.enter(from("192.0.2.1"), "z@example.test", "z")
	defer at.leave()
	must(t, at.failed(ctx))
	if n, banned := counted(); n < 20 || !banned {
		t.Errorf("a twentieth: %v, banned %v", n, banned)
	}
	if _, err := d.Authenticate(ctx, "bob", "bob's secret", from("192.0.2.1")); err == nil {
		t.Error("a banned stranger gets in")
	}
	mustExec(t, d, "UPDATE login_failure SET at = now() - interval '2 hours', banned_until = now() - interval '1 hour'")
	must(t, prune(ctx, d.pool))
	if n, _ := counted(); n != 0 {
		t.Errorf("after a while: %v", n)
	}
}

// Nothing of an attempt stays behind in memory.
func TestUnderWay(t *testing.T) {
	d := open(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			d.Authenticate(t.Context(), "alice", fmt.Sprint(i%3), from("2001:db8::"+fmt.Sprint(i)))
		})
	}
	wg.Wait()
	if n := len(d.throttle.underway) + len(d.throttle.attempts) + len(d.hasher.verified.underway); n != 0 {
		t.Errorf("%d entries left", n)
	}
	var blocks int
	must(t, d.pool.QueryRow(t.Context(), "SELECT count(*) FROM login_failure").Scan(&blocks))
	if blocks != 3 { // one /64, one name, one pair
		t.Errorf("%d rows", blocks)
	}
}

func TestLoopbackExempt(t *testing.T) {
	d := open(t)
	d.throttle.opts.ExemptLoopback = true
	for i := range 10 {
		d.Authenticate(t.Context(), "alice", fmt.Sprint(i), from("127.0.0.1"))
	}
	var n int
	must(t, d.pool.QueryRow(t.Context(), "SELECT count(*) FROM login_failure").Scan(&n))
	if n != 0 {
		t.Errorf("%d rows", n)
	}
}

func mustExec(t *testing.T, d *Directory, sql string, args ...any) {
	t.Helper()
	_, err := d.pool.Exec(t.Context(), sql, args...)
	must(t, err)
}
