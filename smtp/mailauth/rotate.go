package mailauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// errDryRun rolls back what was only tried.
var errDryRun = errors.New("dry run")

// Rotation says how keys are followed by others.
type Rotation struct {
	Overlap time.Duration // how long the new keys are published before they sign
	Now     bool          // they sign at once, and so do those that wait from an earlier rotation
	DryRun  bool          // nothing is changed; the result says what would be
}

// Rotate makes the keys that follow the domain's present ones, and gives all
// keys as they are then. While keys wait for their turn it makes no more, so
// that it may be called twice: with Now it brings their turn forward. made says
// whether keys were made. ErrNotFound, ErrNoSecret.
func (k *Keys) Rotate(ctx context.Context, domain string, how Rotation) (keys []Key, made bool, err error) {
	if k.box == nil {
		return nil, false, fmt.Errorf("rotate the DKIM keys of %s: %w", domain, ErrNoSecret)
	}
	g, err := generate() // before the row is locked
	if err != nil {
		return nil, false, fmt.Errorf("rotate the DKIM keys of %s: %w", domain, err)
	}
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		if err := lockDomain(ctx, tx, domain); err != nil {
			return err
		}
		if keys, err = list(ctx, tx, domain); err != nil {
			return err
		}
		waiting := slices.ContainsFunc(keys, func(k Key) bool { return k.State == Next })
		switch {
		case !waiting:
			made = true
			if how.Now || !slices.ContainsFunc(keys, Key.lives) {
				how.Overlap = 0
			}
			err = k.insert(ctx, tx, domain, g, how.Overlap)
		case how.Now:
			_, err = tx.Exec(ctx, "UPDATE dkim_key SET signs_at = now() WHERE domain = $1 AND signs_at > now() AND retired_at IS NULL", domain)
		}
		if err != nil {
			return err
		}
		if keys, err = list(ctx, tx, domain); err == nil && how.DryRun {
			err = errDryRun
		}
		return err
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, false, fmt.Errorf("rotate the DKIM keys of %s: %w", domain, err)
	}
	k.forget(domain)
	return keys, made, nil
}

// Retire ends a key's life before its time and erases its private half: its
// record may be taken out of the DNS. It is done for keys that have stopped
// signing, and for those that have not begun, which ends their rotation.
// ErrNotFound, and ErrConflict for a key that signs.
func (k *Keys) Retire(ctx context.Context, domain, selector string, dryRun bool) error {
	err := pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		if err := lockDomain(ctx, tx, domain); err != nil {
			return err
		}
		keys, err := list(ctx, tx, domain)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Selector == selector })
		if i < 0 {
			return ErrNotFound
		}
		if keys[i].State == Signing {
			return fmt.Errorf("it signs, let others follow it first: %w", ErrConflict)
		}
		if _, err := tx.Exec(ctx, `UPDATE dkim_key SET retired_at = coalesce(retired_at, now()), sealed = NULL
			WHERE domain = $1 AND selector = $2`, domain, selector); err != nil {
			return err
		}
		if dryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return fmt.Errorf("retire DKIM key %s of %s: %w", selector, domain, err)
	}
	k.forget(domain)
	return nil
}

// EraseRetired erases the private halves of keys whose time is over.
func (k *Keys) EraseRetired(ctx context.Context) error {
	_, err := k.pool.Exec(ctx, `UPDATE dkim_key k SET sealed = NULL FROM (`+keyStates+`) s
		WHERE s.state = 'retired' AND k.sealed IS NOT NULL AND k.domain = s.domain AND k.selector = s.selector`, "")
	if err != nil {
		return fmt.Errorf("erase retired DKIM keys: %w", err)
	}
	return nil
}
