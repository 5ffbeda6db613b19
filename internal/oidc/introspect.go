package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// introspect asks an issuer for a token (RFC 7662). The answer is not kept: a
// token that was taken back is of no use from that moment on.
func (v *Verifier) introspect(ctx context.Context, i *Issuer, token string) (Identity, error) {
	where, err := v.whereToAsk(ctx, i)
	if err != nil {
		return Identity{}, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where, strings.NewReader(form.Encode()))
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// RFC 6749 §2.3.1: both are form-encoded before they become a user and a password.
	req.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.ClientSecret))
	var c claims
	if err := v.do(req, &c); err != nil {
		// 401 too: it is our own password that is wrong, and not the user's.
		v.log.Warn("an issuer of tokens does not answer for one", "event", "oidc.introspect", "issuer", i.Name, "err", err)
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return i.judgeAnswer(&c)
}

// judgeAnswer reads an answer. It may leave out the issuer, which is who
// answered; and the audience, where it names the client that the token is for.
func (i *Issuer) judgeAnswer(c *claims) (Identity, error) {
	var active bool
	if json.Unmarshal(c.all["active"], &active) != nil || !active {
		return Identity{}, fmt.Errorf("%w: the issuer calls it inactive", ErrToken)
	}
	if c.Issuer == "" {
		c.Issuer = i.URL
	}
	if client := c.text("client_id"); len(c.Audience) == 0 && client != "" {
		c.Audience = append(c.Audience, client)
	}
	return i.judge(c, i.Audiences)
}

func (v *Verifier) whereToAsk(ctx context.Context, i *Issuer) (string, error) {
	where := i.IntrospectURL
	if where == "" {
		a, err := v.provider(i.URL).current(ctx, v, i, false)
		if err != nil {
			return "", err
		}
		where = a.config.Introspect
	}
	if err := CheckURL(where, i.Insecure); err != nil {
		return "", fmt.Errorf("%w: where to ask: %w", ErrUnavailable, err)
	}
	return where, nil
}
