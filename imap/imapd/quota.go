package imapd

import (
	"context"
	"strconv"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// This file is QUOTA with the resources STORAGE and MESSAGE (RFC 9208). An
// account with limits is one quota root, named "" or, where it is another's, as
// its INBOX is; one without has none. What would go over a limit is refused with
// OVERQUOTA by whoever adds messages.

const quotaRoot = ""

func init() {
	statusItems["DELETED"] = func(m *mailstore.Mailbox, _ int64) uint64 { return uint64(m.Deleted) }
	statusTexts["DELETED-STORAGE"] = func(s *session, ctx context.Context, m *mailstore.Mailbox) (string, error) {
		if m.Deleted == 0 {
			return "0", nil
		}
		n, err := s.srv.Store.DeletedBytes(ctx, m.Account, m.ID)
		return strconv.FormatInt(n, 10), err
	}
}

// cmdGetQuota is GETQUOTA (§4.1.2).
func (s *session) cmdGetQuota(ctx context.Context, c *command) error {
	root, err := c.lex.Astring()
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	acct, err := s.rootAccount(ctx, root)
	if err != nil {
		return err
	}
	q, err := s.srv.Store.Quota(ctx, acct)
	if err != nil {
		return err
	}
	if !limited(&q) {
		return errNoQuotaRoot
	}
	s.writeQuota(root, &q)
	return nil
}

var errNoQuotaRoot = no(imap.ResponseCodeNonExistent, "No such quota root")

// rootAccount is the account of a quota root: the user's, or one in which there is
// a mailbox that the user may read.
func (s *session) rootAccount(ctx context.Context, root string) (mailstore.AccountID, error) {
	if root == quotaRoot {
		return s.acct(), nil
	}
	boxes, err := s.srv.Store.Visible(ctx, s.acct())
	if err != nil {
		return 0, err
	}
	for _, m := range boxes {
		if m.Root() == root && m.Rights.Has(mailstore.RightRead) {
			return m.Account, nil
		}
	}
	return 0, errNoQuotaRoot
}

// cmdGetQuotaRoot is GETQUOTAROOT (§4.1.3). The mailbox need not be there: a
// client may ask what would hold for one that it creates. Another's must, and be
// one that the user may read.
func (s *session) cmdGetQuotaRoot(ctx context.Context, c *command) error {
	name, err := s.mailboxArg(c.lex)
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	acct, root := s.acct(), quotaRoot
	if foreign(name) {
		box, err := s.reach(ctx, name, mailstore.RightRead)
		if err != nil {
			return err
		}
		acct, root = box.Account, box.Root()
	}
	q, err := s.srv.Store.Quota(ctx, acct)
	if err != nil {
		return err
	}
	s.enc.Raw("* QUOTAROOT ")
	s.enc.Mailbox(name, s.utf8())
	if limited(&q) {
		s.enc.SP()
		s.enc.String(root)
	}
	s.enc.CRLF()
	if limited(&q) {
		s.writeQuota(root, &q)
	}
	return nil
}

// cmdSetQuota is SETQUOTA (§4.1.1), which QUOTASET would announce: limits are
// the postmaster's to set.
func (s *session) cmdSetQuota(ctx context.Context, c *command) error {
	if _, err := c.lex.Astring(); err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	if err := c.lex.List(func() error {
		if _, err := c.lex.Atom(); err != nil {
			return err
		}
		if err := c.lex.SP(); err != nil {
			return err
		}
		_, err := c.lex.Number64()
		return err
	}); err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	return no(imap.ResponseCodeNoPerm, "Quotas are not set by IMAP here")
}

func limited(q *mailstore.Quota) bool { return q.LimitBytes != nil || q.LimitMessages != nil }

// writeQuota writes the QUOTA response (§4.2.1). STORAGE counts in units of 1,024
// octets; both numbers are rounded up, so that a full account reads as full.
func (s *session) writeQuota(root string, q *mailstore.Quota) {
	s.enc.Raw("* QUOTA ")
	s.enc.String(root)
	s.enc.Raw(" (")
	if q.LimitBytes != nil {
		s.enc.Raw("STORAGE ")
		s.enc.Number(kibibytes(q.Bytes))
		s.enc.SP()
		s.enc.Number(kibibytes(*q.LimitBytes))
	}
	if q.LimitMessages != nil {
		if q.LimitBytes != nil {
			s.enc.SP()
		}
		s.enc.Raw("MESSAGE ")
		s.enc.Number(uint64(q.Messages))
		s.enc.SP()
		s.enc.Number(uint64(*q.LimitMessages))
	}
	s.enc.Raw(")\r\n")
}

func kibibytes(octets int64) uint64 { return (uint64(max(octets, 0)) + 1023) / 1024 }
