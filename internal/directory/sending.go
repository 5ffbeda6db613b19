package directory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// Unlimited is a sending limit that is none.
const Unlimited = -1

// Limits bound to how many recipients an account writes. The windows roll, in
// steps of five minutes and of an hour.
type Limits struct {
	Hourly, Daily int // recipients; Unlimited
}

// Sending is what an account may send and has sent.
type Sending struct {
	Limits
	OwnHourly, OwnDaily bool      // set for this account, not the site's defaults
	LastHour, LastDay   int       // recipients
	Delivered, Failed   int       // recipients whose fate was learned within the last hour
	Blocked             time.Time // zero: it is not
	Why                 string    // it was blocked
}

// The windows of sending_count.
const (
	fiveMinutes = 5 * time.Minute
	fives       = 12
	hours       = 24
)

// window is one of sending_count's rolling counts.
type window struct {
	counts []int32
	last   int64 // number of its last span since 1970
	span   time.Duration
}

func (w window) sum() int {
	n := 0
	for _, c := range w.counts {
		n += int(c)
	}
	return n
}

// roomAt is when n more fit under limit: when enough of the oldest spans have
// left the window.
func (w window) roomAt(n, limit int) time.Time {
	over := w.sum() + n - limit
	for i, c := range w.counts {
		if over -= int(c); over <= 0 {
			left := w.last - int64(len(w.counts)-1-i) + int64(len(w.counts))
			return time.Unix(0, 0).Add(time.Duration(left) * w.span).UTC()
		}
	}
	return time.Unix(0, 0).Add(time.Duration(w.last+int64(len(w.counts))) * w.span).UTC()
}

// newCount makes the row of an account that never sent.
const newCount = `INSERT INTO sending_count (account_id, five, hour, fives, hours, refused, delivered, failed)
	SELECT id, 0, 0, array_fill(0, ARRAY[12]), array_fill(0, ARRAY[24]), array_fill(0, ARRAY[12]), array_fill(0, ARRAY[12]), array_fill(0, ARRAY[12])
	FROM account WHERE id = $1 ON CONFLICT DO NOTHING`

// rolled is the row of c with its windows brought up to now: what fell out at
// the left is gone, zeros came in at the right. The clock is the database's, one
// for all nodes, and never goes back.
const rolled = `SELECT n.five, n.hour,
		(c.fives     || array_fill(0, ARRAY[n.df]))[n.df + 1 : n.df + 12] AS fives,
		(c.hours     || array_fill(0, ARRAY[n.dh]))[n.dh + 1 : n.dh + 24] AS hours,
		(c.refused   || array_fill(0, ARRAY[n.df]))[n.df + 1 : n.df + 12] AS refused,
		(c.delivered || array_fill(0, ARRAY[n.df]))[n.df + 1 : n.df + 12] AS delivered,
		(c.failed    || array_fill(0, ARRAY[n.df]))[n.df + 1 : n.df + 12] AS failed
	FROM (SELECT five, hour, least(five - c.five, 12)::int AS df, least(hour - c.hour, 24)::int AS dh
		FROM (SELECT greatest(floor(extract(epoch FROM now()) / 300)::bigint, c.five) AS five,
			greatest(floor(extract(epoch FROM now()) / 3600)::bigint, c.hour) AS hour) clock) n`

// allow checks and counts in one statement. Its row alone holds what is
// compared, so that of two writers at once the second compares with what the
// first wrote.
const allow = `UPDATE sending_count AS c SET (five, hour, fives, hours, refused, delivered, failed, granted) = (
	SELECT t.five, t.hour,
		t.fives[:11] || t.fives[12] + CASE WHEN t.ok THEN $2::int ELSE 0 END,
		t.hours[:23] || t.hours[24] + CASE WHEN t.ok THEN $2::int ELSE 0 END,
		t.refused[:11] || t.refused[12] + CASE WHEN t.ok OR p.blocked_at IS NOT NULL THEN 0 ELSE 1 END,
		t.delivered, t.failed, t.ok
	FROM (SELECT r.*, p.blocked_at IS NULL
			AND (p.hourly < 0 OR (SELECT sum(x) FROM unnest(r.fives) x) + $2::int <= p.hourly)
			AND (p.daily < 0 OR (SELECT sum(x) FROM unnest(r.hours) x) + $2::int <= p.daily) AS ok
		FROM (` + rolled + `) r) t)
	FROM ` + limitsOf + ` p WHERE c.account_id = $1 RETURNING ` + sendingColumns

// limitsOf is what the account $1 may send; $3 takes the site's defaults away.
const limitsOf = `(SELECT coalesce(own.hourly, CASE WHEN $3::boolean THEN -1 ELSE site.hourly END) AS hourly, own.hourly IS NOT NULL AS own_hourly,
		coalesce(own.daily, CASE WHEN $3::boolean THEN -1 ELSE site.daily END) AS daily, own.daily IS NOT NULL AS own_daily,
		own.blocked_at, coalesce(own.blocked_why, '') AS blocked_why
	FROM sending_default site LEFT JOIN sending_policy own ON own.account_id = $1)`

