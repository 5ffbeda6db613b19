package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How long a process works with what it has read. A rotation that happens by
// the clock is not late: entries end with the keys' turn. What a command does on
// another node is seen after rememberKeys.
const (
	rememberKeys = 30 * time.Second
	rememberNone = 2 * time.Second // a domain that is not ours may become so
	cachedMost   = 10_000          // domains; about 4 KB each
	loadPatience = 15 * time.Second
)

// signers are the keys that sign for a domain. ready is closed once the rest
// may be read.
type signers struct {
	ready chan struct{}
	keys  []signer
	until time.Time
	err   error
}

type signer struct {
	selector, algorithm string
	sealed              []byte // as it was opened, to know it again
	private             crypto.Signer
}

// signersOf gives the keys that sign for a domain now; none when the domain is
// not ours. One goroutine asks the database, others wait for it.
func (k *Keys) signersOf(ctx context.Context, domain string) ([]signer, error) {
	k.mu.Lock()
	s, found := k.cached[domain]
	if !found || s.over(time.Now()) {
		fresh := &signers{ready: make(chan struct{})}
		if len(k.cached) >= cachedMost {
			clear(k.cached)
		}
		k.cached[domain] = fresh
		k.mu.Unlock()
		k.load(ctx, domain, fresh, s)
		return fresh.keys, fresh.err
	}
	k.mu.Unlock()
	select {
	case <-s.ready:
		return s.keys, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// over reports whether an entry must be read again; one that is being read
// is not.
func (s *signers) over(now time.Time) bool {
	select {
	case <-s.ready:
		return s.err != nil || now.After(s.until)
	default:
		return false
	}
}

func (k *Keys) forget(domain string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.cached, domain)
}

// load fills an entry; old is the one before it, whose opened keys serve again.
func (k *Keys) load(ctx context.Context, domain string, s, old *signers) {
	defer close(s.ready)
	// Others wait for this answer: it must not die with the session that asked.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadPatience)
	defer cancel()
	asked := time.Now()
	lasts, err := k.read(ctx, domain, s, old)
	if err == nil && len(s.keys) == 0 {
		lasts = rememberNone
		if ours, err2 := k.isOurs(ctx, domain); err2 != nil {
			err = err2
		} else if ours {
			if _, err = k.ensure(ctx, domain); err == nil {
				lasts, err = k.read(ctx, domain, s, old)
			}
		}
	}
	s.until, s.err = asked.Add(lasts), err
}

func (k *Keys) isOurs(ctx context.Context, domain string) (bool, error) {
	var ours bool
	if err := k.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM domain WHERE name = $1)", domain).Scan(&ours); err != nil {
		return false, fmt.Errorf("domain %s: %w", domain, err)
	}
	return ours, nil
}

// read gets the keys that sign now, and says how long that is true.
func (k *Keys) read(ctx context.Context, domain string, s, old *signers) (time.Duration, error) {
	lasts := rememberKeys
	rows, err := k.pool.Query(ctx, `SELECT selector, algorithm, sealed, extract(epoch FROM stops_at - now())::float8
		FROM (`+keyStates+`) k WHERE state = 'signing' ORDER BY algorithm DESC`, domain)
	if err != nil {
		return 0, fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	var key signer
	var stops *float64
	s.keys = nil
	if _, err := pgx.ForEachRow(rows, []any{&key.selector, &key.algorithm, &key.sealed, &stops}, func() error {
		if stops != nil {
			lasts = min(lasts, time.Duration(*stops*float64(time.Second)))
		}
		opened, err := k.open(domain, key, old)
		s.keys = append(s.keys, opened)
		key = signer{}
		return err
	}); err != nil {
		s.keys = nil
		return 0, fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	return lasts, nil
}

// open parses a key, unless that was done before.
func (k *Keys) open(domain string, key signer, old *signers) (signer, error) {
	if old != nil { // its entry was over, so that it may be read
		for _, o := range old.keys {
			if o.selector == key.selector && bytes.Equal(o.sealed, key.sealed) {
				return o, nil
			}
		}
	}
	if k.box == nil {
		return key, ErrNoSecret
	}
	der, err := k.box.Open(key.sealed, domain, key.selector, key.algorithm)
	if err != nil {
		return key, fmt.Errorf("open %s: %w", key.selector, err)
	}
	key.private, err = parsePrivate(der)
	if err != nil {
		return key, fmt.Errorf("open %s: %w", key.selector, err)
	}
	return key, nil
}
