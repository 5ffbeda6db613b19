package directory

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// channel carries the ids of accounts whose credentials changed, between
// commas; an empty payload says that some address leads elsewhere now.
const channel = "posthouse_directory"

type dryRunKey struct{}

// DryRun gives a context under which every change is checked, made and rolled back.
func DryRun(ctx context.Context) context.Context {
	return context.WithValue(ctx, dryRunKey{}, true)
}

func isDryRun(ctx context.Context) bool { return ctx.Value(dryRunKey{}) != nil }

var errDryRun = errors.New("dry run")

// change runs fn in a transaction and announces it to every node. The accounts
// that fn returns have their sessions and remembered logins ended. NOTIFY may
// stand inside: directories change rarely, it is deliveries that must not.
func (d *Directory) change(ctx context.Context, what string, fn func(pgx.Tx) (revoke []int64, err error)) error {
	var revoke []int64
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var err error
		if revoke, err = fn(tx); err != nil {
			return err
		}
		if isDryRun(ctx) {
			return errDryRun
		}
		_, err = tx.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload(revoke))
		return err
	})
	if errors.Is(err, errDryRun) {
		return nil
	}
	// Even an error may stand for a commit whose reply was lost.
	d.resolved.clear()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := d.check(ctx, d.pool, revoke); err != nil {
		d.log.Warn("sessions end with the next poll", "event", "directory.revoke", "error", err)
	}
	return nil
}

func payload(ids []int64) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(id, 10))
	}
	return b.String()
}

// parsePayload skips what is not a number: another version may say more.
func parsePayload(s string) (ids []int64) {
	for f := range strings.SplitSeq(s, ",") {
		if id, err := strconv.ParseInt(f, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
