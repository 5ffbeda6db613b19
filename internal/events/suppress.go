package events

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/text/unicode/norm"

	"posthouse/internal/mail"
)

// Reason is why an address is on the suppression list.
type Reason string

const (
	ReasonBounced      Reason = "bounced"      // its host says that there is no such mailbox
	ReasonComplained   Reason = "complained"   // they reported mail as spam
	ReasonUnsubscribed Reason = "unsubscribed" // they asked to be left alone
	ReasonManual       Reason = "manual"
)

// Reasons are all reasons.
var Reasons = []Reason{ReasonBounced, ReasonComplained, ReasonUnsubscribed, ReasonManual}

// Suppression is an address that the HTTP API sends nothing to: nothing that an
// account sends, or anybody with AccountID 0; and with List only what is sent
// for this list. Mail by SMTP is not held back: there a person chose the
// recipient.
type Suppression struct {
	ID        int64     `json:"id"`
	Address   string    `json:"address"` // lower case, its domain in A-labels
	AccountID int64     `json:"-"`
	Account   string    `json:"account,omitempty"` // its address; empty: the whole site
	List      string    `json:"list,omitempty"`
	Reason    Reason    `json:"reason"`
	Note      string    `json:"note,omitempty"`
	Message   string    `json:"message,omitempty"` // that led to it
	Added     time.Time `json:"added"`
}

// Suppressions is the list, of a site with all its nodes. Bounced and Complained
// events of mail that an account submitted put their recipients on it by
// themselves.
type Suppressions struct{ pool *pgxpool.Pool }

// NewSuppressions opens it on a migrated database.
func NewSuppressions(pool *pgxpool.Pool) *Suppressions { return &Suppressions{pool} }

// SuppressionKey is the form in which addresses are compared.
func SuppressionKey(a mail.Address) string {
	return line(norm.NFC.String(strings.ToLower(a.String())), maxAddress)
}

// Suppressed tells which of addrs are on the list for mail of an account, sent
// for list or, when that is empty, for none; the key is the address as given.
func (s *Suppressions) Suppressed(ctx context.Context, account int64, list string, addrs ...mail.Address) (map[mail.Address]Suppression, error) {
	byKey := make(map[string][]mail.Address, len(addrs))
	keys := make([]string, len(addrs))
	for i, a := range addrs {
		keys[i] = SuppressionKey(a)
		byKey[keys[i]] = append(byKey[keys[i]], a)
	}
	rows, err := s.pool.Query(ctx, `SELECT `+suppressionFields+` WHERE s.address = ANY($1) AND (s.account_id IS NULL OR s.account_id = $2) AND s.list IN ('', $3)
		ORDER BY s.id DESC`, keys, account, line(list, maxID))
	found, err := collectSuppressions(rows, err)
	if err != nil {
		return nil, err
	}
	result := make(map[mail.Address]Suppression, len(found))
	for _, f := range found {
		for _, a := range byKey[f.Address] {
			result[a] = f
		}
	}
	return result, nil
}

// Add puts an address on the list; what is there already stays as it is, and
// added is false. ErrInvalid.
func (s *Suppressions) Add(ctx context.Context, addr mail.Address, entry Suppression) (added bool, err error) {
	if addr.IsZero() || !slices.Contains(Reasons, entry.Reason) {
		return false, fmt.Errorf("%w: suppress %q for %q", ErrInvalid, addr, entry.Reason)
	}
	tag, err := s.pool.Exec(ctx, `INSERT INTO suppression (address, account_id, list, reason, note, message)
		SELECT $1, nullif($2::bigint, 0), $3, $4, $5, $6 WHERE $2 = 0 OR EXISTS (SELECT FROM account WHERE id = $2) ON CONFLICT DO NOTHING`,
		SuppressionKey(addr), entry.AccountID, line(entry.List, maxID), string(entry.Reason), line(entry.Note, maxText), line(entry.Message, maxID))
	if err != nil {
		return false, fmt.Errorf("suppress %s: %w", addr, err)
	}
	return tag.RowsAffected() > 0, nil
}

