package smtpd

import (
	"errors"
	"fmt"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"posthouse/internal/directory"
	"posthouse/internal/events"
)

// AuthMechanisms is asked by go-smtp for its own EHLO reply, which nobody sees.
func (s *session) AuthMechanisms() []string { return nil }

// Auth begins an exchange (RFC 4954).
func (s *session) Auth(mech string) (sasl.Server, error) {
	c := s.c
	x, err := c.srv.dir.Exchange(mech, c.client)
	if err != nil {
		return nil, &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Unknown mechanism"}
	}
	return &login{c: c, x: x}, nil
}

// login is an exchange as go-smtp runs it.
type login struct {
	c *conn
	x exchange
}

// Next implements sasl.Server. go-smtp tells "no initial response" by nil, as
// the directory does.
func (l *login) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := l.x.Next(l.c.ctx, response)
	if err != nil {
		return nil, false, l.c.loginFailed(err)
	}
	if done {
		return nil, true, l.c.loggedIn(l.x.Account())
	}
	return challenge, false, nil
}

// loginFailed is the reply to a failure. Throttled clients and bad passwords
// count towards the end of the session; our own troubles do not.
func (c *conn) loginFailed(err error) error {
	e := &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Cannot check the login, try again later"}
	result := "error"
	var slow *directory.Throttled
	switch {
	case errors.As(err, &slow):
		result, e.Message = "throttled", fmt.Sprintf("Too many failures, try again in %d s", int(slow.RetryAfter/time.Second)+1)
		c.failures++
	case errors.Is(err, directory.ErrBadCredentials):
		result, e = "failed", &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Bad user name or password"}
		c.failures++
	case errors.Is(err, directory.ErrChannelBinding): // RFC 4954 §6: as a login that failed
		result, e = "failed", &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "The channel binding does not fit this connection"}
		c.failures++
	case errors.Is(err, directory.ErrDisabled): // RFC 5248
		result, e = "failed", &smtp.SMTPError{Code: 525, EnhancedCode: smtp.EnhancedCode{5, 7, 13}, Message: "Account disabled"}
		c.failures++
	case errors.Is(err, directory.ErrMalformed):
		result, e = "failed", &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 2}, Message: "Malformed response"}
		c.failures++
	}
	events.SMTPAuth.WithLabelValues(result).Inc()
	c.log.Warn("login failed", "event", "smtp.auth", "code", e.Code, "error", err.Error())
	if c.failures >= c.srv.cfg.Limits.AuthFailures {
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many failed logins"}
	}
	return e
}

// loggedIn counts the session to its account and watches over the login.
func (c *conn) loggedIn(a directory.Account) error {
	release := func() {}
	if gate := c.srv.cfg.Admission; gate != nil {
		r, ok := gate.AdmitAccount(a.ID)
		if !ok {
			events.SMTPRejected.WithLabelValues("connections").Inc()
			return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many connections of this account"}
		}
		release = r
	}
	revoked, forget := c.srv.dir.Revoked(a.ID)
	c.revoked = revoked
	c.farewell = func() { forget(); release() }
	c.account = a
	c.log = c.log.With("account", a.Address.String())
	events.SMTPAuth.WithLabelValues("ok").Inc()
	c.log.Info("logged in", "event", "smtp.auth")
	return nil
}
