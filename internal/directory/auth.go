package directory

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"
)

// Client is who asks to log in.
type Client struct {
	Remote   netip.Addr
	Protocol string // "smtp", "imap", "pop3", "http"
	TLS      bool
	TLSState *tls.ConnectionState // nil without TLS; for channel binding
}

// Throttled says that the client guessed too often. The password was not looked at.
type Throttled struct{ RetryAfter time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many failed logins, try again in %s", t.RetryAfter.Round(time.Second))
}

// Authenticate checks a password. It may wait some seconds before it answers
// somebody who guesses. Errors: ErrBadCredentials, ErrDisabled, *Throttled;
// anything else is temporary (RFC 5530 UNAVAILABLE, 454 4.7.0, SYS/TEMP).
func (d *Directory) Authenticate(ctx context.Context, user, password string, c Client) (Account, error) {
	return Account{}, errUnbuilt
}

// Revoked gives a channel that is closed when the account's password changes,
// or it is disabled or removed, on whichever node that happens: its sessions
// must end. It may be called after Authenticate without a gap: a change
// between the two is seen. cancel must be called, once or more.
func (d *Directory) Revoked(account int64) (<-chan struct{}, func()) {
	return make(chan struct{}), func() {}
}
