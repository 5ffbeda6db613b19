package mailstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// This file keeps the access control lists of mailboxes (RFC 4314). A list is of
// a mailbox row, so it follows the mailbox through RENAME and goes with it; what
// rights follow from it stands in reach.go.

// MaxGrants bounds the entries of one mailbox's list.
const MaxGrants = 1000

// ErrTooManyGrants: MaxGrants are there already.
var ErrTooManyGrants error = mail.Refuse(550, mail.Enhanced{5, 2, 0}, "the mailbox has as many entries of rights as it can")

// Grantee is who an entry is about: an account, or, with the zero account,
// everybody who has an account in the owner's domain. Negative entries take
// rights away from them, whoever grants these.
type Grantee struct {
	Account  AccountID
	Negative bool
}

// Grant is an entry of a list.
type Grant struct {
	Grantee
	Address string // of the account; empty for everybody
	Rights  Rights
}

// Anyone is the identifier of everybody with an account in the owner's domain.
const Anyone = "anyone"

// Identifier is the entry's in RFC 4314.
func (g *Grant) Identifier() string {
	name := g.Address
	if g.Account == 0 {
		name = Anyone
	}
	if g.Negative {
		return "-" + name
	}
	return name
}

// RightsOp is what SetACL does with the rights that are there.
type RightsOp uint8

// The three forms of SETACL (RFC 4314 §3.1).
const (
	SetRights RightsOp = iota
	AddRights
	RemoveRights
)

// ACL gives the mailbox's list: what the owner has first, then the others by
// address. Rights that the owner was never denied, and those that no owner can
// be, are in it without a row.
func (s *Store) ACL(ctx context.Context, mbox MailboxID) ([]Grant, error) {
	rows, err := s.pool.Query(ctx, `SELECT coalesce(l.grantee_id, 0), l.negative, coalesce(a.address, ''), l.rights, m.account_id, o.address
		FROM mailbox m JOIN account o ON o.id = m.account_id LEFT JOIN acl l ON l.mailbox_id = m.id LEFT JOIN account a ON a.id = l.grantee_id
		WHERE m.id = $1 AND m.deleted_at IS NULL ORDER BY a.address COLLATE "C" NULLS FIRST, l.negative`, mbox)
	if err != nil {
		return nil, dbError("read rights", err)
	}
	var owner *Grant
	var list []Grant
	var g Grant
	var negative *bool // NULL: there is no row
	var rights *int64
	var of AccountID
	var address string
	_, err = pgx.ForEachRow(rows, []any{&g.Account, &negative, &g.Address, &rights, &of, &address}, func() error {
		if owner == nil {
			owner = &Grant{Grantee{Account: of}, address, AllRights}
		}
		if negative == nil {
			return nil
		}
		g.Negative, g.Rights = *negative, Rights(*rights)
		if g.Account == of && !g.Negative {
			owner.Rights = g.Rights | OwnerKeeps
		} else {
			list = append(list, g)
		}
		return nil
	})
	if err == nil && owner == nil {
		err = ErrNoMailbox
	}
	if err != nil {
		return nil, dbError("read rights", err)
	}
	return append([]Grant{*owner}, list...), nil
}

// SetACL changes an entry of the mailbox's list. One without rights goes, but for
// the owner's, which says that the owner has only what none can lose.
// ErrNoMailbox, ErrNoAccount, ErrTooManyGrants.
func (s *Store) SetACL(ctx context.Context, mbox MailboxID, who Grantee, op RightsOp, rights Rights) error {
	var owner AccountID
	var domain *string
	err := s.inTx(ctx, "set rights", func(tx pgx.Tx) (err error) {
		owner, domain, err = setACL(ctx, tx, mbox, who, op, rights)
		return err
	})
	if err != nil {
		return err
	}
	s.changedRights(mbox, owner, who)
	if domain != nil {
		s.changedAnyone(*domain)
	}
	return nil
}

// DeleteACL removes an entry. It is no error if it is not there.
func (s *Store) DeleteACL(ctx context.Context, mbox MailboxID, who Grantee) error {
	return s.SetACL(ctx, mbox, who, SetRights, 0)
}

