package directory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// watches are the sessions' channels that a change of credentials closes.
// There is one channel for each account and credential epoch, so that a session
// opened with the new password outlives the notice about the old one.
type watches struct {
	mu   sync.Mutex
	open map[int64][]*watch
	seen recent[int64, int64] // epoch of each account's last login here
}

type watch struct {
	epoch int64 // 0: not known yet
	refs  int
	ch    chan struct{}
}

func newWatches() *watches {
	return &watches{open: make(map[int64][]*watch), seen: newRecent[int64, int64](20_000)}
}

// Revoked gives a channel that is closed when the account's password changes,
// or it is disabled or removed, on whichever node that happens: its sessions
// must end. It is called after a login and takes effect from that login on: a
// change between the two is seen. cancel must be called, once or more.
func (d *Directory) Revoked(account int64) (<-chan struct{}, func()) {
	w := d.watches.add(account)
	return w.ch, sync.OnceFunc(func() { d.watches.drop(account, w) })
}

func (ws *watches) add(account int64) *watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	epoch, _ := ws.seen.get(account)
	for _, w := range ws.open[account] {
		if w.epoch == epoch {
			w.refs++
			return w
		}
	}
	w := &watch{epoch: epoch, refs: 1, ch: make(chan struct{})}
	ws.open[account] = append(ws.open[account], w)
	return w
}

func (ws *watches) drop(account int64, gone *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if gone.refs--; gone.refs > 0 {
		return
	}
	ws.remove(account, gone)
}

func (ws *watches) remove(account int64, gone *watch) {
	var left []*watch
	for _, w := range ws.open[account] {
		if w != gone {
			left = append(left, w)
		}
	}
	if ws.open[account] = left; len(left) == 0 {
		delete(ws.open, account)
	}
}

// login notes the epoch that a login was checked against, and ends sessions
// that were opened under an older one.
func (ws *watches) login(account, epoch int64) {
	ws.mu.Lock()
	ws.seen.put(account, epoch)
	ws.mu.Unlock()
	ws.fire(account, epoch)
}

// fire closes the account's channels of every epoch but current; 0 spares none.
func (ws *watches) fire(account, current int64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range append([]*watch(nil), ws.open[account]...) {
		if w.epoch == 0 && current != 0 {
			w.epoch = current
		}
		if current == 0 || w.epoch != current {
			close(w.ch)
			ws.remove(account, w)
		}
	}
}

func (ws *watches) accounts() []int64 {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ids := make([]int64, 0, len(ws.open))
	for id := range ws.open {
		ids = append(ids, id)
	}
	return ids
}

// pollEvery is how long a revocation goes unseen when its notice was lost.
const pollEvery = 10 * time.Second

// listen follows the changes of other processes until ctx ends.
func (d *Directory) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		d.log.Warn("directory lost its listener", "event", "directory.listen", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// follow listens on a connection of its own: one from the pool would be taken
// from the sessions for good.
func (d *Directory) follow(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, d.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	lastPrune := time.Now()
	for {
		// First after LISTEN, then on a timer: what was announced before, or to nobody.
		d.resolved.clear()
		if err := d.check(ctx, conn, d.watches.accounts()); err != nil {
			return err
		}
		if _, err := d.refreshRoutes(ctx, conn, true); err != nil {
			return err
		}
		if err := d.refreshSignin(ctx, conn); err != nil {
			return err
		}
		d.wakeNotices()
		if time.Since(lastPrune) > pruneEvery {
			lastPrune = time.Now()
			for _, prune := range []func(context.Context, querier) error{prune, pruneCallouts, pruneSending, pruneLinks} {
				if err := prune(ctx, conn); err != nil {
					return err
				}
			}
		}
		if err := d.hear(ctx, conn); err != nil {
			return err
		}
	}
}

// hear takes notifications for the time of one poll.
func (d *Directory) hear(ctx context.Context, conn *pgx.Conn) error {
	wait, cancel := context.WithTimeout(ctx, pollEvery)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(wait)
		if err != nil {
			if wait.Err() != nil && ctx.Err() == nil {
				return nil
			}
			return err
		}
		d.resolved.clear()
		if err := d.check(ctx, conn, parsePayload(n.Payload)); err != nil {
			return err
		}
		if _, err := d.refreshRoutes(ctx, conn, true); err != nil {
			return err
		}
		if err := d.refreshSignin(ctx, conn); err != nil {
			return err
		}
		d.wakeNotices()
	}
}

// check compares watched accounts with their rows.
func (d *Directory) check(ctx context.Context, conn querier, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT c.account_id, c.epoch FROM credential c JOIN account a ON a.id = c.account_id
		WHERE c.account_id = ANY($1) AND NOT a.disabled`, ids)
	if err != nil {
		return fmt.Errorf("credential epochs: %w", err)
	}
	current := make(map[int64]int64, len(ids))
	var id, epoch int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &epoch}, func() error {
		current[id] = epoch
		return nil
	}); err != nil {
		return fmt.Errorf("credential epochs: %w", err)
	}
	for _, id := range ids {
		d.watches.fire(id, current[id])
	}
	return nil
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx) // the server ends the session by itself if this fails
}
