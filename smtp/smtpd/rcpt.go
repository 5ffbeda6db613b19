package smtpd

import (
	"context"
	"errors"
	"strings"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

// accounts is what smtpd asks of the directory. siteAccounts is it; the tests
// of the protocol alone have a small one in memory.
type accounts interface {
	Resolve(ctx context.Context, rcpt mail.Address) (directory.Resolution, error)
	MaySendAs(ctx context.Context, account int64, from mail.Address) (bool, error)
	Mechanisms(c directory.Client) []string
	Exchange(mech string, c directory.Client) (exchange, error)
	Revoked(account int64) (<-chan struct{}, func())
}

// exchange is one SASL dialogue, see directory.Exchange.
type exchange interface {
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	Account() directory.Account
}

// siteAccounts gives Exchange its interface type.
type siteAccounts struct{ *directory.Directory }

func (s siteAccounts) Exchange(mech string, c directory.Client) (exchange, error) {
	return s.NewExchange(mech, c)
}

// recipient decides whether mail for to, of so many octets, is taken.
//
// Over quota is answered 552 5.2.2 (mailstore.ErrOverQuota), not 452: a full
// mailbox is rarely emptied within days, and a sender is better told at once,
// as Dovecot does.
func (c *conn) recipient(to mail.Address, size int64) error {
	if err := c.mayWrite(c.srv.cfg.MaySend, len(c.tx.Recipients)+1); err != nil {
		return err
	}
	res, back, err := c.resolve(to)
	if err != nil {
		if _, ok := errors.AsType[*mail.Error](err); ok {
			return err
		}
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot look up the recipient, try again later", err)
	}
	switch res.Status {
	case directory.OK:
		return c.roomFor(res.Accounts, size)
	case directory.NoSuchUser:
		return mail.Refuse(550, mail.Enhanced{5, 1, 1}, "No such user here")
	case directory.Disabled:
		return mail.Refuse(550, mail.Enhanced{5, 2, 1}, "Account disabled")
	}
	if back {
		return nil
	}
	return c.relayed(to)
}

// resolve asks the directory. back says that the address stands for another one,
// whose mail was forwarded here, and which res is about.
func (c *conn) resolve(to mail.Address) (res directory.Resolution, back bool, err error) {
	cfg := &c.srv.cfg
	res, err = c.srv.dir.Resolve(c.ctx, to)
	elsewhere := res.Status == directory.NotLocal || res.Status == directory.Backup
	switch {
	case err != nil:
	case elsewhere && strings.EqualFold(to.Local, "postmaster") && strings.EqualFold(to.Domain, cfg.Hostname):
		// RFC 5321 §4.5.1: of this host, whose name need be no mail domain.
		res, err = c.srv.dir.Resolve(c.ctx, mail.Address{Local: "postmaster"})
	case !elsewhere && cfg.Return != nil:
		var whom mail.Address
		if whom, err = cfg.Return(c.ctx, to); err == nil && !whom.IsZero() {
			res, err = c.srv.dir.Resolve(c.ctx, whom)
			return res, true, err
		}
	}
	return res, false, err
}

// mayWrite asks whether the account may write to so many recipients.
func (c *conn) mayWrite(ask func(context.Context, int64, int) error, recipients int) error {
	if c.account.ID == 0 || ask == nil {
		return nil
	}
	err := ask(c.ctx, c.account.ID, recipients)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return err
	}
	return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot check your sending limits, try again later", err)
}

// relayed decides on mail for other domains. No form of address gets around
// it: "%", "!", quoted "@" and routes mean nothing here, and a literal is no
// domain of ours.
func (c *conn) relayed(to mail.Address) error {
	if c.srv.cfg.Capture {
		if err := c.inject(to); err != nil {
			return err
		}
	}
	if c.account.ID != 0 || c.mode == LocalMX && c.srv.cfg.Capture {
		return nil
	}
	if c.srv.cfg.Relays == nil {
		return mail.Refuse(550, mail.Enhanced{5, 7, 1}, "Relaying denied")
	}
	err := c.srv.cfg.Relays(c.ctx, to)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return err
	}
	return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot look up the recipient, try again later", err)
}

func (c *conn) roomFor(targets []directory.Target, size int64) error {
	if c.srv.cfg.QuotaOK == nil {
		return nil
	}
	for _, t := range targets {
		if t.Unlimited {
			continue
		}
		err := c.srv.cfg.QuotaOK(c.ctx, t.Account, size)
		if err == nil {
			continue
		}
		if mail.ClassOf(err) == mail.Permanent {
			return err
		}
		return mail.Defer(451, mail.Enhanced{4, 3, 0}, "Cannot check the mailbox, try again later", err)
	}
	return nil
}
