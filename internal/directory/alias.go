package directory

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Alias sends the mail of one address to others.
type Alias struct {
	Address mail.Address
	Targets []mail.Address // local or remote, at most 1,000; in the order they were added
}

// AddAlias makes an alias, or adds targets to the one that is there. ErrNotFound
// (the domain), ErrConflict (the address is an account, or the aliases would
// lead round in a circle or exceed the limits of Resolve), ErrInvalid.
func (d *Directory) AddAlias(ctx context.Context, addr mail.Address, targets ...mail.Address) (Alias, error) {
	addr, err := checkOwn(addr)
	if err != nil {
		return Alias{}, err
	}
	if len(targets) == 0 {
		return Alias{}, fmt.Errorf("alias %s has no target: %w", addr, ErrInvalid)
	}
	keys := make([]string, 0, len(targets))
	for _, t := range targets {
		if t, err = checkTarget(t); err != nil {
			return Alias{}, err
		}
		keys = append(keys, key(t))
	}
	al := Alias{Address: addr}
	err = d.change(ctx, "alias "+addr.String(), func(tx pgx.Tx) ([]int64, error) {
		if err := lockDomain(ctx, tx, addr.Domain, "KEY SHARE"); err != nil {
			return nil, err
		}
		if err := lockAddress(ctx, tx, addr, "account"); err != nil {
			return nil, err
		}
		al.Targets, err = d.putTargets(ctx, tx, addr, keys)
		return nil, err
	})
	return al, err
}

// putTargets adds to what is there, then follows the alias to see that it ends.
func (d *Directory) putTargets(ctx context.Context, tx pgx.Tx, addr mail.Address, add []string) ([]mail.Address, error) {
	var have []string
	err := tx.QueryRow(ctx, "SELECT targets FROM alias WHERE address = $1 FOR UPDATE", key(addr)).Scan(&have)
	if err = noRows(err, nil); err != nil {
		return nil, err
	}
	for _, t := range add {
		if !slices.Contains(have, t) {
			have = append(have, t)
		}
	}
	if len(have) > maxTargets {
		return nil, fmt.Errorf("%d targets, at most %d: %w", len(have), maxTargets, ErrConflict)
	}
	_, err = tx.Exec(ctx, `INSERT INTO alias (address, domain, targets) VALUES ($1, $2, $3)
		ON CONFLICT (address) DO UPDATE SET targets = excluded.targets`, key(addr), addr.Domain, have)
	if err != nil {
		return nil, err
	}
	return addresses(have), d.checkCircle(ctx, tx, addr)
}

// checkCircle walks the aliases alone, level by level.
func (d *Directory) checkCircle(ctx context.Context, tx pgx.Tx, addr mail.Address) error {
	start := key(addr)
	seen := map[string]bool{}
	todo := []step{{addr: addr}}
	for level := 0; len(todo) > 0; level++ {
		if level > maxLevels || len(seen) > maxTargets {
			return fmt.Errorf("more than %d levels or %d targets: %w", maxLevels, maxTargets, ErrConflict)
		}
		entries, err := lookup(ctx, tx, todo)
		if err != nil {
			return err
		}
		var next []step
		for _, en := range entries {
			for _, t := range append(en.exact.targets, en.base.targets...) {
				a := fold(fromKey(t))
				base, _ := splitDetail(a)
				if key(a) == start || !base.IsZero() && key(base) == start {
					return fmt.Errorf("%s leads back to itself: %w", addr, ErrConflict)
				}
				if !seen[key(a)] {
					seen[key(a)] = true
					next = append(next, step{addr: a})
				}
			}
		}
		todo = next
	}
	return nil
}

func addresses(keys []string) []mail.Address {
	out := make([]mail.Address, len(keys))
	for i, k := range keys {
		out[i] = fromKey(k)
	}
	return out
}

func scanAlias(row pgx.CollectableRow) (Alias, error) {
	var address string
	var targets []string
	err := row.Scan(&address, &targets)
	return Alias{Address: fromKey(address), Targets: addresses(targets)}, err
}

// Alias finds one. ErrNotFound.
func (d *Directory) Alias(ctx context.Context, addr mail.Address) (Alias, error) {
	rows, err := d.pool.Query(ctx, "SELECT address, targets FROM alias WHERE address = $1", clean(key(fold(addr))))
	if err != nil {
		return Alias{}, fmt.Errorf("alias %s: %w", addr, err)
	}
	al, err := pgx.CollectExactlyOneRow(rows, scanAlias)
	if err != nil {
		return Alias{}, fmt.Errorf("alias %s: %w", addr, noRows(err, ErrNotFound))
	}
	return al, nil
}

// Aliases lists those of a domain, or all with the domain "", by address.
func (d *Directory) Aliases(ctx context.Context, domain string) ([]Alias, error) {
	sql, args := "SELECT address, targets FROM alias ", []any(nil)
	if domain != "" {
		sql, args = sql+"WHERE domain = $1 ", []any{domainKey(domain)}
	}
	rows, err := d.pool.Query(ctx, sql+"ORDER BY domain, address", args...)
	if err != nil {
		return nil, fmt.Errorf("aliases: %w", err)
	}
	aliases, err := pgx.CollectRows(rows, scanAlias)
	if err != nil {
		return nil, fmt.Errorf("aliases: %w", err)
	}
	return aliases, nil
}

// RemoveAlias removes the given targets, or the whole alias with none given or
// none left. ErrNotFound when it, or one of the targets, is not there.
func (d *Directory) RemoveAlias(ctx context.Context, addr mail.Address, targets ...mail.Address) error {
	k := clean(key(fold(addr)))
	return d.change(ctx, "remove alias "+addr.String(), func(tx pgx.Tx) ([]int64, error) {
		var have []string
		err := tx.QueryRow(ctx, "SELECT targets FROM alias WHERE address = $1 FOR UPDATE", k).Scan(&have)
		if err = noRows(err, ErrNotFound); err != nil {
			return nil, err
		}
		for _, t := range targets {
			i := slices.IndexFunc(have, func(h string) bool { return key(fold(fromKey(h))) == key(fold(t)) })
			if i < 0 {
				return nil, fmt.Errorf("target %s: %w", t, ErrNotFound)
			}
			have = slices.Delete(have, i, i+1)
		}
		if len(targets) == 0 || len(have) == 0 {
			_, err = tx.Exec(ctx, "DELETE FROM alias WHERE address = $1", k)
		} else {
			_, err = tx.Exec(ctx, "UPDATE alias SET targets = $2 WHERE address = $1", k, have)
		}
		return nil, err
	})
}
