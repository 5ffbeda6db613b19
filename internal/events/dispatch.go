package events

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var hookRequests = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "posthouse_hook_requests_total", Help: "Requests to webhooks, by what came of them: ok, failed, given_up."}, []string{"result"})

const (
	claimSize   = 32              // events that a node takes for a hook at once
	hookPosts   = 8               // requests to one hook at once, from one node
	maxLanes    = 256             // hooks that a node serves at once
	blockAfter  = 3               // rounds in a row without success
	blockMost   = 5 * time.Minute // between two of them then
	recordWait  = 5 * time.Second
	keepGivenUp = 7 * 24 * time.Hour
	hookSweep   = time.Hour
)

// Dispatcher delivers what hooks are owed. Every hook that something is due for
// has a lane of its own, so that a slow one delays no other; a lane takes what
// is due under a lease, and what a dead node has taken comes back when its lease
// is over. A hook that takes nothing is left alone for growing times, then asked
// with one event.
type Dispatcher struct {
	h    *Hooks
	stop context.CancelFunc
	done sync.WaitGroup

	mu         sync.Mutex
	lanes      map[int64]bool      // hooks with a lane
	complained map[int64]time.Time // when the log last said that one can not be served
}

// Start delivers until Close.
func (h *Hooks) Start() *Dispatcher {
	ctx, stop := context.WithCancel(context.Background())
	d := &Dispatcher{h: h, stop: stop, lanes: make(map[int64]bool), complained: make(map[int64]time.Time)}
	d.done.Go(func() { d.run(ctx) })
	return d
}

// Close breaks off the requests under way, gives their events back, and waits.
// A hook may hear of such an event again, under the same id.
func (d *Dispatcher) Close() {
	d.stop()
	d.done.Wait()
	d.h.post.close()
}

func (d *Dispatcher) run(ctx context.Context) {
	failing := false
	var swept time.Time
	for {
		due, err := d.h.due(ctx)
		if err == nil && time.Since(swept) > hookSweep {
			swept = time.Now()
			err = d.h.sweep(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			d.h.log.WarnContext(ctx, "webhooks wait for the database", "event", "hooks.due", "error", err)
		}
		failing = err != nil
		for i := range due {
			d.lane(ctx, &due[i])
		}
		if !pause(ctx, d.h.opts.Poll, false) {
			return
		}
	}
}

// due are the hooks that something is due for.
func (h *Hooks) due(ctx context.Context) ([]Hook, error) {
	rows, err := h.pool.Query(ctx, `SELECT `+hookFields+` FROM hook h LEFT JOIN account a ON a.id = h.account_id
		WHERE h.disabled_at IS NULL AND (h.blocked_until IS NULL OR h.blocked_until <= now())
		AND EXISTS (SELECT FROM hook_delivery d WHERE d.hook_id = h.id AND d.given_up_at IS NULL AND d.next_at <= now())`)
	if err != nil {
		return nil, fmt.Errorf("ask for due hooks: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Hook, error) { return scanHook(row) })
}

// sweep removes what hooks are owed no more.
func (h *Hooks) sweep(ctx context.Context) error {
	_, err := h.pool.Exec(ctx, `DELETE FROM hook_delivery d WHERE given_up_at < now() - $1::interval
		OR NOT EXISTS (SELECT FROM hook h WHERE h.id = d.hook_id)
		OR created_at < now() - $2::interval AND EXISTS (SELECT FROM hook h WHERE h.id = d.hook_id AND h.disabled_at IS NOT NULL)`, keepGivenUp, h.opts.GiveUp)
	if err != nil {
		return fmt.Errorf("sweep the webhooks: %w", err)
	}
	return nil
}

// lane serves a hook for as long as something is due, unless it is being served.
func (d *Dispatcher) lane(ctx context.Context, hook *Hook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lanes[hook.ID] || len(d.lanes) >= maxLanes {
		return
	}
	d.lanes[hook.ID] = true
	d.done.Go(func() {
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.lanes, hook.ID)
		}()
		for {
			more, err := d.h.round(ctx, hook)
			if err != nil && ctx.Err() == nil {
				d.complain(ctx, hook.ID, err)
			}
			if err != nil || !more || ctx.Err() != nil {
				return
			}
		}
	})
}

// complain logs an error of a lane, once a minute for each hook.
func (d *Dispatcher) complain(ctx context.Context, hook int64, err error) {
	d.mu.Lock()
	last := d.complained[hook]
	now := time.Now()
	if now.Sub(last) >= time.Minute {
		d.complained[hook] = now
	}
	d.mu.Unlock()
	if now.Sub(last) >= time.Minute {
		d.h.log.WarnContext(ctx, "a webhook could not be served", "event", "hooks.round", "hook", hook, "error", err)
	}
}

// owed is an event that a hook is to be told of.
type owed struct {
	event    Event
	found    bool // it is still kept
	attempts int  // with this one
	result   attempt
}

// round takes some of what a hook is owed, sends it, and records the outcome.
// more says that another round should follow at once.
func (h *Hooks) round(ctx context.Context, hook *Hook) (more bool, err error) {
	secret, err := h.secret(hook)
	if err != nil {
		return false, err // another node may have the right key
	}
	size := claimSize
	if hook.failures >= blockAfter {
		size = 1 // a probe
	}
	lease := rand.Int64()
	list, err := h.claim(ctx, hook.ID, lease, size)
	if err != nil || len(list) == 0 {
		return false, err
	}
	h.send(ctx, hook, secret, list)
	// What was sent is recorded also when the node is being stopped.
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWait)
	defer cancel()
	if err := h.record(record, hook, lease, list, ctx.Err() != nil); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, nil
	}
	return h.judge(record, hook, list)
}

