package directory

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Domain is a domain whose mail ends here.
type Domain struct {
	Name       string       // lower-case A-labels
	CatchAll   mail.Address // where mail for unknown local parts goes; zero: refused
	Postmaster mail.Address // where postmaster and abuse go when nothing has their name; zero: the catch-all, else the domain's oldest account, else the server's
	Accounts   int64
	Aliases    int64
	STSMode    string // of its MTA-STS policy: one of STSModes
	STSSince   time.Time
	Created    time.Time
}

// CreateDomain adds a domain; name may be in any form that mail.ParseDomain
// takes. ErrConflict when it exists, ErrInvalid.
func (d *Directory) CreateDomain(ctx context.Context, name string) (Domain, error) {
	name, err := mail.ParseDomain(name)
	if err != nil {
		return Domain{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	dom := Domain{Name: name, STSMode: STSModes[0]}
	err = d.change(ctx, "create domain "+name, func(tx pgx.Tx) ([]int64, error) {
		if err := lockNames(ctx, tx, name, "backup_domain"); err != nil {
			return nil, err
		}
		err := tx.QueryRow(ctx, "INSERT INTO domain (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING sts_since, created_at", name).Scan(&dom.STSSince, &dom.Created)
		if err = noRows(err, ErrConflict); err != nil || d.opts.OnDomain == nil {
			return nil, err
		}
		return nil, d.opts.OnDomain(ctx, tx, name)
	})
	return dom, err
}

const selectDomain = `SELECT name, coalesce(catch_all, ''), coalesce(postmaster, ''),
	(SELECT count(*) FROM account WHERE split_part(address, '@', 2) = name),
	(SELECT count(*) FROM alias WHERE alias.domain = name), sts_mode, sts_since, created_at FROM domain `

func scanDomain(row pgx.CollectableRow) (Domain, error) {
	var dom Domain
	var catchAll, postmaster string
	err := row.Scan(&dom.Name, &catchAll, &postmaster, &dom.Accounts, &dom.Aliases, &dom.STSMode, &dom.STSSince, &dom.Created)
	dom.CatchAll, dom.Postmaster = fromKey(catchAll), fromKey(postmaster)
	return dom, err
}

// Domain finds one. ErrNotFound.
func (d *Directory) Domain(ctx context.Context, name string) (Domain, error) {
	rows, err := d.pool.Query(ctx, selectDomain+"WHERE name = $1", domainKey(name))
	if err != nil {
		return Domain{}, fmt.Errorf("domain %s: %w", name, err)
	}
	dom, err := pgx.CollectExactlyOneRow(rows, scanDomain)
	if err != nil {
		return Domain{}, fmt.Errorf("domain %s: %w", name, noRows(err, ErrNotFound))
	}
	return dom, nil
}

// Domains lists them by name.
func (d *Directory) Domains(ctx context.Context) ([]Domain, error) {
	rows, err := d.pool.Query(ctx, selectDomain+"ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("domains: %w", err)
	}
	doms, err := pgx.CollectRows(rows, scanDomain)
	if err != nil {
		return nil, fmt.Errorf("domains: %w", err)
	}
	return doms, nil
}

// RemoveDomain removes a domain with its aliases. ErrNotFound, and ErrConflict
// while it has accounts.
func (d *Directory) RemoveDomain(ctx context.Context, name string) error {
	name = domainKey(name)
	return d.change(ctx, "remove domain "+name, func(tx pgx.Tx) ([]int64, error) {
		// The row lock waits for accounts that are being added, and holds off others.
		if err := lockDomain(ctx, tx, name, "UPDATE"); err != nil {
			return nil, err
		}
		var used bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM account WHERE split_part(address, '@', 2) = $1)", name).Scan(&used)
		if err != nil {
			return nil, err
		}
		if used {
			return nil, fmt.Errorf("it has accounts: %w", ErrConflict)
		}
		_, err = tx.Exec(ctx, "DELETE FROM domain WHERE name = $1", name)
		return nil, err
	})
}

// SetCatchAll sends mail for unknown local parts of the domain to an address;
// the zero address ends that. ErrNotFound, ErrInvalid.
func (d *Directory) SetCatchAll(ctx context.Context, domain string, to mail.Address) error {
	return d.setDomain(ctx, domain, "catch_all", to)
}

// SetPostmaster says where postmaster and abuse of the domain go; the zero
// address is the default. ErrNotFound, ErrInvalid.
func (d *Directory) SetPostmaster(ctx context.Context, domain string, to mail.Address) error {
	return d.setDomain(ctx, domain, "postmaster", to)
}

// setDomain sets a column of addresses; its name is one of ours.
func (d *Directory) setDomain(ctx context.Context, domain, column string, to mail.Address) error {
	domain = domainKey(domain)
	var value *string
	if !to.IsZero() {
		to, err := checkTarget(to)
		if err != nil {
			return err
		}
		k := key(to)
		value = &k
	}
	return d.change(ctx, "domain "+domain, func(tx pgx.Tx) ([]int64, error) {
		tag, err := tx.Exec(ctx, "UPDATE domain SET "+column+" = $2 WHERE name = $1", domain, value)
		return nil, atLeastOne(tag.RowsAffected(), err)
	})
}

// lockDomain holds the domain's row until the transaction ends.
func lockDomain(ctx context.Context, tx pgx.Tx, name, mode string) error {
	var one int
	err := tx.QueryRow(ctx, "SELECT 1 FROM domain WHERE name = $1 FOR "+mode, name).Scan(&one)
	if err = noRows(err, ErrNotFound); err != nil {
		return fmt.Errorf("domain %s: %w", name, err)
	}
	return nil
}

// domainKey is the form in which a domain's name is stored; what is no domain finds nothing.
func domainKey(name string) string {
	parsed, err := mail.ParseDomain(name)
	if err != nil {
		return clean(name)
	}
	return parsed
}
