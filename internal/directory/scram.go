package directory

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xdg-go/scram"
)

// SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding and without.
const (
	scramPlain = "SCRAM-SHA-256"
	scramPlus  = "SCRAM-SHA-256-PLUS"
)

// scramFirst answers client-first with salt and iterations (RFC 5802 §5). For a
// user who does not exist they are the site's to invent, the same every time.
func (x *Exchange) scramFirst(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	binding, err := x.client.binding(string(response), x.plus)
	if err != nil {
		return nil, false, x.failed(err)
	}
	var lookup error
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		if x.login, lookup = x.d.newLogin(ctx, user); lookup == nil {
			lookup = x.d.scramRead(ctx, x.login, x.client, "")
		}
		return x.d.scramCredentials(x.login), lookup
	})
	if err != nil {
		return nil, false, fmt.Errorf("SCRAM: %w", err)
	}
	if x.plus {
		x.conv = server.NewConversationWithChannelBindingRequired(binding)
	} else {
		x.conv = server.NewConversation()
	}
	challenge, err := x.conv.Step(string(response))
	switch {
	case lookup != nil:
		return nil, false, x.failed(lookup)
	case err != nil:
		return nil, false, ErrMalformed
	}
	x.nonce = challenge
	x.step = x.scramFinal
	return []byte(challenge), false, nil
}

// scramRead reads the login and the counts; an attempt that is refused hears so at once.
func (d *Directory) scramRead(ctx context.Context, l *login, c Client, guess string) error {
	at := d.throttle.enter(c, l.name, guess)
	defer at.leave()
	return d.read(ctx, l, at)
}

func (d *Directory) scramCredentials(l *login) scram.StoredCredentials {
	if l == nil {
		return scram.StoredCredentials{}
	}
	s := l.secrets
	if s.argon2id == "" {
		s.salt, s.iterations = mac(d.hasher.scram, l.name)[:saltLen], scramIterations
		s.storedKey = make([]byte, sha256.Size) // no client key has this hash
		s.serverKey = make([]byte, sha256.Size)
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(s.salt), Iters: s.iterations},
		StoredKey:  s.storedKey, ServerKey: s.serverKey,
	}
}

// scramFinal checks the client's proof and, before it, the channel binding: who
// stands between has another channel, and learns nothing of the proof. Many
// exchanges may have begun before one failed, so the counts are asked for again.
func (x *Exchange) scramFinal(ctx context.Context, response []byte) ([]byte, bool, error) {
	epoch := x.login.epoch
	at := x.d.throttle.enter(x.client, x.login.name, x.nonce)
	defer at.leave()
	if err := x.d.read(ctx, x.login, at); err != nil {
		return nil, false, x.failed(err)
	}
	challenge, err := x.conv.Step(string(response))
	unbound := err != nil && challenge == scram.ErrChannelBindingsDontMatch
	ok := err == nil && x.conv.Valid() && x.login.exists && x.login.secrets.argon2id != "" && x.login.epoch == epoch
	if err == nil && x.conv.AuthzID() != "" && !strings.EqualFold(x.conv.AuthzID(), x.conv.Username()) {
		ok = false
	}
	a, err := x.d.finish(ctx, x.login, at, ok)
	if unbound && errors.Is(err, ErrBadCredentials) {
		err = fmt.Errorf("%w: it does not match this connection", ErrChannelBinding)
	}
	if err != nil {
		return nil, false, x.failed(err)
	}
	x.account = a
	x.step = x.scramDone
	x.d.report(x.client, x.login, nil, time.Since(x.start))
	return []byte(challenge), false, nil
}

// scramDone takes the empty response to server-final.
func (x *Exchange) scramDone(_ context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > 0 {
		return nil, false, ErrMalformed
	}
	return nil, true, nil
}
