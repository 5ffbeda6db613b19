package mailstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"
)

// This file resolves the names that a user writes to mailboxes, the user's own
// and those of others that rights are given in. It is the one place where that is
// decided: imapd's session.reach asks it, and checks the right that a command
// needs.

// The namespaces of mailboxes of others (RFC 2342). Below them stands the
// address of the account, which by itself is its INBOX, and below that its other
// mailboxes.
const (
	OtherUsers = "Other Users" // of people
	Shared     = "Shared"      // of accounts that nobody logs in to
)

// Reached is a mailbox as a user reaches it. Name is as that user writes it:
// what answers show. With the mailbox's account and Own the store's methods that
// take a name find it.
type Reached struct {
	Mailbox
	Own      string // name in the account that it belongs to
	Rights   Rights // of the user
	Personal bool   // the user's own
	Shared   bool   // of an account that nobody logs in to
}

// Root is the name that all names in the mailbox's account begin with; empty for
// the user's own.
func (r *Reached) Root() string {
	if r.Personal {
		return ""
	}
	return strings.TrimSuffix(r.Name, Delimiter+r.Own)
}

// Foreign splits a name in the namespace of others' mailboxes: address is the
// account's, own the name within it. ok is false for any other name.
func Foreign(name string) (space, address, own string, ok bool) {
	space, rest, _ := strings.Cut(norm.NFC.String(name), Delimiter)
	if space != OtherUsers && space != Shared {
		return "", "", "", false
	}
	at := strings.IndexByte(rest, '@') // a local part may have the delimiter in it, a domain cannot
	if at < 0 {
		return space, rest, "", true // nobody's
	}
	domain, own, below := strings.Cut(rest[at:], Delimiter)
	switch own = CanonicalName(own); {
	case !below:
		own = inbox
	case own == inbox: // one name for a mailbox is enough
		own = ""
	}
	return space, rest[:at] + domain, own, true
}

// Shown is the name of another's mailbox as users see it.
func Shown(address string, shared bool, own string) string {
	space := OtherUsers
	if shared {
		space = Shared
	}
	if own == inbox {
		return space + Delimiter + address
	}
	return space + Delimiter + address + Delimiter + own
}

// shownName is Shown for an account's mailbox.
func shownName(ctx context.Context, tx pgx.Tx, acct AccountID, own string) (string, error) {
	var address string
	var shared bool
	err := tx.QueryRow(ctx, `SELECT address, shared FROM account WHERE id = $1`, acct).Scan(&address, &shared)
	return Shown(address, shared, own), err
}

// sqlRights gives for the user $1 in mailbox m what is granted and what taken
// away: by name, and, where the mailbox is another's, to anyone of the domain.
const sqlRights = `LATERAL (SELECT bit_or(l.rights) FILTER (WHERE NOT l.negative) AS granted, bit_or(l.rights) FILTER (WHERE l.negative) AS taken
	FROM acl l WHERE l.mailbox_id = m.id AND (l.grantee_id = $1
		OR m.account_id <> $1 AND l.domain = (SELECT split_part(address, '@', 2) FROM account WHERE id = $1))) acl`

// reachedColumns are what scanReached reads from reachedTables.
const reachedColumns = `m.*, o.address, o.shared, acl.granted, acl.taken`

const reachedTables = `(SELECT ` + mailboxColumns + ` FROM mailbox WHERE deleted_at IS NULL) m JOIN account o ON o.id = m.account_id, ` + sqlRights

func scanReached(user AccountID) func(row pgx.CollectableRow) (Reached, error) {
	return func(row pgx.CollectableRow) (r Reached, err error) {
		var address string
		var granted, taken *int64
		m := &r.Mailbox
		err = row.Scan(append(mailboxFields(m), &address, &r.Shared, &granted, &taken)...)
		r.Own, r.Personal = m.Name, m.Account == user
		r.Rights = effective(r.Personal, granted, taken)
		if !r.Personal {
			m.Name, m.SpecialUse = Shown(address, r.Shared, r.Own), None // what is special there is so to its owner
		}
		return r, err
	}
}

// effective gives the rights that follow from what is granted and taken away. An
// owner has all rights unless the list says otherwise, and cannot be locked out.
func effective(owner bool, granted, taken *int64) Rights {
	var r Rights
	switch {
	case granted != nil:
		r = Rights(*granted)
	case owner:
		r = AllRights
	}
	if taken != nil {
		r &^= Rights(*taken)
	}
	if owner {
		r |= OwnerKeeps
	}
	return r & AllRights
}

// Reach finds the mailbox that a user means by a name. ErrNoMailbox, also for
// one in which the user has no right at all. Which rights are needed is for the
// caller to check, and to keep secret what is there from who lacks l.
func (s *Store) Reach(ctx context.Context, user AccountID, name string) (Reached, error) {
	if space, address, own, ok := Foreign(name); ok {
		return s.reachOther(ctx, user, space, address, own)
	}
	return s.reachOne(ctx, user, `m.account_id = $1 AND m.name = $2`, cleanText(CanonicalName(name)))
}

