package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// Verdict is what a primary said of a recipient.
type Verdict struct {
	Answer Answer
	Reply  string // its words, one line, or what went wrong
}

// Answer is the sense of a Verdict.
type Answer uint8

const (
	Away  Answer = iota // it was not reached, or would not talk to us
	Later               // it put us off about this one: greylisting, say
	Known
	Unknown
)

// Callouts are questions that cost somebody else. What is new is asked at this
// rate for a domain, on each node; a guesser who runs through a dictionary here
// is deferred, not passed on.
const (
	calloutTimeout  = 30 * time.Second
	calloutParallel = 4             // under way for a domain
	calloutRate     = rate.Limit(5) // a second
	calloutBurst    = 50
	calloutPause    = time.Minute // a primary that did not answer is left alone
)

// callouts are the questions under way, by domain and by address.
type callouts struct {
	mu       sync.Mutex
	domains  map[string]*calloutDomain
	underway map[string]*callout
}

type calloutDomain struct {
	pace    *rate.Limiter
	running int
	silent  time.Time // not asked before
	why     string
}

// callout is one question that several sessions may wait for.
type callout struct {
	done    chan struct{}
	verdict Verdict
}

func newCallouts() *callouts {
	return &callouts{domains: map[string]*calloutDomain{}, underway: map[string]*callout{}}
}

// backupRecipient decides on a recipient of a domain with a list or callouts.
func (d *Directory) backupRecipient(ctx context.Context, b BackupDomain, rcpt mail.Address) error {
	k := clean(key(fold(rcpt)))
	asking, cancel := d.asking(ctx)
	defer cancel()
	var listed bool
	var known *bool
	var age time.Duration
	err := d.pool.QueryRow(asking, `SELECT EXISTS (SELECT FROM backup_recipient WHERE address = $1), c.known, coalesce(now() - c.checked_at, '0')
		FROM (SELECT) one LEFT JOIN backup_callout c ON c.address = $1`, k).Scan(&listed, &known, &age)
	if err != nil {
		return fmt.Errorf("recipient %s: %w", rcpt, err)
	}
	nobody := mail.Refuse(550, mail.Enhanced{5, 1, 1}, "No such user at "+b.Name)
	switch {
	case listed:
		return nil
	case b.Recipients == Listed:
		return nobody
	case known != nil && *known && age < b.KnownFor:
		events.Callouts.WithLabelValues("remembered").Inc()
		return nil
	case known != nil && !*known && age < b.UnknownFor:
		events.Callouts.WithLabelValues("remembered").Inc()
		return nobody
	}
	v := d.callouts.ask(ctx, d, b, rcpt)
	switch {
	case v.Answer == Known:
		return nil
	case v.Answer == Unknown:
		return nobody
	case known != nil && *known && age < staleFor, b.AcceptDown && v.Answer == Away:
		return nil
	}
	return mail.Defer(451, mail.Enhanced{4, 4, 1}, "The primary server of "+b.Name+" cannot be asked about this recipient now, try again later",
		errors.New(v.Reply))
}

// ask puts the question, or joins those who wait for its answer. The question
// outlives the client who made it: the answer is kept.
func (c *callouts) ask(ctx context.Context, d *Directory, b BackupDomain, rcpt mail.Address) Verdict {
	k := key(fold(rcpt))
	c.mu.Lock()
	q, ok := c.underway[k]
	if !ok {
		if v, no := c.refuses(b.Name); no {
			c.mu.Unlock()
			events.Callouts.WithLabelValues("spared").Inc()
			return v
		}
		q = &callout{done: make(chan struct{})}
		c.underway[k] = q
		c.domains[b.Name].running++
		d.done.Go(func() { d.callOut(q, b, rcpt, k) })
	}
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.verdict
	case <-ctx.Done():
		return Verdict{Later, ctx.Err().Error()}
	}
}

// refuses says why a domain's primary is not asked now.
func (c *callouts) refuses(domain string) (Verdict, bool) {
	dom := c.domains[domain]
	if dom == nil {
		dom = &calloutDomain{pace: rate.NewLimiter(calloutRate, calloutBurst)}
		c.domains[domain] = dom
	}
	switch {
	case time.Now().Before(dom.silent):
		return Verdict{Reply: dom.why}, true
	case dom.running >= calloutParallel, !dom.pace.Allow():
		return Verdict{Later, "too many new recipients are being asked about"}, true
	}
	return Verdict{}, false
}