// claim takes what is due for a hook, oldest first, with its events.
func (h *Hooks) claim(ctx context.Context, hook, lease int64, size int) ([]owed, error) {
	rows, err := h.pool.Query(ctx, `WITH due AS (
		 SELECT hook_id, event_id FROM hook_delivery WHERE hook_id = $1 AND given_up_at IS NULL AND next_at <= now()
		  AND EXISTS (SELECT FROM hook WHERE id = $1 AND disabled_at IS NULL)
		 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED),
		taken AS (UPDATE hook_delivery d SET lease = $3, next_at = now() + $4::interval, attempts = d.attempts + 1, tried_at = now()
		 FROM due WHERE d.hook_id = due.hook_id AND d.event_id = due.event_id
		 RETURNING d.event_id, d.event_at, d.message, d.attempts)
		SELECT t.event_id, t.attempts, t.event_at, t.message, e.id IS NOT NULL, coalesce(e.kind, ''), coalesce(nullif(e.header_id, ''), r.header_id, ''),
		 coalesce(nullif(e.sender, ''), r.sender, ''), coalesce(e.recipient, ''), coalesce(nullif(e.subject, ''), r.subject, ''), coalesce(e.remote, ''),
		 coalesce(e.code, 0), coalesce(e.enhanced, ''), coalesce(e.text, ''), coalesce(e.tls, ''), coalesce(e.size, 0)
		FROM taken t LEFT JOIN event e ON e.message = t.message AND e.id = t.event_id AND e.at = t.event_at
		LEFT JOIN LATERAL (SELECT header_id, sender, subject FROM event r WHERE r.message = t.message AND t.message <> '' AND r.kind = 'received' ORDER BY id LIMIT 1) r ON true
		ORDER BY t.event_id`, hook, size, lease, h.opts.Lease)
	if err != nil {
		return nil, fmt.Errorf("claim events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o owed, err error) {
		e := &o.event
		err = row.Scan(&e.ID, &o.attempts, &e.At, &e.Message, &o.found, &e.Kind, &e.HeaderID, &e.From, &e.Recipient, &e.Subject,
			&e.Remote, &e.Code, &e.Enhanced, &e.Text, &e.TLS, &e.Size)
		e.At = e.At.UTC()
		return o, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim events: %w", err)
	}
	return list, nil
}

// send makes the requests, some at a time.
func (h *Hooks) send(ctx context.Context, hook *Hook, secret string, list []owed) {
	slots := make(chan struct{}, hookPosts)
	var wg sync.WaitGroup
	for i := range list {
		o := &list[i]
		if !o.found {
			o.result.err = "the event is not kept any more"
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			o.result = h.post.post(ctx, hook, secret, newPayload(&o.event), o.attempts)
		})
	}
	wg.Wait()
}

// backoff is the pause after the nth attempt, with up to a tenth of it more.
func (h *Hooks) backoff(n int) time.Duration {
	d := h.opts.Retry[min(max(n, 1), len(h.opts.Retry))-1]
	return d + rand.N(d/10+1)
}

