package directory

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// Mechanisms are the SASL mechanisms to offer to this client, best first.
// Whether those that show the password may be used without TLS is for the
// protocol to decide. LOGIN works everywhere, but only SMTP clients that know
// nothing else need to be told.
func (d *Directory) Mechanisms(c Client) []string {
	var list []string
	if c.binds() {
		list = append(list, scramPlus)
	}
	list = append(list, scramPlain)
	if len(d.tokens()) > 0 {
		list = append(list, "OAUTHBEARER", "XOAUTH2")
	}
	if c.Protocol == "smtp" {
		return append(list, "PLAIN", "LOGIN")
	}
	return append(list, "PLAIN")
}

// MaxResponse bounds a client's response in octets, decoded; more is ErrMalformed.
const MaxResponse = 8192

// Exchange is one SASL authentication (RFC 4422). It is not safe for concurrent use.
type Exchange struct {
	d       *Directory
	client  Client
	step    func(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	account Account

	user  string                    // LOGIN
	login *login                    // SCRAM
	conv  *scram.ServerConversation // SCRAM
	nonce string                    // SCRAM
	plus  bool                      // SCRAM: with channel binding
	start time.Time
}

// NewExchange begins one; mech is matched without regard to case. The only
// error is ErrMechanism.
func (d *Directory) NewExchange(mech string, c Client) (*Exchange, error) {
	x := &Exchange{d: d, client: c, start: time.Now()}
	switch strings.ToUpper(mech) {
	case "PLAIN":
		x.step = x.plain
	case "LOGIN":
		x.step = x.loginUser
	case "OAUTHBEARER", "XOAUTH2":
		if len(d.tokens()) == 0 {
			return nil, fmt.Errorf("%s without an issuer: %w", mech, ErrMechanism)
		}
		x.step = x.bearerFirst
		if strings.EqualFold(mech, "XOAUTH2") {
			x.step = x.xoauth2First
		}
	case scramPlain:
		x.step = x.scramFirst
	case scramPlus:
		if !c.binds() {
			return nil, fmt.Errorf("%s without TLS: %w", scramPlus, ErrMechanism)
		}
		x.plus, x.step = true, x.scramFirst
	default:
		return nil, fmt.Errorf("%q: %w", mech, ErrMechanism)
	}
	return x, nil
}

// Next takes the client's response, decoded from base64, and gives the
// challenge to send. nil says that the client sent no initial response; one
// that is there but empty ("=") is not nil. When done is true there is nothing
// more to send but the protocol's OK, and Account says who it is. Errors are
// those of Authenticate, ErrMalformed and ErrChannelBinding; the exchange is over then.
//
// A client that cancels with "*" is the caller's to answer; the exchange is
// then dropped and costs nothing.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if len(response) > MaxResponse {
		return nil, false, ErrMalformed
	}
	challenge, done, err = x.step(ctx, response)
	if done || err != nil { // it is over
		x.step = func(context.Context, []byte) ([]byte, bool, error) { return nil, false, ErrMalformed }
	}
	return challenge, done, err
}

// Account is who logged in, after Next said done.
func (x *Exchange) Account() Account { return x.account }

// plain is RFC 4616: authzid NUL authcid NUL password.
func (x *Exchange) plain(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	f := bytes.Split(response, []byte{0})
	if len(f) != 3 || len(f[1]) == 0 || !utf8.Valid(response) {
		return nil, false, ErrMalformed
	}
	user := string(f[1])
	if authzid := string(f[0]); authzid != "" && !strings.EqualFold(authzid, user) {
		user = "" // RFC 4616 §2: to act for another; nobody may, and it costs what any guess costs
	}
	return x.check(ctx, user, string(f[2]))
}

func (x *Exchange) check(ctx context.Context, user, password string) ([]byte, bool, error) {
	var err error
	x.account, err = x.d.Authenticate(ctx, user, password, x.client)
	return nil, err == nil, err
}

// loginUser and loginPassword are draft-murchison-sasl-login, for old clients of SMTP.
func (x *Exchange) loginUser(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte("Username:"), false, nil
	}
	if len(response) == 0 {
		return nil, false, ErrMalformed
	}
	x.user = string(response)
	x.step = x.loginPassword
	return []byte("Password:"), false, nil
}

func (x *Exchange) loginPassword(ctx context.Context, response []byte) ([]byte, bool, error) {
	return x.check(ctx, x.user, string(response))
}

func (x *Exchange) failed(err error) error {
	x.d.report(x.client, x.login, err, time.Since(x.start))
	return err
}