const sendingColumns = `p.hourly, p.own_hourly, p.daily, p.own_daily, coalesce(p.blocked_at, 'epoch'), p.blocked_why,
	c.five, c.hour, c.fives, c.hours, c.refused, c.delivered, c.failed, c.granted`

// sendingRow is what sendingColumns scan into.
type sendingRow struct {
	Sending
	five, day         window
	refused           []int32
	delivered, failed []int32
	granted           bool
}

func scanSending(row pgx.Row) (sendingRow, error) {
	r := sendingRow{five: window{span: fiveMinutes}, day: window{span: time.Hour}}
	err := row.Scan(&r.Hourly, &r.OwnHourly, &r.Daily, &r.OwnDaily, &r.Blocked, &r.Why,
		&r.five.last, &r.day.last, &r.five.counts, &r.day.counts, &r.refused, &r.delivered, &r.failed, &r.granted)
	if r.Blocked.Unix() == 0 {
		r.Blocked = time.Time{}
	}
	r.LastHour, r.LastDay = r.five.sum(), r.day.sum()
	r.Delivered, r.Failed = window{counts: r.delivered}.sum(), window{counts: r.failed}.sum()
	return r, err
}

// Allow counts n recipients that an account is about to write to, on all nodes
// together, and says whether it may: nil, or a *mail.Error for the client (452
// 4.7.1 with the time when there is room again, 550 5.7.1 when sending is
// blocked). Nothing is counted when it may not. It is called once for each
// message, when that is accepted; while it is composed MaySend answers. One
// statement, which writes no log and waits for no disk.
func (d *Directory) Allow(ctx context.Context, account int64, n int) error {
	r, err := d.countSending(ctx, allow, account, n, d.opts.Sending.Lenient)
	if errors.Is(err, ErrNotFound) {
		return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "This account does not exist any more")
	}
	if err != nil {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot check the sending limit, try again later", err)
	}
	d.watchSending(account, &r, n)
	return r.answer(n)
}

// strike notes that the limit turned an account away.
const strike = `UPDATE sending_count AS c SET (five, hour, fives, hours, refused, delivered, failed, granted) = (
	SELECT r.five, r.hour, r.fives, r.hours, r.refused[:11] || r.refused[12] + $2::int, r.delivered, r.failed, false FROM (` + rolled + `) r)
	FROM ` + limitsOf + ` p WHERE c.account_id = $1 RETURNING ` + sendingColumns

// MaySend says what Allow would, and counts no recipient. It serves RCPT, with
// the recipients of the message so far.
func (d *Directory) MaySend(ctx context.Context, account int64, n int) error {
	r, err := d.sending(ctx, account, d.opts.Sending.Lenient)
	if err != nil {
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot check the sending limit, try again later", err)
	}
	r.granted = r.Blocked.IsZero() && (r.Hourly < 0 || r.LastHour+n <= r.Hourly) && (r.Daily < 0 || r.LastDay+n <= r.Daily)
	// One for five minutes is enough: it is spans that are counted.
	if !r.granted && r.Blocked.IsZero() && r.refused[fives-1] == 0 && !d.opts.Sending.Lenient {
		struck, err := d.countSending(ctx, strike, account, 1, false)
		if err != nil {
			return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot check the sending limit, try again later", err)
		}
		d.watchSending(account, &struck, 0)
	}
	return r.answer(n)
}

