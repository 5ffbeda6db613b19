package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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
	Log      *slog.Logger // nil: slog.Default
	// OnCreate and OnRemove run inside the transaction that adds or removes an
	// account; both may be nil.
	OnCreate, OnRemove func(ctx context.Context, tx pgx.Tx, accountID int64) error
	// OnDomain runs inside the transaction that adds a domain; nil: nothing does.
	OnDomain func(ctx context.Context, tx pgx.Tx, domain string) error
	Throttle ThrottleOptions
}

// ThrottleOptions say who is slowed when guessing passwords.
type ThrottleOptions struct {
	Off            bool
	ExemptLoopback bool // clients on loopback addresses are never slowed, nor counted
}

// Directory answers from Postgres. It is safe for concurrent use.
type Directory struct {
	pool     *pgxpool.Pool
	opts     Options
	log      *slog.Logger
	resolved *resolveCache
	hasher   *hasher
	throttle *throttle
	watches  *watches
	patience time.Duration
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// patience is how long a question that a client waits for may take: a database
// that has frozen, or is behind a network that swallows packets, is answered
// for like one that is down.
const patience = 15 * time.Second

// asking bounds such a question.
func (d *Directory) asking(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.patience)
}

// MinKey is the least length of Options.Key, in octets.
const MinKey = 32

// New opens the directory. It starts one goroutine, which listens for changes
// on a connection of its own; Close ends it.
func New(pool *pgxpool.Pool, opts Options) (*Directory, error) {
	if len(opts.Key) < MinKey {
		return nil, fmt.Errorf("directory: secret key of %d octets, want %d: %w", len(opts.Key), MinKey, ErrInvalid)
	}
	d := &Directory{
		pool:     pool,
		opts:     opts,
		log:      opts.Log,
		resolved: newResolveCache(),
		hasher:   newHasher(opts.Key),
		throttle: newThrottle(pool, opts.Key, opts.Throttle),
		watches:  newWatches(),
		patience: patience,
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.done.Go(func() { d.listen(ctx) })
	return d, nil
}

// Close ends the listener and waits for it. Channels given out by Revoked stay
// open for good.
func (d *Directory) Close() {
	d.stop()
	d.done.Wait()
}

// Account is a person's mailbox tree and its policy.
type Account struct {
	ID            int64
	Address       mail.Address // folded
	Disabled      bool
	Retention     mail.Retention
	Pop3MarksSeen bool   // RETR sets \Seen
	QuotaBytes    *int64 // nil: no limit
	QuotaMessages *int64
}
