package directory

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"posthouse/internal/mail"
)

// Client is who asks to log in.
type Client struct {
	Remote   netip.Addr
	Protocol string // "smtp", "imap", "pop3", "http"
	TLS      bool
	TLSState *tls.ConnectionState // nil without TLS; for channel binding
	// Certificate is the one that the server showed, for channel binding by
	// tls-server-end-point; nil: not known.
	Certificate *tls.Certificate
	// PlusHidden says that this client is not told of SCRAM-SHA-256-PLUS, by a mask.
	PlusHidden bool
}

// Throttled says that the client guessed too often. The password was not looked at.
type Throttled struct{ RetryAfter time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many failed logins, try again in %s", t.RetryAfter.Round(time.Second))
}

// Authenticate checks a password. user is an account's address; without a
// domain, in the default domain (Options.Hostname). It waits up to 5 s before
// it answers somebody who guesses. Errors: ErrBadCredentials, ErrDisabled,
// *Throttled; anything else is temporary (RFC 5530 UNAVAILABLE, 454 4.7.0,
// SYS/TEMP).
func (d *Directory) Authenticate(ctx context.Context, user, password string, c Client) (Account, error) {
	start := time.Now()
	l, err := d.newLogin(ctx, user)
	var a Account
	if err == nil {
		a, err = d.authenticate(ctx, l, password, c)
	}
	d.report(c, l, err, time.Since(start))
	return a, err
}

func (d *Directory) authenticate(ctx context.Context, l *login, password string, c Client) (Account, error) {
	p := prepare(password)
	at := d.throttle.enter(c, l.name, p)
	defer at.leave()
	if err := d.read(ctx, l, at); err != nil {
		return Account{}, err
	}
	ok, err := d.hasher.known(ctx, l, p)
	if err != nil {
		return Account{}, err
	}
	return d.finish(ctx, l, at, ok)
}

// login is one attempt's user as the database knows it.
type login struct {
	name    string // folded: what the throttle counts
	row     accountRow
	exists  bool
	epoch   int64
	secrets secrets
}

func (d *Directory) newLogin(ctx context.Context, user string) (*login, error) {
	if !strings.Contains(user, "@") {
		domain, err := d.defaultDomain(ctx)
		if err != nil {
			return nil, err
		}
		user += "@" + domain
	}
	a, err := mail.ParseAddress(user)
	if err != nil { // a name that nobody can have takes the same way
		return &login{name: clean(norm.NFC.String(strings.ToLower(user)))}, nil
	}
	return &login{name: clean(key(fold(a)))}, nil
}

// read asks for the account and the throttle's counts in one round trip, and
// again whenever the attempt had to wait.
func (d *Directory) read(ctx context.Context, l *login, at *attempt) error {
	for {
		var b pgx.Batch
		b.Queue("SELECT "+accountColumns+`, c.epoch, coalesce(c.argon2id, ''), c.scram_salt, coalesce(c.scram_iterations, 0), c.scram_stored_key, c.scram_server_key
			FROM account a JOIN credential c ON c.account_id = a.id WHERE a.address = $1`, l.name).QueryRow(l.scan)
		at.queue(&b)
		asking, cancel := d.asking(ctx)
		err := d.pool.SendBatch(asking, &b).Close()
		cancel()
		if err != nil {
			return fmt.Errorf("login: %w", err)
		}
		again, err := at.pace(ctx)
		if err != nil || !again {
			return err
		}
	}
}

func (l *login) scan(row pgx.Row) error {
	s := secrets{}
	fields := append(l.row.fields(), &l.epoch, &s.argon2id, &s.salt, &s.iterations, &s.storedKey, &s.serverKey)
	err := row.Scan(fields...)
	if errors.Is(err, pgx.ErrNoRows) {
		*l = login{name: l.name}
		return nil
	}
	l.exists, l.secrets = err == nil, s
	return err
}

// finish counts the outcome and turns it into an answer.
func (d *Directory) finish(ctx context.Context, l *login, at *attempt, ok bool) (Account, error) {
	if ok = ok && !l.row.Shared; !ok {
		if err := at.failed(ctx); err != nil {
			return Account{}, err
		}
		return Account{}, ErrBadCredentials
	}
	if l.row.Disabled {
		return Account{}, ErrDisabled
	}
	a, err := l.row.account()
	if err != nil {
		return Account{}, err
	}
	if err := at.succeeded(ctx, a.ID); err != nil {
		return Account{}, err
	}
	d.watches.login(a.ID, l.epoch)
	return a, nil
}

// verified remembers passwords that were right, so that the next login with
// one costs no argon2id: under a key that this process made and never shows,
// bound to the credential's epoch, so that a change forgets them everywhere.
type verified struct {
	key      []byte
	mu       sync.Mutex
	right    recent[[32]byte, struct{}]
	underway map[[32]byte]*verification
}

// verification is one computation that several logins wait for.
type verification struct {
	done chan struct{}
	ok   bool
	err  error
}

func newVerified() *verified {
	k := make([]byte, 32)
	rand.Read(k) // never fails
	return &verified{key: k, right: newRecent[[32]byte, struct{}](10_000), underway: make(map[[32]byte]*verification)}
}

// known compares the prepared password with the login's secret, by memory if
// it was right before. Logins with the same password at the same time, as when
// a client opens its five connections, share one computation.
func (h *hasher) known(ctx context.Context, l *login, prepared string) (bool, error) {
	v := h.verified
	id := [32]byte(mac(v.key, l.name, fmt.Sprint(l.row.ID), fmt.Sprint(l.epoch), prepared))
	v.mu.Lock()
	if _, ok := v.right.get(id); ok {
		v.mu.Unlock()
		return true, nil
	}
	if other, ok := v.underway[id]; ok {
		v.mu.Unlock()
		select {
		case <-other.done:
			return other.ok, other.err
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	mine := &verification{done: make(chan struct{})}
	v.underway[id] = mine
	v.mu.Unlock()

	// Others wait for this: it does not end with this login's context.
	mine.ok, mine.err = h.verify(context.WithoutCancel(ctx), l.secrets.argon2id, prepared)
	v.mu.Lock()
	delete(v.underway, id)
	if mine.ok {
		v.right.put(id, struct{}{})
	}
	v.mu.Unlock()
	close(mine.done)
	return mine.ok, mine.err
}
