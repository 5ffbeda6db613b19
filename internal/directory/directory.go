package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
	"posthouse/internal/oidc"
	"posthouse/internal/seal"
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
	ErrChannelBinding = errors.New("channel binding failed") // an exchange bound to another connection than this, or to nothing where it could be
	ErrNoKey          = errors.New("the site's secret key is needed, and is not here: run this on a machine of the site, or copy the file secret_key from its data folder")
)

// Options of New.
type Options struct {
	// Key is the site's secret key, at least 32 octets, the same on every node.
	Key []byte
	// MadeUp says that Key is not the site's: relays' passwords can be neither
	// sealed nor read (ErrNoKey).
	MadeUp bool
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
	// Tokens checks those of the issuers; nil: nobody logs in by a token.
	Tokens   *oidc.Verifier
	Sending  SendingOptions
	Throttle ThrottleOptions
}

// SendingOptions are about what accounts may send.
type SendingOptions struct {
	// Lenient lets accounts without a limit of their own send what they like,
	// and blocks none for how it behaves: local mode.
	Lenient bool
}

// Hooks lead to those who are made after the directory, and with it: Attach
// gives them. A nil one leads nowhere.
type Hooks struct {
	// OnRoutes runs after relays, rules or backup domains changed, on whatever
	// node, once RouteFor answers with them: what waits may have to go another
	// way. One call at a time; ctx ends with Close.
	OnRoutes func(ctx context.Context)
	// Verify asks the primary of a backup domain about a recipient, with the
	// given reverse-path, and sends nothing; within 30 s. nil: nobody can.
	Verify func(ctx context.Context, domain string, from, rcpt mail.Address) Verdict
	// Notify delivers a message of ours, whole with its header and CRLF lines,
	// to a postmaster, with the null reverse-path, and runs inTx in the
	// transaction that stores it, so that it is sent once; inTx may run more
	// than once. It is called again when it fails. nil: nobody is told but the log.
	Notify func(ctx context.Context, to mail.Address, message []byte, inTx func(context.Context, pgx.Tx) error) error
}

// Attach is called by a server, once, before mail flows. It starts a goroutine
// each for OnRoutes and Notify, which Close ends.
func (d *Directory) Attach(h Hooks) {
	d.hooks.Store(&h)
	if h.OnRoutes != nil {
		d.done.Go(func() { d.tellRoutes(d.life, h.OnRoutes) })
	}
	if h.Notify != nil {
		d.done.Go(func() { d.sendNotices(d.life, h.Notify) })
	}
}

// ThrottleOptions say who is slowed when guessing passwords.
type ThrottleOptions struct {
	Off            bool
	ExemptLoopback bool // clients on loopback addresses are never slowed, nor counted
}

// Directory answers from Postgres. It is safe for concurrent use.
type Directory struct {
	pool          *pgxpool.Pool
	opts          Options
	log           *slog.Logger
	resolved      *resolveCache
	routing       *routing
	callouts      *callouts
	hooks         atomic.Pointer[Hooks] // nil before Attach
	passwords     *seal.Box             // of relays
	issuerSecrets *seal.Box
	signins       signins
	notices       chan struct{} // something is to be told to a postmaster
	hasher        *hasher
	throttle      *throttle
	watches       *watches
	patience      time.Duration
	life          context.Context // until Close
	stop          context.CancelFunc
	done          sync.WaitGroup
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
	passwords, err := seal.New(opts.Key, "posthouse relay passwords")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	issuerSecrets, err := seal.New(opts.Key, "posthouse issuer secrets")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	d := &Directory{
		pool:          pool,
		opts:          opts,
		log:           opts.Log,
		resolved:      newResolveCache(),
		routing:       newRouting(),
		callouts:      newCallouts(),
		passwords:     passwords,
		issuerSecrets: issuerSecrets,
		notices:       make(chan struct{}, 1),
		hasher:        newHasher(opts.Key),
		throttle:      newThrottle(pool, opts.Key, opts.Throttle),
		watches:       newWatches(),
		patience:      patience,
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	d.life, d.stop = context.WithCancel(context.Background())
	d.done.Go(func() { d.listen(d.life) })
	return d, nil
}

// Close ends what runs in the background and waits for it. Channels given out by Revoked stay
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
	Shared        bool // nobody logs in to it; others have rights in its mailboxes
	Retention     mail.Retention
	Pop3MarksSeen bool   // RETR sets \Seen
	QuotaBytes    *int64 // nil: no limit
	QuotaMessages *int64
	SendBlocked   bool // it may read, but not send
}
