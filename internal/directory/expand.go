package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Bounds of one expansion.
const (
	maxTargets = 1000
	maxLevels  = 10
)

// expansion is the state of following one address.
type expansion struct {
	r        Resolution
	visited  map[string]bool
	accounts map[int64]bool
	disabled bool // some target is a disabled account
	circular bool // some target was met before
}

// step is an address still to be looked up.
type step struct {
	addr   mail.Address // as written
	detail string       // inherited from the alias's subaddress
}

// expand follows rcpt level by level, each with one query.
func (d *Directory) expand(ctx context.Context, q querier, rcpt mail.Address) (Resolution, error) {
	e := expansion{visited: map[string]bool{key(fold(rcpt)): true}, accounts: make(map[int64]bool)}
	todo := []step{{addr: rcpt}}
	for level := 0; len(todo) > 0; level++ {
		if level > maxLevels {
			return Resolution{}, aliasFault(rcpt, "aliases more than 10 levels deep")
		}
		entries, err := lookup(ctx, q, todo)
		if err != nil {
			return Resolution{}, fmt.Errorf("resolve %s: %w", rcpt, err)
		}
		if level == 0 && !entries[0].local {
			return Resolution{Status: NotLocal}, nil
		}
		var next []step
		for i, s := range todo {
			more, err := d.take(ctx, q, &e, s, entries[i])
			if err != nil {
				return Resolution{}, fmt.Errorf("resolve %s: %w", rcpt, err)
			}
			next = append(next, more...)
		}
		if todo = e.fresh(next); len(e.visited) > maxTargets {
			return Resolution{}, aliasFault(rcpt, "alias with more than 1,000 targets")
		}
	}
	return e.result(rcpt)
}

// fresh drops the steps that were met before, which ends every circle.
func (e *expansion) fresh(steps []step) []step {
	var kept []step
	for _, s := range steps {
		k := key(fold(s.addr))
		if e.visited[k] {
			e.circular = true
			continue
		}
		e.visited[k] = true
		kept = append(kept, s)
	}
	return kept
}

func (e *expansion) result(rcpt mail.Address) (Resolution, error) {
	switch {
	case len(e.r.Accounts)+len(e.r.Remote) > 0:
		e.r.Status = OK
	case e.disabled:
		e.r.Status = Disabled
	case e.circular:
		return Resolution{}, aliasFault(rcpt, "alias leads back to itself")
	default:
		e.r.Status = NoSuchUser
	}
	return e.r, nil
}

func aliasFault(rcpt mail.Address, text string) error {
	return mail.Refuse(550, mail.Enhanced{5, 4, 6}, fmt.Sprintf("<%s>: %s", rcpt, text))
}

// take adds what one address is, or gives the addresses that it stands for.
func (d *Directory) take(ctx context.Context, q querier, e *expansion, s step, en entry) ([]step, error) {
	if !en.local {
		e.r.Remote = append(e.r.Remote, s.addr)
		return nil, nil
	}
	_, detail := splitDetail(s.addr)
	switch {
	case en.exact.account != 0:
		e.add(en.exact, s.detail)
	case en.exact.targets != nil:
		return steps(en.exact.targets, s.detail), nil
	case en.base.account != 0:
		e.add(en.base, detail)
	case en.base.targets != nil:
		return steps(en.base.targets, detail), nil
	case isRole(fold(s.addr).Local):
		return d.role(ctx, q, s.addr.Domain, en)
	case en.catchAll != "":
		return steps([]string{en.catchAll}, ""), nil
	}
	return nil, nil
}

func (e *expansion) add(m match, detail string) {
	if m.disabled {
		e.disabled = true
	} else if !e.accounts[m.account] {
		e.accounts[m.account] = true
		e.r.Accounts = append(e.r.Accounts, Target{Account: m.account, Address: fromKey(m.address), Detail: detail, Unlimited: m.unlimited})
	}
}

func steps(targets []string, detail string) []step {
	s := make([]step, len(targets))
	for i, t := range targets {
		s[i] = step{addr: fromKey(t), detail: detail}
	}
	return s
}

// role is where postmaster and abuse go when nothing has their name.
func (d *Directory) role(ctx context.Context, q querier, domain string, en entry) ([]step, error) {
	if en.postmaster != "" {
		return steps([]string{en.postmaster}, ""), nil
	}
	if en.catchAll != "" {
		return steps([]string{en.catchAll}, ""), nil
	}
	var first string
	err := q.QueryRow(ctx, `(SELECT address FROM account WHERE split_part(address, '@', 2) = $1 AND NOT disabled ORDER BY id LIMIT 1)
		UNION ALL (SELECT address FROM account WHERE NOT disabled ORDER BY id LIMIT 1) LIMIT 1`, domain).Scan(&first)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("postmaster of %s: %w", domain, err)
	}
	return steps([]string{first}, ""), nil
}

// entry is what the database knows about one address.
type entry struct {
	local                bool
	catchAll, postmaster string
	exact, base          match // base: without the detail
}

// match is an account or an alias, or neither.
type match struct {
	account   int64
	address   string
	disabled  bool
	unlimited bool
	targets   []string
}

// What is asked about addresses w: sqlLookupOne takes one, as three texts, and
// sqlLookup any number, as three arrays. How long an array is can only be
// guessed before it is there, so a statement with arrays is planned anew at each
// call; that costs ten times what the look-up does, and mail has one recipient
// as a rule.
const (
	sqlEntry = `SELECT w.i, coalesce(d.catch_all, ''), coalesce(d.postmaster, ''),
			coalesce(a.id, 0), coalesce(a.address, ''), coalesce(a.disabled, false), a.quota_bytes IS NULL AND a.quota_messages IS NULL, l.targets,
			coalesce(b.id, 0), coalesce(b.address, ''), coalesce(b.disabled, false), b.quota_bytes IS NULL AND b.quota_messages IS NULL, m.targets
		FROM `
	sqlJoins = `
		JOIN domain d ON d.name = w.dom
		LEFT JOIN account a ON a.address = w.full_
		LEFT JOIN alias l ON l.address = w.full_
		LEFT JOIN account b ON b.address = w.base
		LEFT JOIN alias m ON m.address = w.base`

	sqlLookup    = sqlEntry + `unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS w (full_, base, dom, i)` + sqlJoins
	sqlLookupOne = sqlEntry + `(VALUES ($1::text, $2::text, $3::text, 1::bigint)) AS w (full_, base, dom, i)` + sqlJoins
)

// lookup asks for all steps at once; the entries are parallel to them.
func lookup(ctx context.Context, q querier, todo []step) ([]entry, error) {
	full, base, domain := make([]string, len(todo)), make([]string, len(todo)), make([]string, len(todo))
	for i, s := range todo {
		a := fold(s.addr)
		full[i], domain[i] = clean(key(a)), clean(a.Domain)
		if b, _ := splitDetail(a); !b.IsZero() {
			base[i] = clean(key(b))
		}
	}
	sql, args := sqlLookup, []any{full, base, domain}
	if len(todo) == 1 {
		sql, args = sqlLookupOne, []any{full[0], base[0], domain[0]}
	}
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(todo))
	var i int
	var en entry
	_, err = pgx.ForEachRow(rows, []any{&i, &en.catchAll, &en.postmaster,
		&en.exact.account, &en.exact.address, &en.exact.disabled, &en.exact.unlimited, &en.exact.targets,
		&en.base.account, &en.base.address, &en.base.disabled, &en.base.unlimited, &en.base.targets}, func() error {
		en.local = true
		entries[i-1] = en
		return nil
	})
	return entries, err
}
