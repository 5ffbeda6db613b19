package directory

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// An account behaves like a stolen one when, within an hour,
//
//   - the limit turned it away in most of the five-minute spans: somebody pushes
//     on for the better part of an hour, as no person and few programs do;
//   - of at least failMin recipients more than failShare are refused for good by
//     their hosts: lists of addresses that somebody else collected look so;
//   - it writes to manyMin recipients or more, and within a day its owner's
//     password came from manyNetworks addresses or more.
//
// Its sending is blocked then, reading is not, and the domain's postmaster is told.
const (
	pushedSpans  = 8 // of fives
	failMin      = 50
	failShare    = 0.30
	manyMin      = 20
	manyNetworks = 40
)

// reason names a cause for metrics and log.
type reason string

const (
	overLimit    reason = "limit"
	manyFailures reason = "failures"
	networks     reason = "networks"
)

// watchSending looks at the counts that Allow came back with. What follows is
// done in the background: the client does not wait for it.
func (d *Directory) watchSending(account int64, r *sendingRow, n int) {
	if d.opts.Sending.Lenient || !r.Blocked.IsZero() {
		return
	}
	pushed := 0
	for _, c := range r.refused {
		if c > 0 {
			pushed++
		}
	}
	if !r.granted && pushed >= pushedSpans {
		d.done.Go(func() {
			d.block(account, overLimit, fmt.Sprintf("its sending limit turned it away in %d of the last %d five-minute spans", pushed, fives))
		})
		return
	}
	// Once in five minutes, with the first message: logins change no faster.
	if first := r.granted && int(r.five.counts[fives-1]) == n; first && r.LastHour >= manyMin {
		d.done.Go(func() { d.watchNetworks(account, r.LastHour) })
	}
}

// watchNetworks counts from where the owner's password came.
func (d *Directory) watchNetworks(account int64, sent int) {
	ctx, cancel := d.asking(d.life)
	defer cancel()
	var from int
	err := d.pool.QueryRow(ctx, "SELECT count(*) FROM login_known WHERE account_id = $1 AND at > now() - interval '1 day'", account).Scan(&from)
	if err != nil {
		d.log.Warn("an account's networks could not be counted", "event", "sending.watch", "err", err)
		return
	}
	if from >= manyNetworks {
		d.block(account, networks, fmt.Sprintf("its password was used from %d networks within a day, and %d recipients were written to within an hour", from, sent))
	}
}

// outcome adds what became of recipients.
const outcome = `UPDATE sending_count AS c SET (five, hour, fives, hours, refused, delivered, failed) = (
	SELECT r.five, r.hour, r.fives, r.hours, r.refused,
		r.delivered[:11] || r.delivered[12] + $2::int, r.failed[:11] || r.failed[12] + $4::int
	FROM (` + rolled + `) r)
	FROM ` + limitsOf + ` p WHERE c.account_id = $1 RETURNING ` + sendingColumns

// Outcome records what became of recipients that an account wrote to:
// delivered, or failed for good by their hosts' word. An account most of whose
// mail fails is blocked.
func (d *Directory) Outcome(ctx context.Context, account int64, delivered, failed int) error {
	r, err := d.countSending(ctx, outcome, account, delivered, d.opts.Sending.Lenient, failed)
	if err != nil {
		return fmt.Errorf("record outcomes of account %d: %w", account, err)
	}
	total := r.Delivered + r.Failed
	if d.opts.Sending.Lenient || !r.Blocked.IsZero() || total < failMin || float64(r.Failed) <= failShare*float64(total) {
		return nil
	}
	d.block(account, manyFailures, fmt.Sprintf("%d of the %d recipients whose fate was learned within an hour were refused by their hosts", r.Failed, total))
	return nil
}

// block stops an account's sending for how it behaved, and has its postmaster told.
func (d *Directory) block(account int64, because reason, why string) {
	ctx, cancel := d.asking(d.life)
	defer cancel()
	address, err := d.blockByID(ctx, account, why)
	if err != nil {
		d.log.Error("an account that behaves like a stolen one could not be blocked", "event", "sending.block", "account", account, "err", err)
		return
	}
	if address == "" { // somebody else was faster
		return
	}
	events.SendingBlocked.WithLabelValues(string(because)).Inc()
	d.log.Warn("sending blocked", "event", "sending.block", "account", address, "why", why)
	d.wakeNotices()
}

// blockByID gives the account's address, or "" when it was blocked already.
func (d *Directory) blockByID(ctx context.Context, account int64, why string) (address string, err error) {
	err = d.change(ctx, "block sending", func(tx pgx.Tx) ([]int64, error) {
		err := tx.QueryRow(ctx, `INSERT INTO sending_policy AS p (account_id, blocked_at, blocked_why, notice_at) VALUES ($1, now(), $2, now())
			ON CONFLICT (account_id) DO UPDATE SET blocked_at = now(), blocked_why = excluded.blocked_why, notice_at = now() WHERE p.blocked_at IS NULL
			RETURNING (SELECT address FROM account WHERE id = $1)`, account, why).Scan(&address)
		return nil, noRows(err, nil)
	})
	return address, err
}

// BlockSending stops an account's sending by a person's decision; it can still
// log in and read. ErrNotFound, ErrConflict (it is blocked).
func (d *Directory) BlockSending(ctx context.Context, addr mail.Address, why string) error {
	return d.changeAccount(ctx, addr, "block sending of", func(tx pgx.Tx, id int64) (bool, error) {
		tag, err := tx.Exec(ctx, `INSERT INTO sending_policy AS p (account_id, blocked_at, blocked_why) VALUES ($1, now(), $2)
			ON CONFLICT (account_id) DO UPDATE SET blocked_at = now(), blocked_why = excluded.blocked_why WHERE p.blocked_at IS NULL`, id, clean(why))
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("it is blocked already: %w", ErrConflict)
		}
		return false, err
	})
}

// UnblockSending undoes a block and forgets what led to it. ErrNotFound,
// ErrConflict (it is not blocked).
func (d *Directory) UnblockSending(ctx context.Context, addr mail.Address) error {
	return d.changeAccount(ctx, addr, "unblock sending of", func(tx pgx.Tx, id int64) (bool, error) {
		tag, err := tx.Exec(ctx, "UPDATE sending_policy SET blocked_at = NULL, blocked_why = '', notice_at = NULL WHERE account_id = $1 AND blocked_at IS NOT NULL", id)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("it is not blocked: %w", ErrConflict)
		}
		if err != nil {
			return false, err
		}
		if _, err = tx.Exec(ctx, `UPDATE sending_count SET refused = array_fill(0, ARRAY[12]), delivered = array_fill(0, ARRAY[12]), failed = array_fill(0, ARRAY[12])
			WHERE account_id = $1`, id); err != nil {
			return false, err
		}
		// The networks are the owner's now, unless they come again.
		_, err = tx.Exec(ctx, "UPDATE login_known SET at = now() - interval '1 day' WHERE account_id = $1 AND at > now() - interval '1 day'", id)
		return false, err
	})
}

// noticeRetry is when a notice is tried again whose sender died or failed.
const noticeRetry = 5 * time.Minute