func (s *Store) reachOther(ctx context.Context, user AccountID, space, address, own string) (Reached, error) {
	if own == "" {
		return Reached{}, fmt.Errorf("reach a mailbox: %w", ErrNoMailbox)
	}
	r, err := s.reachOne(ctx, user, `m.account_id = (SELECT id FROM account WHERE address = $2 AND shared = $3 AND id <> $1) AND m.name = $4`,
		cleanText(address), space == Shared, cleanText(own))
	if err == nil && r.Rights == 0 {
		return Reached{}, fmt.Errorf("reach a mailbox: %w", ErrNoMailbox)
	}
	return r, err
}

// reachOne reads the mailbox m that the condition on it selects.
func (s *Store) reachOne(ctx context.Context, user AccountID, where string, args ...any) (Reached, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+reachedColumns+` FROM `+reachedTables+` WHERE `+where, append([]any{user}, args...)...)
	if err != nil {
		return Reached{}, dbError("reach a mailbox", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanReached(user))
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoMailbox
	}
	return r, dbError("reach a mailbox", err)
}

// ReachID is Reach by the mailbox's id: what became of the rights in it.
// ErrNoMailbox.
func (s *Store) ReachID(ctx context.Context, user AccountID, mbox MailboxID) (Reached, error) {
	return s.reachOne(ctx, user, `m.id = $2`, mbox)
}

// ReachParent finds the nearest mailbox above the name that one is to get, and
// what that name is in its account: at the top of another's account INBOX is
// above. At the top of the user's own there is none: a zero Mailbox, with the
// account and all rights. ErrNoMailbox, also when the user has no right at all;
// ErrNameInvalid for what can be nobody's.
func (s *Store) ReachParent(ctx context.Context, user AccountID, name string) (parent Reached, own string, err error) {
	space, address, own, ok := Foreign(name)
	if !ok {
		parent, err = s.reachOne(ctx, user, `m.account_id = $1 AND m.name = ANY($2) ORDER BY length(m.name) DESC LIMIT 1`,
			parents(cleanText(CanonicalName(name))))
		if errors.Is(err, ErrNoMailbox) {
			parent, err = Reached{Mailbox: Mailbox{Account: user}, Rights: AllRights, Personal: true}, nil
		}
		return parent, name, err
	}
	if own == "" {
		return parent, own, ErrNameInvalid
	}
	parent, err = s.reachOne(ctx, user, `m.account_id = (SELECT id FROM account WHERE address = $2 AND shared = $3 AND id <> $1) AND m.name = ANY($4)
		ORDER BY m.name <> 'INBOX' DESC, length(m.name) DESC LIMIT 1`, cleanText(address), space == Shared, append(parents(cleanText(own)), inbox))
	if err == nil && parent.Rights == 0 {
		return parent, own, fmt.Errorf("reach a mailbox: %w", ErrNoMailbox)
	}
	return parent, own, err
}

// MaxVisible is how many mailboxes of one other account a user's list shows: the
// oldest ones. The others can be opened by name.
const MaxVisible = 1000

// Visible gives the mailboxes of others that the user sees, that is has the right
// l in, by name; of each owner at most MaxVisible, so that nobody fills another's
// list. For a user whom nobody granted anything that is a look into two indexes.
func (s *Store) Visible(ctx context.Context, user AccountID) ([]Reached, error) {
	rows, err := s.pool.Query(ctx, `WITH g AS MATERIALIZED (SELECT DISTINCT mailbox_id FROM acl
			WHERE grantee_id = $1 OR domain = (SELECT split_part(address, '@', 2) FROM account WHERE id = $1)),
		l AS MATERIALIZED (SELECT id AS mailbox_id, row_number() OVER (PARTITION BY account_id ORDER BY id) AS n FROM mailbox WHERE id IN (SELECT mailbox_id FROM g) AND deleted_at IS NULL)
		SELECT `+reachedColumns+` FROM `+reachedTables+`
		WHERE m.id IN (SELECT mailbox_id FROM l WHERE n <= $2) AND m.account_id <> $1 ORDER BY o.shared, o.address COLLATE "C", m.name <> 'INBOX', m.name COLLATE "C"`, user, MaxVisible)
	if err != nil {
		return nil, dbError("list mailboxes of others", err)
	}
	all, err := pgx.CollectRows(rows, scanReached(user))
	if err != nil {
		return nil, dbError("list mailboxes of others", err)
	}
	list := all[:0]
	for _, r := range all {
		if r.Rights.Has(RightLookup) {
			list = append(list, r)
		}
	}
	return list, nil
}

// Reaches gives all mailboxes that the user sees, the own ones first.
func (s *Store) Reaches(ctx context.Context, user AccountID) ([]Reached, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+reachedColumns+` FROM `+reachedTables+`
		WHERE m.account_id = $1 ORDER BY m.name <> 'INBOX', m.name COLLATE "C"`, user)
	if err != nil {
		return nil, dbError("list mailboxes", err)
	}
	own, err := pgx.CollectRows(rows, scanReached(user))
	if err != nil {
		return nil, dbError("list mailboxes", err)
	}
	others, err := s.Visible(ctx, user)
	return append(own, others...), err
}
