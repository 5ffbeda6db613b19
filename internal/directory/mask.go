package directory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Mask is what some mail programs are not told that the server can do: of one
// account, of programs by the name that they give in ID (RFC 2971), or both.
type Mask struct {
	Account      string // its address; empty: all
	Client       string // pattern in lower case, "*" stands for any octets; empty: every program
	Capabilities []string

	account int64
}

// masks are all of them, by account; 0 has those for everybody.
type masks map[int64][]Mask

// Masked gives the capabilities that are hidden from a program that calls itself
// client, of an account (0: nobody logged in). It answers from memory.
func (d *Directory) Masked(account int64, client string) map[string]bool {
	all := d.signin().masks
	if len(all) == 0 {
		return nil
	}
	hidden := make(map[string]bool)
	client = strings.ToLower(client)
	hide := func(list []Mask) {
		for _, m := range list {
			if m.Client == "" || like(m.Client, client) {
				for _, c := range m.Capabilities {
					hidden[c] = true
				}
			}
		}
	}
	hide(all[0])
	if account != 0 {
		hide(all[account])
	}
	return hidden
}

// like matches a pattern of literal text and "*".
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		_, rest, ok := strings.Cut(text, p)
		if !ok {
			return false
		}
		text = rest
	}
	return strings.HasSuffix(text, last)
}

// never are the capabilities without which there is no IMAP, or no safe one.
var never = []string{"IMAP4REV1", "STARTTLS", "LOGINDISABLED"}

// Canonical gives a mask with its client and capabilities as they are stored.
// ErrInvalid.
func (m Mask) Canonical() (Mask, error) {
	m.Client = strings.ToLower(strings.TrimSpace(m.Client))
	list := make([]string, 0, len(m.Capabilities))
	for _, c := range m.Capabilities {
		c = strings.ToUpper(c)
		switch {
		case c == "" || len(c) > 60 || strings.ContainsFunc(c, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`(){%*"\]`, r) }):
			return m, fmt.Errorf("capability %q: %w", c, ErrInvalid)
		case slices.Contains(never, c):
			return m, fmt.Errorf("%s cannot be hidden: %w", c, ErrInvalid)
		}
		list = append(list, c)
	}
	slices.Sort(list)
	m.Capabilities = slices.Compact(list)
	if len(m.Capabilities) > 100 || len(m.Client) > 100 || strings.Count(m.Client, "*") > 10 {
		return m, errMask
	}
	return m, nil
}

var errMask = fmt.Errorf("a mask hides up to 100 capabilities from an account, or from programs by name: %w", ErrInvalid)

// SetMask hides capabilities, in the place of what was hidden for that account
// and client; none of them ends the mask. The zero address stands for all
// accounts. ErrNotFound, ErrInvalid.
func (d *Directory) SetMask(ctx context.Context, addr mail.Address, client string, capabilities []string) error {
	m, err := Mask{Client: client, Capabilities: capabilities}.Canonical()
	if err != nil {
		return err
	}
	if addr.IsZero() && m.Client == "" {
		return errMask
	}
	return d.changeSignin(ctx, "mask capabilities", func(tx pgx.Tx) error {
		var id *int64
		if !addr.IsZero() {
			id = new(int64)
			if err := tx.QueryRow(ctx, "SELECT id FROM account WHERE address = $1", clean(key(fold(addr)))).Scan(id); err != nil {
				return noRows(err, ErrNotFound)
			}
		}
		if len(m.Capabilities) == 0 {
			tag, err := tx.Exec(ctx, "DELETE FROM capability_mask WHERE account_id IS NOT DISTINCT FROM $1 AND client = $2", id, m.Client)
			return atLeastOne(tag.RowsAffected(), err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO capability_mask (account_id, client, capabilities) VALUES ($1, $2, $3)
			ON CONFLICT (account_id, client) DO UPDATE SET capabilities = excluded.capabilities`, id, m.Client, m.Capabilities)
		return err
	})
}

// Masks lists those of an account, or with the zero address all, those for
// everybody first.
func (d *Directory) Masks(ctx context.Context, addr mail.Address) ([]Mask, error) {
	all, err := readMasks(ctx, d.pool)
	if err != nil {
		return nil, fmt.Errorf("masks: %w", err)
	}
	var list []Mask
	for _, masks := range all {
		for _, m := range masks {
			if addr.IsZero() || m.Account == fold(addr).String() {
				list = append(list, m)
			}
		}
	}
	slices.SortFunc(list, func(a, b Mask) int { return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Client, b.Client)) })
	return list, nil
}

func readMasks(ctx context.Context, q querier) (masks, error) {
	rows, err := q.Query(ctx, `SELECT coalesce(m.account_id, 0), coalesce(a.address, ''), m.client, m.capabilities
		FROM capability_mask m LEFT JOIN account a ON a.id = m.account_id`)
	if err != nil {
		return nil, err
	}
	all := make(masks)
	var m Mask
	_, err = pgx.ForEachRow(rows, []any{&m.account, &m.Account, &m.Client, &m.Capabilities}, func() error {
		all[m.account] = append(all[m.account], m)
		m.Capabilities = nil
		return nil
	})
	return all, err
}