// changedRights wakes those who show the mailbox: they look at their rights.
func (s *Store) changedRights(mbox MailboxID, owner AccountID, who Grantee) {
	s.changed(mbox)
	s.changedAccount(owner)
	if who.Account != 0 && who.Account != owner {
		s.changedAccount(who.Account)
	}
}

// setACL is the transaction; changes of one list wait for each other. domain is
// that of an entry of everybody's.
func setACL(ctx context.Context, tx pgx.Tx, mbox MailboxID, who Grantee, op RightsOp, rights Rights) (owner AccountID, domain *string, err error) {
	boxes, err := lockMailboxes(ctx, tx, mbox)
	if err != nil {
		return 0, nil, err
	}
	owner = boxes[mbox].Account
	var grantee *AccountID
	if who.Account == 0 {
		var d string
		if err := tx.QueryRow(ctx, `SELECT split_part(address, '@', 2) FROM account WHERE id = $1`, owner).Scan(&d); err != nil {
			return 0, nil, err
		}
		domain = &d
	} else {
		grantee = &who.Account
	}
	before := Rights(0)
	if who.Account == owner && !who.Negative {
		before = AllRights
	}
	var have int64
	switch err := tx.QueryRow(ctx, `SELECT rights FROM acl WHERE mailbox_id = $1 AND grantee_id IS NOT DISTINCT FROM $2 AND domain IS NOT DISTINCT FROM $3 AND negative = $4`,
		mbox, grantee, domain, who.Negative).Scan(&have); {
	case err == nil:
		before = Rights(have)
	case !errors.Is(err, pgx.ErrNoRows):
		return 0, nil, err
	}
	switch op {
	case AddRights:
		rights |= before
	case RemoveRights:
		rights = before &^ rights
	}
	return owner, domain, putGrant(ctx, tx, mbox, owner, grantee, domain, who, rights)
}

// putGrant writes an entry, or removes it.
func putGrant(ctx context.Context, tx pgx.Tx, mbox MailboxID, owner AccountID, grantee *AccountID, domain *string, who Grantee, rights Rights) error {
	owners := who.Account == owner && !who.Negative
	if !owners && rights == 0 || owners && rights == AllRights {
		_, err := tx.Exec(ctx, `DELETE FROM acl WHERE mailbox_id = $1 AND grantee_id IS NOT DISTINCT FROM $2 AND domain IS NOT DISTINCT FROM $3 AND negative = $4`,
			mbox, grantee, domain, who.Negative)
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO acl (mailbox_id, grantee_id, domain, negative, rights) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (mailbox_id, grantee_id, domain, negative) DO UPDATE SET rights = excluded.rights`, mbox, grantee, domain, who.Negative, int64(rights))
	if isForeignKey(err) {
		return ErrNoAccount
	}
	if err != nil {
		return err
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM acl WHERE mailbox_id = $1`, mbox).Scan(&n); err != nil {
		return err
	}
	if n > MaxGrants {
		return ErrTooManyGrants
	}
	return nil
}

// inheritACL gives a new mailbox the list of the one above it (RFC 4314 §4). What
// stands at the top has none, unless another user made it: then it is INBOX's,
// by whose right k it came.
func inheritACL(ctx context.Context, tx pgx.Tx, m Mailbox, maker AccountID) error {
	above := parents(m.Name)
	from := inbox
	switch {
	case len(above) > 0:
		from = above[len(above)-1]
	case maker == m.Account:
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO acl (mailbox_id, grantee_id, domain, negative, rights)
		SELECT $3, l.grantee_id, l.domain, l.negative, l.rights FROM mailbox p JOIN acl l ON l.mailbox_id = p.id
		WHERE p.account_id = $1 AND p.name = $2 AND p.deleted_at IS NULL`, m.Account, from, m.ID)
	if err != nil {
		return fmt.Errorf("inherit the rights of %q: %w", from, err)
	}
	return nil
}
