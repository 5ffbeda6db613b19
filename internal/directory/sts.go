package directory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// STSModes are those of an MTA-STS policy (RFC 8461 §5), in the order in which a
// domain goes through them: a new one is testing. One that wants no policy any
// more serves "none" until the caches of all senders have let go of the last.
var STSModes = []string{"testing", "enforce", "none"}

// SetSTSMode says what a domain's MTA-STS policy asks of senders; mode is one of
// STSModes. Setting what is set changes nothing. ErrNotFound, ErrInvalid.
func (d *Directory) SetSTSMode(ctx context.Context, domain, mode string) error {
	domain = domainKey(domain)
	return d.change(ctx, "domain "+domain, func(tx pgx.Tx) ([]int64, error) {
		if !slices.Contains(STSModes, mode) {
			return nil, fmt.Errorf("%w: %q is not testing, enforce or none", ErrInvalid, mode)
		}
		tag, err := tx.Exec(ctx, `UPDATE domain SET sts_mode = $2, sts_since = CASE WHEN sts_mode = $2 THEN sts_since ELSE now() END
			WHERE name = $1`, domain, mode)
		return nil, atLeastOne(tag.RowsAffected(), err)
	})
}

// STSMode is the mode of a domain's policy, and since when. ErrNotFound.
func (d *Directory) STSMode(ctx context.Context, domain string) (mode string, since time.Time, err error) {
	err = d.pool.QueryRow(ctx, `SELECT sts_mode, sts_since FROM domain WHERE name = $1`, domainKey(domain)).Scan(&mode, &since)
	if err != nil {
		return "", since, fmt.Errorf("domain %s: %w", domain, noRows(err, ErrNotFound))
	}
	return mode, since, nil
}
