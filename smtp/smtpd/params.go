package smtpd

import (
	"strconv"
	"strings"
	"time"

	"posthouse/internal/mail"
)

// The parameters of MAIL and RCPT, each in the words of its RFC. What is not
// offered to this client is 555; what is malformed, or said twice, 501 (RFC 5321
// §4.1.1.11).

var (
	errUnknownParam = mail.Refuse(555, mail.Enhanced{5, 5, 4}, "Unknown parameter")
	errParam        = mail.Refuse(501, mail.Enhanced{5, 5, 4}, "Malformed or repeated parameter")
	errParamLogin   = mail.Refuse(530, mail.Enhanced{5, 7, 0}, "Authentication is required for this parameter")
)

// param is one of them; its key is in capitals.
type param struct {
	key, value string
	hasValue   bool
}

// eachParam splits parameters and hands them out. An "=" in a value is for AUTH
// alone (RFC 4954 §5); elsewhere xtext stands for it.
func (c *conn) eachParam(params []string, f func(param) *mail.Error) *mail.Error {
	if len(params) == 0 {
		return nil
	}
	if !c.esmtp {
		return mail.Refuse(555, mail.Enhanced{5, 5, 4}, "Parameters need EHLO")
	}
	seen := make(map[string]bool, len(params))
	for _, s := range params {
		key, value, hasValue := strings.Cut(s, "=")
		p := param{strings.ToUpper(key), value, hasValue}
		if seen[p.key] || hasValue && value == "" || strings.Contains(value, "=") && p.key != "AUTH" {
			return errParam
		}
		seen[p.key] = true
		if e := f(p); e != nil {
			return e
		}
	}
	return nil
}

// mailParams reads the parameters of MAIL into tx.
func (c *conn) mailParams(tx *transaction, params []string) *mail.Error {
	now := time.Now()
	if e := c.eachParam(params, func(p param) *mail.Error { return c.mailParam(tx, p, now) }); e != nil {
		return e
	}
	// RFC 4865 §4: what is to be delivered before it is released never can be.
	if !tx.HoldUntil.IsZero() && !tx.DeliverBy.IsZero() && !tx.DeliverBy.After(tx.HoldUntil) {
		return mail.Refuse(501, mail.Enhanced{5, 5, 4}, "It would have to be delivered before it is released")
	}
	return nil
}

func (c *conn) mailParam(tx *transaction, p param, now time.Time) *mail.Error {
	switch p.key {
	case "SIZE":
		return c.size(tx, p.value)
	case "BODY":
		return bodyParam(tx, p.value)
	case "SMTPUTF8":
		tx.SMTPUTF8 = true
		return unless(!p.hasValue)
	case "AUTH": // RFC 4954 §5: nobody is trusted to say it, so it is as if it said <>
		if !c.mode.offersAuth() {
			return errUnknownParam
		}
		return unless(p.hasValue)
	case "REQUIRETLS": // RFC 8689 §4.2.1
		if !c.client.TLS {
			return errUnknownParam // it was not offered
		}
		tx.RequireTLS = true
		return unless(!p.hasValue)
	case "RET", "ENVID":
		return dsnParam(tx, p)
	case "BY", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY":
		if !c.mode.submits() {
			return errUnknownParam
		}
		if c.account.ID == 0 {
			return errParamLogin
		}
		return c.submissionParam(tx, p, now)
	}
	return errUnknownParam
}

// unless is errParam unless ok.
func unless(ok bool) *mail.Error {
	if ok {
		return nil
	}
	return errParam
}

func (c *conn) size(tx *transaction, value string) *mail.Error {
	n, err := parseSize(value)
	if err != nil {
		return errParam
	}
	if limit := c.srv.cfg.Limits.Message; n > limit {
		return mail.Refuse(552, mail.Enhanced{5, 3, 4}, tooLarge(limit))
	}
	tx.size = n
	return nil
}

func bodyParam(tx *transaction, value string) *mail.Error {
	switch strings.ToUpper(value) {
	case "7BIT":
	case "8BITMIME":
		tx.Body = mail.Body8Bit
	case "BINARYMIME":
		tx.Body = mail.BodyBinary
	default:
		return errParam
	}
	return nil
}

// submissionParam is one of those that only who logged in may use.
func (c *conn) submissionParam(tx *transaction, p param, now time.Time) *mail.Error {
	switch p.key {
	case "BY":
		return c.deliverBy(tx, p.value, now)
	case "MT-PRIORITY": // RFC 6710 §3: "0", or a digit with or without a minus
		n, err := strconv.ParseInt(p.value, 10, 8)
		if err != nil || n < -9 || n > 9 || strconv.FormatInt(n, 10) != p.value {
			return errParam
		}
		tx.Priority = int8(n)
		return nil
	}
	return c.hold(tx, p, now)
}

// deliverBy is BY, RFC 2852 §4: seconds from now, which for N may have passed
// already, and what to do then.
func (c *conn) deliverBy(tx *transaction, value string, now time.Time) *mail.Error {
	number, mode, _ := strings.Cut(value, ";")
	digits := strings.TrimLeft(number, "+-")
	seconds, err := strconv.ParseInt(number, 10, 64)
	if err != nil || len(digits) > 9 || len(number)-len(digits) > 1 {
		return errParam
	}
	switch strings.ToUpper(mode) {
	case "N":
	case "NT":
		tx.ByMode.Trace = true
	case "R":
		tx.ByMode.Return = true
	case "RT":
		tx.ByMode = mail.ByMode{Return: true, Trace: true}
	default:
		return errParam
	}
	by := time.Duration(seconds) * time.Second
	if tx.ByMode.Return && by < c.srv.cfg.Limits.DeliverBy {
		return mail.Refuse(501, mail.Enhanced{5, 5, 4}, "Nothing can be promised within "+number+" s")
	}
	tx.DeliverBy = now.Add(by)
	return nil
}

// hold is HOLDFOR or HOLDUNTIL, RFC 4865 §4: one of them, and neither in the
// past nor farther ahead than was offered.
func (c *conn) hold(tx *transaction, p param, now time.Time) *mail.Error {
	if !tx.HoldUntil.IsZero() {
		return errParam
	}
	if p.key == "HOLDFOR" {
		n, err := strconv.ParseUint(p.value, 10, 64)
		if err != nil || len(p.value) > 9 || n == 0 {
			return errParam
		}
		tx.HoldUntil = now.Add(time.Duration(n) * time.Second)
	} else {
		t, err := time.Parse(time.RFC3339, strings.ToUpper(p.value))
		if err != nil {
			return errParam
		}
		tx.HoldUntil = t
	}
	limit := c.srv.cfg.Limits.Hold
	if !tx.HoldUntil.After(now) || tx.HoldUntil.Sub(now) > limit {
		return mail.Refuse(501, mail.Enhanced{5, 5, 4}, "A message can be held for "+strconv.Itoa(int(limit/time.Second))+" s at most, and not into the past")
	}
	return nil
}
