package directory

import (
	"context"
	"errors"
	"sync"
	"time"
)

// outcomes gathers what became of mail, so that a thousand results cost one
// statement. What a process had not written yet when it died is not missed.
type outcomes struct {
	mu      sync.Mutex
	by      map[int64]outcomeCounts // by account
	waiting chan struct{}
}

type outcomeCounts struct{ delivered, refused int }

// learnEvery is how often they are written.
const learnEvery = time.Second

func newOutcomes() *outcomes {
	return &outcomes{by: map[int64]outcomeCounts{}, waiting: make(chan struct{}, 1)}
}

// Learn is Outcome for whoever must not wait: it returns at once, and what it
// was told is recorded within seconds, after Attach.
func (d *Directory) Learn(account int64, delivered, refused int) {
	o := d.outcomes
	o.mu.Lock()
	c := o.by[account]
	c.delivered, c.refused = c.delivered+delivered, c.refused+refused
	o.by[account] = c
	o.mu.Unlock()
	select {
	case o.waiting <- struct{}{}:
	default: // it is awake
	}
}

// recordOutcomes writes what Learn was told, until ctx ends.
func (d *Directory) recordOutcomes(ctx context.Context) {
	o := d.outcomes
	for {
		select {
		case <-o.waiting:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(learnEvery): // more will come
		case <-ctx.Done():
			return
		}
		o.mu.Lock()
		by := o.by
		o.by = map[int64]outcomeCounts{}
		o.mu.Unlock()
		for account, c := range by {
			if err := d.Outcome(ctx, account, c.delivered, c.refused); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
				d.log.Warn("what became of an account's mail was not counted", "event", "sending.outcome", "account", account, "err", err)
			}
		}
	}
}
