package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"posthouse/internal/directory"
)

// outcomesEvery is how long what became of mail is gathered before the
// directory counts it against accounts.
const outcomesEvery = time.Second

// outcomes gathers what hosts said of the recipients that accounts wrote to, so
// that sending does not wait for the count. What was gathered in a process that
// dies is not counted: it only says how accounts behave.
type outcomes struct {
	dir  *directory.Directory
	log  *slog.Logger
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	pending map[int64]outcome // by account
}

type outcome struct{ delivered, refused int }

func gatherOutcomes(dir *directory.Directory, log *slog.Logger) *outcomes {
	ctx, stop := context.WithCancel(context.Background())
	o := &outcomes{dir: dir, log: log, stop: stop, done: make(chan struct{}), pending: make(map[int64]outcome)}
	go func() {
		defer close(o.done)
		tick := time.NewTicker(outcomesEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				o.flush(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return o
}

func (o *outcomes) add(account int64, delivered, refused int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.pending[account]
	o.pending[account] = outcome{p.delivered + delivered, p.refused + refused}
}

func (o *outcomes) flush(ctx context.Context) {
	o.mu.Lock()
	pending := o.pending
	o.pending = make(map[int64]outcome)
	o.mu.Unlock()
	for account, n := range pending {
		if err := o.dir.Outcome(ctx, account, n.delivered, n.refused); err != nil && ctx.Err() == nil {
			o.log.Warn("what became of an account's mail was not counted", "event", "limits", "account", account, "err", err)
		}
	}
}

func (o *outcomes) close() {
	o.stop()
	<-o.done
}