// callOut asks the primary and keeps its answer.
func (d *Directory) callOut(q *callout, b BackupDomain, rcpt mail.Address, k string) {
	ctx, cancel := context.WithTimeout(d.life, calloutTimeout)
	defer cancel()
	q.verdict = Verdict{Reply: "this server makes no callouts"}
	if h := d.hooks.Load(); h != nil && h.Verify != nil {
		q.verdict = h.Verify(ctx, b.Name, mail.Address{}, rcpt)
	}
	result := [...]string{"away", "later", "known", "unknown"}[q.verdict.Answer]
	events.Callouts.WithLabelValues(result).Inc()
	d.log.Debug("callout", "event", "backup.callout", "domain", b.Name, "result", result, "reply", q.verdict.Reply)
	if q.verdict.Answer >= Known {
		if err := keepVerdict(ctx, d.pool, b.Name, k, q.verdict); err != nil {
			d.log.Warn("a callout's answer is forgotten", "event", "backup.callout", "domain", b.Name, "err", err)
		}
	}
	c := d.callouts
	c.mu.Lock()
	delete(c.underway, k)
	dom := c.domains[b.Name]
	dom.running--
	if q.verdict.Answer == Away {
		dom.silent, dom.why = time.Now().Add(calloutPause), q.verdict.Reply
	}
	c.mu.Unlock()
	close(q.done)
}

func keepVerdict(ctx context.Context, q querier, domain, k string, v Verdict) error {
	_, err := q.Exec(ctx, `INSERT INTO backup_callout (address, domain, known, reply) SELECT $1, name, $3, left($4, 1000) FROM backup_domain WHERE name = $2
		ON CONFLICT (address) DO UPDATE SET (known, reply, checked_at) = (excluded.known, excluded.reply, now())`,
		k, domain, v.Answer == Known, clean(v.Reply))
	return err
}

// pruneCallouts drops answers that count for nothing any more.
func pruneCallouts(ctx context.Context, q querier) error {
	_, err := q.Exec(ctx, `DELETE FROM backup_callout c USING backup_domain b WHERE b.name = c.domain
		AND c.checked_at < now() - CASE WHEN c.known THEN $1::interval ELSE b.unknown_for END`, staleFor)
	if err != nil {
		return fmt.Errorf("prune callouts: %w", err)
	}
	return nil
}

// CachedRecipient is what is remembered of a callout.
type CachedRecipient struct {
	Address mail.Address
	Known   bool
	Reply   string
	Checked time.Time
}

// Asked lists what callouts to a backup domain's primary are remembered, by
// address, at most limit.
func (d *Directory) Asked(ctx context.Context, domain string, limit int) ([]CachedRecipient, error) {
	rows, err := d.pool.Query(ctx, "SELECT address, known, reply, checked_at FROM backup_callout WHERE domain = $1 ORDER BY address LIMIT $2", domainKey(domain), limit)
	if err != nil {
		return nil, fmt.Errorf("callouts to %s: %w", domain, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (CachedRecipient, error) {
		var c CachedRecipient
		var address string
		err := row.Scan(&address, &c.Known, &c.Reply, &c.Checked)
		c.Address = fromKey(address)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("callouts to %s: %w", domain, err)
	}
	return list, nil
}

// ForgetCallouts drops what is remembered of a domain's recipients, or of one
// address. It reports how many.
func (d *Directory) ForgetCallouts(ctx context.Context, domain string, only mail.Address) (int64, error) {
	var n int64
	err := d.change(ctx, "forget callouts to "+domain, func(tx pgx.Tx) ([]int64, error) {
		tag, err := tx.Exec(ctx, "DELETE FROM backup_callout WHERE domain = $1 AND ($2 = '@' OR address = $2)", domainKey(domain), clean(key(fold(only))))
		n = tag.RowsAffected()
		return nil, err
	})
	return n, err
}