// sqlRecord takes the hook, the lease, the events that were taken, those that
// were not with the pause before the next attempt and the reason, whether to
// give up at once, whether these attempts count, and when to give up. Times are
// the database's: the nodes' clocks may differ.
const sqlRecord = `WITH done AS (DELETE FROM hook_delivery WHERE hook_id = $1 AND event_id = ANY($3) AND lease = $2)
 UPDATE hook_delivery d SET lease = NULL, next_at = now() + f.wait, code = f.code, error = f.error, attempts = d.attempts - CASE WHEN $9 THEN 0 ELSE 1 END,
  given_up_at = CASE WHEN f.over OR $9 AND now() + f.wait > d.created_at + $10::interval THEN now() END
 FROM unnest($4::bigint[], $5::interval[], $6::int[], $7::text[], $8::boolean[]) f(event_id, wait, code, error, over)
 WHERE d.hook_id = $1 AND d.event_id = f.event_id AND d.lease = $2 RETURNING d.given_up_at IS NOT NULL`

// record writes what came of the attempts, unless another node has taken them
// over since. With stopping, those that failed are given back as if they had
// not been made: it may have been us who broke them off.
func (h *Hooks) record(ctx context.Context, hook *Hook, lease int64, list []owed, stopping bool) error {
	var done, failed []int64
	var waits []time.Duration
	var codes []int32
	var errs []string
	var over []bool
	for i := range list {
		o := &list[i]
		if o.result.ok {
			done = append(done, o.event.ID)
			continue
		}
		wait := h.backoff(o.attempts)
		if stopping {
			wait = 0
		}
		failed, waits, over = append(failed, o.event.ID), append(waits, wait), append(over, !o.found)
		codes, errs = append(codes, int32(o.result.code)), append(errs, o.result.err)
	}
	hookRequests.WithLabelValues("ok").Add(float64(len(done)))
	rows, err := h.pool.Query(ctx, sqlRecord, hook.ID, lease, done, failed, waits, codes, errs, over, !stopping, h.opts.GiveUp)
	if err != nil {
		return fmt.Errorf("record what a hook took: %w", err)
	}
	var givenUp bool
	if _, err := pgx.ForEachRow(rows, []any{&givenUp}, func() error {
		if givenUp {
			hookRequests.WithLabelValues("given_up").Inc()
		} else if !stopping {
			hookRequests.WithLabelValues("failed").Inc()
		}
		return nil
	}); err != nil {
		return fmt.Errorf("record what a hook took: %w", err)
	}
	return nil
}

// judge notes on the hook how it does, and says whether to go on with it.
func (h *Hooks) judge(ctx context.Context, hook *Hook, list []owed) (more bool, err error) {
	took, asked := 0, 0
	for i := range list {
		if list[i].result.code == gone {
			return false, h.disable(ctx, hook, "it answered 410 Gone")
		}
		if list[i].found {
			asked++
		}
		if list[i].result.ok {
			took++
		}
	}
	switch {
	case took > 0:
		if hook.failures > 0 || hook.FailingSince != nil || hook.Succeeded == nil || time.Since(*hook.Succeeded) > time.Minute {
			err = h.pool.QueryRow(ctx, `UPDATE hook SET failures = 0, failing_since = NULL, blocked_until = NULL, succeeded_at = now() WHERE id = $1 RETURNING succeeded_at`, hook.ID).Scan(&hook.Succeeded)
			hook.failures, hook.FailingSince = 0, nil
		}
		if err == pgx.ErrNoRows { // it was removed meanwhile
			return false, nil
		}
		return true, err
	case asked == 0:
		return true, nil
	}
	hook.failures++
	block := time.Duration(0)
	if hook.failures >= blockAfter {
		block = min(h.opts.Block<<min(hook.failures-blockAfter, 10), blockMost)
	}
	var hopeless bool
	err = h.pool.QueryRow(ctx, `UPDATE hook SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
		blocked_until = CASE WHEN $2::interval > '0' THEN now() + $2::interval END WHERE id = $1
		RETURNING now() > failing_since + $3::interval`, hook.ID, block, h.opts.GiveUp).Scan(&hopeless)
	switch {
	case err == pgx.ErrNoRows: // it was removed meanwhile
		return false, nil
	case err != nil:
		return false, fmt.Errorf("note the failure of hook %d: %w", hook.ID, err)
	case hopeless:
		return false, h.disable(ctx, hook, "it took nothing for "+h.opts.GiveUp.String()+"; the last attempt: "+list[len(list)-1].result.words())
	}
	return block == 0, nil
}

func (h *Hooks) disable(ctx context.Context, hook *Hook, why string) error {
	h.log.WarnContext(ctx, "a webhook is disabled", "event", "hooks.disable", "hook", hook.ID, "reason", why)
	_, err := h.pool.Exec(ctx, `UPDATE hook SET disabled_at = now(), disabled_why = $2 WHERE id = $1 AND disabled_at IS NULL`, hook.ID, line(why, 500))
	if err != nil {
		return fmt.Errorf("disable hook %d: %w", hook.ID, err)
	}
	return nil
}
