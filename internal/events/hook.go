package events

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/seal"
)

// Errors that callers can match.
var (
	ErrNotFound = errors.New("not found")
	ErrInvalid  = errors.New("invalid")
	ErrNoKey    = errors.New("the site's secret key is not here: run this on one of its nodes, or say where its files are with --config or --data")
)

// HookKinds are the kinds that a hook can ask for.
var HookKinds = []Kind{Received, Stored, Delivered, Deferred, Bounced, Suppressed, Complained}

// hookDefaults are those of a hook that names none: what becomes of mail that
// was sent.
var hookDefaults = []Kind{Delivered, Deferred, Bounced, Suppressed, Complained}

// maxHooks is how many one account may have: each of its events costs a row and
// a request for each of them.
const maxHooks = 20

// Hook is a webhook: an URL that is told of events. See docs/webhooks.md for
// what it gets.
type Hook struct {
	ID           int64      `json:"id"`
	AccountID    int64      `json:"-"`                 // 0: all mail of the site
	Account      string     `json:"account,omitempty"` // its address
	URL          string     `json:"url"`
	Kinds        []Kind     `json:"kinds"`
	AllowPrivate bool       `json:"allow_private"`
	Created      time.Time  `json:"created"`
	Disabled     *time.Time `json:"disabled,omitempty"`
	DisabledWhy  string     `json:"disabled_why,omitempty"`
	FailingSince *time.Time `json:"failing_since,omitempty"`
	BlockedUntil *time.Time `json:"blocked_until,omitempty"` // nothing is tried before
	Succeeded    *time.Time `json:"succeeded,omitempty"`     // about when it last took an event
	Waiting      int64      `json:"waiting"`
	GivenUp      int64      `json:"given_up"`

	failures int
	sealed   []byte
}

// HookOptions of NewHooks.
type HookOptions struct {
	Key          []byte                                                       // the site's secret key; nil: nothing can be added, tested or delivered
	Log          *slog.Logger                                                 // nil: slog.Default
	Lookup       func(ctx context.Context, host string) ([]netip.Addr, error) // nil: the machine's resolver
	Roots        *x509.CertPool                                               // nil: the system's
	AllowPrivate bool                                                         // for all hooks, and http with them: local mode
	Patience     time.Duration                                                // for one POST; 0: 10 s
	Retry        []time.Duration                                              // pauses after the first, second, … failure, the last one repeated; nil: 10 s to 4 h
	GiveUp       time.Duration                                                // on an event; 0: 3 days
	Lease        time.Duration                                                // of an attempt, after which other nodes take over; 0: 60 s
	Poll         time.Duration                                                // how often to look for what is due; 0: 1 s
	Block        time.Duration                                                // the first pause of a hook that takes nothing; 0: 10 s
}

// Hooks are the webhooks of a site. Start makes a node deliver what they are
// owed; commands and the API use the rest.
type Hooks struct {
	pool *pgxpool.Pool
	opts HookOptions
	log  *slog.Logger
	box  *seal.Box
	post *poster
}