// answer is what the client hears about n recipients.
func (r *sendingRow) answer(n int) error {
	if r.granted {
		return nil
	}
	if !r.Blocked.IsZero() {
		events.SendingRefused.WithLabelValues("blocked").Inc()
		return mail.Refuse(550, mail.Enhanced{5, 7, 1}, fmt.Sprintf(
			"Sending from this account has been blocked since %s; mail can still be read. Please ask your postmaster", clock(r.Blocked)))
	}
	events.SendingRefused.WithLabelValues("limit").Inc()
	var limit int
	var span string
	var room time.Time
	for _, w := range []struct {
		window
		limit int
		name  string
	}{{r.five, r.Hourly, "an hour"}, {r.day, r.Daily, "a day"}} {
		switch {
		case w.limit < 0 || w.sum()+n <= w.limit:
		case n > w.limit:
			return mail.Refuse(550, mail.Enhanced{5, 7, 1}, fmt.Sprintf(
				"This account may write to %d recipients %s, and this is %d at once", w.limit, w.name, n))
		default:
			if at := w.roomAt(n, w.limit); at.After(room) {
				limit, span, room = w.limit, w.name, at
			}
		}
	}
	return mail.Defer(452, mail.Enhanced{4, 7, 1}, fmt.Sprintf(
		"This account may write to %d recipients %s and did; there is room again at %s", limit, span, clock(room)), nil)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// countSending runs a statement on the account's counts, making them first
// where there are none. ErrNotFound when there is no such account.
func (d *Directory) countSending(ctx context.Context, sql string, args ...any) (sendingRow, error) {
	ctx, cancel := d.asking(ctx)
	defer cancel()
	r, err := scanSending(d.pool.QueryRow(ctx, sql, args...))
	if !errors.Is(err, pgx.ErrNoRows) {
		return r, err
	}
	if _, err := d.pool.Exec(ctx, newCount, args[0]); err != nil {
		return r, err
	}
	r, err = scanSending(d.pool.QueryRow(ctx, sql, args...))
	return r, noRows(err, ErrNotFound)
}

// sending reads an account's windows as they are now.
func (d *Directory) sending(ctx context.Context, account int64, lenient bool) (sendingRow, error) {
	ctx, cancel := d.asking(ctx)
	defer cancel()
	const zeros = "array_fill(0, ARRAY[12])"
	r, err := scanSending(d.pool.QueryRow(ctx, `SELECT `+sendingColumns+` FROM `+limitsOf+` p, LATERAL (
		SELECT r.*, true AS granted FROM (SELECT 0) one LEFT JOIN sending_count s ON s.account_id = $1,
		LATERAL (SELECT coalesce(s.five, 0) AS five, coalesce(s.hour, 0) AS hour, coalesce(s.fives, `+zeros+`) AS fives, coalesce(s.hours, array_fill(0, ARRAY[24])) AS hours,
			coalesce(s.refused, `+zeros+`) AS refused, coalesce(s.delivered, `+zeros+`) AS delivered, coalesce(s.failed, `+zeros+`) AS failed) c,
		LATERAL (`+rolled+`) r) c WHERE $2::int = 0`, account, 0, lenient))
	if err != nil {
		return r, fmt.Errorf("sending of account %d: %w", account, err)
	}
	return r, nil
}

// Sending is what an account may send and has sent. The site's defaults count
// in it even where they are not applied (Lenient).
func (d *Directory) Sending(ctx context.Context, account int64) (Sending, error) {
	r, err := d.sending(ctx, account, false)
	return r.Sending, err
}

// SetLimits changes an account's limits; nil leaves one as it is. ErrNotFound, ErrInvalid.
func (d *Directory) SetLimits(ctx context.Context, addr mail.Address, hourly, daily *Limit) error {
	for _, l := range []*Limit{hourly, daily} {
		if err := l.check(); err != nil {
			return err
		}
	}
	return d.changeAccount(ctx, addr, "limits of", func(tx pgx.Tx, id int64) (bool, error) {
		_, err := tx.Exec(ctx, `INSERT INTO sending_policy (account_id, hourly, daily) VALUES ($1, $2, $3)
			ON CONFLICT (account_id) DO UPDATE SET hourly = CASE WHEN $4 THEN excluded.hourly ELSE sending_policy.hourly END,
				daily = CASE WHEN $5 THEN excluded.daily ELSE sending_policy.daily END`,
			id, hourly.value(), daily.value(), hourly != nil, daily != nil)
		return false, err
	})
}

// Limit is a number of recipients, Unlimited, or the site's default.
type Limit struct {
	N       int
	Default bool
}

func (l *Limit) check() error {
	if l != nil && !l.Default && (l.N < Unlimited || l.N > math.MaxInt32) {
		return fmt.Errorf("limit of %d recipients: %w", l.N, ErrInvalid)
	}
	return nil
}

func (l *Limit) value() *int {
	if l == nil || l.Default {
		return nil
	}
	return &l.N
}

// DefaultLimits are those of accounts without their own.
func (d *Directory) DefaultLimits(ctx context.Context) (Limits, error) {
	var l Limits
	if err := d.pool.QueryRow(ctx, "SELECT hourly, daily FROM sending_default").Scan(&l.Hourly, &l.Daily); err != nil {
		return l, fmt.Errorf("sending limits: %w", err)
	}
	return l, nil
}

// SetDefaultLimits changes them. ErrInvalid.
func (d *Directory) SetDefaultLimits(ctx context.Context, l Limits) error {
	for _, n := range []int{l.Hourly, l.Daily} {
		if err := (&Limit{N: n}).check(); err != nil {
			return err
		}
	}
	return d.change(ctx, "sending limits", func(tx pgx.Tx) ([]int64, error) {
		_, err := tx.Exec(ctx, "UPDATE sending_default SET hourly = $1, daily = $2", l.Hourly, l.Daily)
		return nil, err
	})
}

// pruneSending drops counts that have rolled out of every window.
func pruneSending(ctx context.Context, q querier) error {
	_, err := q.Exec(ctx, "DELETE FROM sending_count WHERE hour < floor(extract(epoch FROM now()) / 3600) - 25")
	if err != nil {
		return fmt.Errorf("prune sending counts: %w", err)
	}
	return nil
}
