package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"posthouse/internal/mail"
	"posthouse/internal/oidc"
)

// Logging in by the token of an issuer: OAUTHBEARER (RFC 7628), and XOAUTH2, as
// Google and Microsoft had it before. The token alone says who it is; a name
// beside it must be the account's, or one that the account may write as.
//
// A token is proven before an account is looked at, so that nobody learns from
// it who is here. A session lives on after its token has expired, until it is
// closed or the account is disabled or removed.

// errNoToken says that the client asked what it would need.
var errNoToken = fmt.Errorf("no token: %w", ErrBadCredentials)

// bearerFirst reads the client's only message (RFC 7628 §3.1).
func (x *Exchange) bearerFirst(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	gs2, pairs, ok := bytes.Cut(response, []byte{1})
	if !ok || !utf8.Valid(response) {
		return nil, false, ErrMalformed
	}
	// RFC 5801 §4: flag, authzid. Of channel bindings OAUTHBEARER has none.
	f := strings.Split(string(gs2), ",")
	if len(f) != 3 || f[2] != "" || f[0] != "n" && f[0] != "y" {
		return nil, false, ErrMalformed
	}
	user, named := strings.CutPrefix(f[1], "a=")
	if !named && f[1] != "" {
		return nil, false, ErrMalformed
	}
	user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(user)
	values, ok := keyValues(pairs)
	if !ok {
		return nil, false, ErrMalformed
	}
	return x.byToken(ctx, user, values["auth"], x.bearerRefusal)
}

// xoauth2First reads "user=" address "auth=Bearer" token.
func (x *Exchange) xoauth2First(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	values, ok := keyValues(response)
	if !ok || !utf8.Valid(response) || values["user"] == "" {
		return nil, false, ErrMalformed
	}
	return x.byToken(ctx, values["user"], values["auth"], x.xoauth2Refusal)
}

// keyValues reads key=value pairs, each with %x01 behind it, and one more at the end.
func keyValues(b []byte) (map[string]string, bool) {
	b, ended := bytes.CutSuffix(b, []byte{1})
	if !ended {
		return nil, false
	}
	values := make(map[string]string)
	for pair := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{1}), []byte{1}) {
		if len(pair) == 0 {
			continue
		}
		key, value, ok := strings.Cut(string(pair), "=")
		if _, twice := values[strings.ToLower(key)]; !ok || twice {
			return nil, false
		}
		values[strings.ToLower(key)] = value
	}
	return values, true
}

// byToken checks the token, and answers a bad one as the mechanism has it: a
// challenge that says why, to which the client says something without meaning,
// and then the failure (RFC 7628 §3.2.3).
func (x *Exchange) byToken(ctx context.Context, user, auth string, refusal func() []byte) ([]byte, bool, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(auth), " ")
	if auth != "" && !strings.EqualFold(scheme, "Bearer") {
		return nil, false, ErrMalformed
	}
	err := errNoToken
	if token = strings.TrimSpace(token); token != "" {
		x.account, err = x.d.authenticateToken(ctx, x, user, token)
		x.d.report(x.client, x.login, err, time.Since(x.start))
	}
	if err == nil {
		return nil, true, nil
	}
	if !errors.Is(err, ErrBadCredentials) {
		return nil, false, err
	}
	x.step = func(context.Context, []byte) ([]byte, bool, error) { return nil, false, err }
	return refusal(), false, nil
}

// authenticateToken finds the account that a token opens.
func (d *Directory) authenticateToken(ctx context.Context, x *Exchange, user, token string) (Account, error) {
	asked := &login{}
	if user != "" {
		var err error
		if asked, err = d.newLogin(ctx, user); err != nil {
			return Account{}, err
		}
	}
	guess := string(mac(d.hasher.scram, "token", token))
	at := d.throttle.enter(x.client, asked.name, guess)
	defer at.leave()
	if err := d.read(ctx, asked, at); err != nil {
		return Account{}, err
	}
	addr, err := d.whoseToken(ctx, token)
	switch {
	case errors.Is(err, oidc.ErrExpired): // its owner's, and no guess
		return Account{}, fmt.Errorf("%w: %w", ErrBadCredentials, err)
	case errors.Is(err, oidc.ErrToken):
		d.log.Info("a token was refused", "event", "login.token", "protocol", x.client.Protocol, "remote", x.client.Remote.String(), "reason", err.Error())
		if err := at.failed(ctx); err != nil {
			return Account{}, err
		}
		return Account{}, fmt.Errorf("%w: %w", ErrBadCredentials, err)
	case err != nil:
		return Account{}, err
	}
	return d.openByToken(ctx, x, asked, addr, guess)
}

// openByToken lets the owner of a proven token in, under the name asked for.
func (d *Directory) openByToken(ctx context.Context, x *Exchange, asked *login, addr mail.Address, guess string) (Account, error) {
	l := &login{name: clean(key(fold(addr)))}
	at := d.throttle.enter(x.client, l.name, guess)
	defer at.leave()
	if err := d.read(ctx, l, at); err != nil {
		return Account{}, err
	}
	x.login = l
	ok := l.exists
	if ok && asked.name != "" && asked.name != l.name {
		var err error
		if ok, err = d.mayBe(ctx, l.row.ID, asked.name); err != nil {
			return Account{}, err
		}
	}
	return d.finish(ctx, l, at, ok)
}

// mayBe reports whether an account may call itself by another name when it logs
// in: one that it may write as.
func (d *Directory) mayBe(ctx context.Context, account int64, name string) (bool, error) {
	a, err := mail.ParseAddress(name)
	if err != nil {
		return false, nil
	}
	return d.MaySendAs(ctx, account, a)
}

// whoseToken asks the verifier with all issuers. The errors are those of oidc.
func (d *Directory) whoseToken(ctx context.Context, token string) (mail.Address, error) {
	issuers := d.tokens()
	list := make([]oidc.Issuer, 0, len(issuers))
	for n := range issuers {
		full, err := d.forVerifier(&issuers[n])
		if err != nil {
			d.log.Error("an issuer cannot be used", "event", "signin.sealed", "issuer", issuers[n].Name, "err", err)
			continue
		}
		list = append(list, full)
	}
	id, err := d.opts.Tokens.Verify(ctx, list, token)
	if err != nil {
		return mail.Address{}, err
	}
	n := slices.IndexFunc(issuers, func(i Issuer) bool { return i.Name == id.Issuer })
	return issuers[n].addressOf(id)
}

// bearerRefusal is RFC 7628 §3.2.2: what is wrong, and where a token is to be had.
func (x *Exchange) bearerRefusal() []byte {
	r := struct {
		Status string `json:"status"`
		Scope  string `json:"scope,omitempty"`
		Config string `json:"openid-configuration,omitempty"`
	}{Status: "invalid_token"}
	if list := x.d.tokens(); len(list) > 0 {
		r.Scope = list[0].Scope
		r.Config = strings.TrimSuffix(list[0].URL, "/") + "/.well-known/openid-configuration"
	}
	return jsonText(r)
}

// xoauth2Refusal is what clients of XOAUTH2 know.
func (x *Exchange) xoauth2Refusal() []byte {
	r := struct {
		Status  string `json:"status"`
		Schemes string `json:"schemes"`
		Scope   string `json:"scope,omitempty"`
	}{Status: "401", Schemes: "bearer"}
	if list := x.d.tokens(); len(list) > 0 {
		r.Scope = list[0].Scope
	}
	return jsonText(r)
}

func jsonText(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}