// NewHooks opens them on a migrated database.
func NewHooks(pool *pgxpool.Pool, opts HookOptions) (*Hooks, error) {
	var box *seal.Box
	if len(opts.Key) > 0 {
		var err error
		if box, err = seal.New(opts.Key, "posthouse webhook secrets"); err != nil {
			return nil, err
		}
	}
	orDefault(&opts.Patience, 10*time.Second)
	orDefault(&opts.GiveUp, 3*24*time.Hour)
	orDefault(&opts.Lease, time.Minute)
	orDefault(&opts.Poll, time.Second)
	orDefault(&opts.Block, 10*time.Second)
	if opts.Lookup == nil {
		opts.Lookup = systemLookup
	}
	if len(opts.Retry) == 0 {
		opts.Retry = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Hooks{pool: pool, opts: opts, log: opts.Log, box: box, post: newPoster(&opts)}, nil
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Add makes a hook from AccountID, URL, Kinds (none: what becomes of mail that
// was sent) and AllowPrivate, and gives the secret that its requests will be
// signed with: it is not shown again. Nodes know of a site's first hook within
// two seconds, of further ones at once. ErrInvalid.
func (h *Hooks) Add(ctx context.Context, hook Hook) (Hook, string, error) {
	if err := h.check(&hook); err != nil {
		return Hook{}, "", err
	}
	if h.box == nil {
		return Hook{}, "", ErrNoKey
	}
	random := make([]byte, 25)
	rand.Read(random)
	secret := "whsec_" + strings.ToLower(base32.StdEncoding.EncodeToString(random))
	err := pgx.BeginFunc(ctx, h.pool, func(tx pgx.Tx) error {
		var have int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM hook WHERE account_id = $1`, hook.AccountID).Scan(&have); err != nil {
			return err
		}
		if have >= maxHooks {
			return fmt.Errorf("%w: an account has at most %d hooks", ErrInvalid, maxHooks)
		}
		if err := tx.QueryRow(ctx, `INSERT INTO hook (account_id, url, kinds, secret, allow_private) VALUES (nullif($1::bigint, 0), $2, $3, '', $4) RETURNING id`,
			hook.AccountID, hook.URL, kindNames(hook.Kinds), hook.AllowPrivate).Scan(&hook.ID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE hook SET secret = $2 WHERE id = $1`, hook.ID, h.box.Seal([]byte(secret), owner(hook.ID)))
		return err
	})
	if err != nil {
		return Hook{}, "", fmt.Errorf("add a hook: %w", err)
	}
	hook, err = h.Hook(ctx, hook.ID)
	return hook, secret, err
}

// secret opens a hook's secret.
func (h *Hooks) secret(hook *Hook) (string, error) {
	if h.box == nil {
		return "", ErrNoKey
	}
	secret, err := h.box.Open(hook.sealed, owner(hook.ID))
	if err != nil {
		return "", fmt.Errorf("the secret of hook %d: %w", hook.ID, err)
	}
	return string(secret), nil
}

func owner(id int64) string { return strconv.FormatInt(id, 10) }

// Check reports whether Add would take hook. ErrInvalid.
func (h *Hooks) Check(hook Hook) error { return h.check(&hook) }

func (h *Hooks) check(hook *Hook) error {
	u, err := url.Parse(hook.URL)
	switch {
	case err != nil || len(hook.URL) > 2000 || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%w: %q is not an URL such as https://example.org/hook", ErrInvalid, hook.URL)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%w: a hook's URL begins with https://", ErrInvalid)
	case u.Scheme == "http" && !hook.AllowPrivate && !h.opts.AllowPrivate:
		return fmt.Errorf("%w: what a hook is told is for nobody else, so its URL begins with https://; http is for private networks (--allow-private)", ErrInvalid)
	case u.User != nil:
		return fmt.Errorf("%w: a name and password in a hook's URL would be shown to everyone who lists it; check the signature instead", ErrInvalid)
	}
	u.Fragment = ""
	hook.URL = u.String()
	if len(hook.Kinds) == 0 {
		hook.Kinds = hookDefaults
	}
	for _, k := range hook.Kinds {
		if !slices.Contains(HookKinds, k) {
			return fmt.Errorf("%w: hooks are not told of %q", ErrInvalid, k)
		}
	}
	return nil
}

const hookFields = `h.id, coalesce(h.account_id, 0), coalesce(a.address, ''), h.url, h.kinds, h.secret, h.allow_private, h.created_at,
 h.disabled_at, h.disabled_why, h.failures, h.failing_since, h.blocked_until, h.succeeded_at`

func scanHook(row pgx.CollectableRow, more ...any) (h Hook, err error) {
	var kinds []string
	err = row.Scan(append([]any{&h.ID, &h.AccountID, &h.Account, &h.URL, &kinds, &h.sealed, &h.AllowPrivate, &h.Created,
		&h.Disabled, &h.DisabledWhy, &h.failures, &h.FailingSince, &h.BlockedUntil, &h.Succeeded}, more...)...)
	for _, k := range kinds {
		h.Kinds = append(h.Kinds, Kind(k))
	}
	return h, err
}

// List gives all hooks, or with an account its own.
func (h *Hooks) List(ctx context.Context, account int64) ([]Hook, error) {
	return h.list(ctx, `$1 = 0 OR h.account_id = $1`, account)
}

// Hook gives one. ErrNotFound.
func (h *Hooks) Hook(ctx context.Context, id int64) (Hook, error) {
	list, err := h.list(ctx, `h.id = $1`, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("hook %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Hook{}, err
	}
	return list[0], nil
}

func (h *Hooks) list(ctx context.Context, condition string, arg int64) ([]Hook, error) {
	rows, err := h.pool.Query(ctx, `SELECT `+hookFields+`, d.waiting, d.given_up FROM hook h LEFT JOIN account a ON a.id = h.account_id,
		LATERAL (SELECT count(*) FILTER (WHERE given_up_at IS NULL) AS waiting, count(*) FILTER (WHERE given_up_at IS NOT NULL) AS given_up
		 FROM hook_delivery WHERE hook_id = h.id) d WHERE `+condition+` ORDER BY h.id`, arg)
	if err != nil {
		return nil, fmt.Errorf("list the hooks: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Hook, error) {
		var waiting, givenUp int64
		hook, err := scanHook(row, &waiting, &givenUp)
		hook.Waiting, hook.GivenUp = waiting, givenUp
		return hook, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the hooks: %w", err)
	}
	return list, nil
}

// Remove ends a hook; what it is still owed is forgotten. ErrNotFound.
func (h *Hooks) Remove(ctx context.Context, id int64) error {
	tag, err := h.pool.Exec(ctx, `WITH gone AS (DELETE FROM hook WHERE id = $1 RETURNING id), owed AS (DELETE FROM hook_delivery WHERE hook_id = $1)
		SELECT id FROM gone`, id)
	return affected(tag.RowsAffected(), err, "remove hook", id)
}

// Enable lets a hook go on that was disabled, or is left alone for a while
// because it took nothing. What it is owed and has not expired is delivered.
func (h *Hooks) Enable(ctx context.Context, id int64) error {
	tag, err := h.pool.Exec(ctx, `UPDATE hook SET disabled_at = NULL, disabled_why = '', failures = 0, failing_since = NULL, blocked_until = NULL WHERE id = $1`, id)
	return affected(tag.RowsAffected(), err, "enable hook", id)
}

func affected(n int64, err error, what string, id int64) error {
	if err != nil {
		return fmt.Errorf("%s %d: %w", what, id, err)
	}
	if n == 0 {
		return fmt.Errorf("%s %d: %w", what, id, ErrNotFound)
	}
	return nil
}

// HookFailure is an attempt that failed.
type HookFailure struct {
	Event    int64      `json:"event"`
	Message  string     `json:"message"`
	Tried    time.Time  `json:"tried"`
	Attempts int        `json:"attempts"`
	Code     int        `json:"code,omitempty"` // HTTP status; 0: there was no answer
	Error    string     `json:"error"`
	Next     *time.Time `json:"next,omitempty"`     // when it is tried again
	GivenUp  *time.Time `json:"given_up,omitempty"` // or when it was given up
}

// Failures gives the latest failures of a hook, at most limit.
func (h *Hooks) Failures(ctx context.Context, id int64, limit int) ([]HookFailure, error) {
	rows, err := h.pool.Query(ctx, `SELECT event_id, message, tried_at, attempts, code, error, CASE WHEN given_up_at IS NULL THEN next_at END, given_up_at
		FROM hook_delivery WHERE hook_id = $1 AND error <> '' ORDER BY tried_at DESC LIMIT $2`, id, limit)
	if err != nil {
		return nil, fmt.Errorf("failures of hook %d: %w", id, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[HookFailure])
	if err != nil {
		return nil, fmt.Errorf("failures of hook %d: %w", id, err)
	}
	return list, nil
}