// Remove takes an address off the list of an account (0: of the site), for all
// its lists, and says how many entries there were. ErrNotFound.
func (s *Suppressions) Remove(ctx context.Context, account int64, addr mail.Address) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM suppression WHERE address = $1 AND account_id IS NOT DISTINCT FROM nullif($2::bigint, 0)`, SuppressionKey(addr), account)
	if err != nil {
		return 0, fmt.Errorf("remove a suppression: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return 0, fmt.Errorf("suppression of %s: %w", addr, ErrNotFound)
	}
	return tag.RowsAffected(), nil
}

// SuppressionQuery says which entries are meant; zero fields ask nothing.
type SuppressionQuery struct {
	Account  int64  // only its own; with SiteToo those of the whole site, too
	SiteToo  bool   // without Account: only those of the whole site
	Contains string // a part of the address
	Reason   Reason
	After    int64 // ids above
	Limit    int   // 0: 100; at most MaxLimit
}

// List gives entries, oldest first.
func (s *Suppressions) List(ctx context.Context, q SuppressionQuery) ([]Suppression, error) {
	var w where
	w.add(`s.id > %s`, q.After)
	switch {
	case q.Account != 0 && q.SiteToo:
		w.add(`(s.account_id = %s OR s.account_id IS NULL)`, q.Account)
	case q.Account != 0:
		w.add(`s.account_id = %s`, q.Account)
	case q.SiteToo:
		w.text += ` AND s.account_id IS NULL`
	}
	if q.Contains != "" {
		w.add(`s.address LIKE %s`, contains(strings.ToLower(q.Contains)))
	}
	if q.Reason != "" {
		w.add(`s.reason = %s`, string(q.Reason))
	}
	limit := Query{Limit: q.Limit}
	rows, err := s.pool.Query(ctx, `SELECT `+suppressionFields+` WHERE true`+w.text+` ORDER BY s.id LIMIT `+fmt.Sprint(limit.limit()), w.args...)
	return collectSuppressions(rows, err)
}

const suppressionFields = `s.id, s.address, coalesce(s.account_id, 0), coalesce(a.address, ''), s.list, s.reason, s.note, s.message, s.added_at
 FROM suppression s LEFT JOIN account a ON a.id = s.account_id`

func collectSuppressions(rows pgx.Rows, err error) ([]Suppression, error) {
	if err != nil {
		return nil, fmt.Errorf("read the suppression list: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Suppression])
	if err != nil {
		return nil, fmt.Errorf("read the suppression list: %w", err)
	}
	return list, nil
}

// HardBounce reports whether e says that its recipient's mailbox is not there:
// sending to it again would only tell the host that we do not listen. Failures
// of policy, content or time say nothing about the address.
func HardBounce(e *Event) bool {
	if e.Kind != Bounced || e.Code != 0 && e.Code < 500 { // 0: the DNS says so, not a host
		return false
	}
	// RFC 3463 §3.2: bad mailbox, bad system, bad syntax, moved; §3.3: disabled; RFC 7505: takes no mail.
	return slices.Contains([]string{"5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}, e.Enhanced)
}

// consequences puts on the list whom events say that mail should no longer go
// to: of what an account submitted, for that account.
func consequences(list []Event) []suppressing {
	var found []suppressing
	for i := range list {
		e := &list[i]
		reason := ReasonBounced
		switch {
		case e.Account == 0:
			continue
		case e.Kind == Complained:
			reason = ReasonComplained
		case !HardBounce(e):
			continue
		}
		addr, err := mail.ParseAddress(e.Recipient)
		if err != nil {
			continue // nobody can be sent to there
		}
		found = append(found, suppressing{addr, Suppression{AccountID: e.Account, Reason: reason, Note: e.reply(), Message: e.Message}})
	}
	return found
}

// suppressing is an entry to be.
type suppressing struct {
	addr  mail.Address
	entry Suppression
}

// sqlSuppress is the statement for entries that follow from events.
const sqlSuppress = `INSERT INTO suppression (address, account_id, reason, note, message)
 SELECT f.address, f.account, f.reason, f.note, f.message FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY f(address, account, reason, note, message, n)
 JOIN account a ON a.id = f.account ORDER BY f.address, f.account, f.n ON CONFLICT DO NOTHING`

func suppressArgs(found []suppressing) []any {
	var addresses, reasons, notes, messages []string
	var accounts []int64
	for _, f := range found {
		addresses, accounts = append(addresses, SuppressionKey(f.addr)), append(accounts, f.entry.AccountID)
		reasons, notes, messages = append(reasons, string(f.entry.Reason)), append(notes, f.entry.Note), append(messages, f.entry.Message)
	}
	return []any{addresses, accounts, reasons, notes, messages}
}
