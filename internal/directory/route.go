package directory

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Side is which end of a message a rule looks at.
type Side string

const (
	ToDomain Side = "to"   // the recipient's domain
	FromWhom Side = "from" // the reverse-path: its domain or the whole address
	AllMail  Side = "all"
)

// Rule sends some mail along a relay, or directly in a way of its own.
//
// A message takes the first that fits: the recipient's domain by itself, as
// "*.parent" (the longest parent), the sender's address, the sender's domain by
// itself and as "*.parent", all mail; without any it goes directly. Where that
// is directly and the rule says nothing of Source, HELO and SOCKS5, the first
// direct rule behind it that does is followed in this.
type Rule struct {
	Side    Side
	Pattern string // folded; empty for AllMail
	Relay   string // empty: directly
	Way            // of a direct rule
}

// String names the mail that the rule is for.
func (r Rule) String() string {
	if r.Side == AllMail {
		return "all"
	}
	return string(r.Side) + " " + r.Pattern
}

// SetRule adds a rule, or puts it in the place of the one for the same mail.
// ErrNotFound (the relay), ErrInvalid.
func (d *Directory) SetRule(ctx context.Context, r Rule) (Rule, error) {
	var err error
	if r.Pattern, err = checkPattern(r.Side, r.Pattern); err != nil {
		return r, err
	}
	if r.Way, err = checkWay(r.Way); err != nil {
		return r, err
	}
	if r.Relay = clean(strings.ToLower(r.Relay)); r.Relay != "" && !r.Way.IsZero() {
		return r, fmt.Errorf("source, helo and socks5 are for direct routes; relay %s has its own: %w", r.Relay, ErrInvalid)
	}
	err = d.changeRoutes(ctx, "route "+r.String(), func(tx pgx.Tx) error {
		if r.Relay != "" {
			if err := relayExists(ctx, tx, r.Relay); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO route (side, pattern, relay, source, socks5, helo) VALUES ($1, $2, nullif($3, ''), $4, $5, $6)
			ON CONFLICT (side, pattern) DO UPDATE SET (relay, source, socks5, helo) = (excluded.relay, excluded.source, excluded.socks5, excluded.helo)`,
			r.Side, r.Pattern, r.Relay, sourceText(r.Source), r.SOCKS5, r.HELO)
		return err
	})
	return r, err
}

// checkPattern vets and folds the pattern of a rule.
func checkPattern(side Side, s string) (string, error) {
	bad := fmt.Errorf("route %s %q: write example.org, *.example.org for all below it%s: %w", side, s,
		map[Side]string{FromWhom: ", or alice@example.org"}[side], ErrInvalid)
	switch side {
	case AllMail:
		if s != "" {
			return "", fmt.Errorf("route all takes no pattern, got %q: %w", s, ErrInvalid)
		}
		return "", nil
	case ToDomain, FromWhom:
	default:
		return "", fmt.Errorf("route %q: %w", side, ErrInvalid)
	}
	if side == FromWhom && strings.Contains(s, "@") && !strings.HasPrefix(s, "@") {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return "", bad
		}
		return key(fold(a)), nil
	}
	s = strings.TrimPrefix(s, "@")
	if strings.HasPrefix(s, "[") && side == ToDomain {
		a, err := mail.ParseAddress("x@" + s)
		if err != nil {
			return "", bad
		}
		return a.Domain, nil
	}
	star := ""
	if rest, ok := strings.CutPrefix(s, "*."); ok {
		star, s = "*.", rest
	}
	name, err := mail.ParseDomain(s)
	if err != nil {
		return "", bad
	}
	return star + name, nil
}

// RemoveRule removes the rule for the given mail. ErrNotFound, ErrInvalid.
func (d *Directory) RemoveRule(ctx context.Context, side Side, pattern string) error {
	pattern, err := checkPattern(side, pattern)
	if err != nil {
		return err
	}
	return d.changeRoutes(ctx, "remove route "+Rule{Side: side, Pattern: pattern}.String(), func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "DELETE FROM route WHERE side = $1 AND pattern = $2", side, pattern)
		return atLeastOne(tag.RowsAffected(), err)
	})
}

// Rules lists them in the order in which they are asked.
func (d *Directory) Rules(ctx context.Context) ([]Rule, error) {
	rows, err := d.pool.Query(ctx, selectRule+`ORDER BY array_position(ARRAY['to', 'from', 'all'], side), pattern LIKE '*.%', pattern NOT LIKE '%@%', length(pattern) DESC, pattern`)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	rules, err := pgx.CollectRows(rows, scanRule)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	return rules, nil
}

const selectRule = "SELECT side, pattern, coalesce(relay, ''), source, socks5, helo FROM route "

func scanRule(row pgx.CollectableRow) (Rule, error) {
	var r Rule
	var source []string
	var socks5, helo string
	if err := row.Scan(&r.Side, &r.Pattern, &r.Relay, &source, &socks5, &helo); err != nil {
		return r, err
	}
	var err error
	r.Way, err = wayOf(source, socks5, helo)
	return r, err
}

// changeRoutes is change for what RouteFor answers from.
func (d *Directory) changeRoutes(ctx context.Context, what string, fn func(pgx.Tx) error) error {
	err := d.change(ctx, what, func(tx pgx.Tx) ([]int64, error) {
		if err := fn(tx); err != nil {
			return nil, err
		}
		// The row is everybody's: such changes come one after the other.
		_, err := tx.Exec(ctx, "UPDATE routing SET version = version + 1")
		return nil, err
	})
	d.routing.expire()
	if err == nil && !isDryRun(ctx) {
		// In force here from now on, for RouteKey as well, which does not ask.
		if _, err := d.refreshRoutes(ctx, d.pool, true); err != nil {
			d.log.Warn("the new routes are seen with the next question", "event", "routes.read", "err", err)
		}
	}
	return err
}
