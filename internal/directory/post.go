package directory

import (
	"context"
	"fmt"
)

// sqlMayPost asks whether the account $1 has the right p (RFC 4314 §2.1; bit 5 of
// mailstore.Rights) in INBOX of one of the shared accounts among $2.
const sqlMayPost = `SELECT EXISTS (SELECT FROM account o JOIN mailbox m ON m.account_id = o.id AND m.name = 'INBOX' AND m.deleted_at IS NULL,
	LATERAL (SELECT coalesce(bit_or(l.rights) FILTER (WHERE NOT l.negative), 0) AS granted, coalesce(bit_or(l.rights) FILTER (WHERE l.negative), 0) AS taken
		FROM acl l WHERE l.mailbox_id = m.id AND (l.grantee_id = $1 OR l.domain = (SELECT split_part(address, '@', 2) FROM account WHERE id = $1))) acl
	WHERE o.id = ANY($2) AND o.shared AND acl.granted & ~acl.taken & 32 <> 0)`

// mayPost reports whether an account writes for one of those that an address
// leads to: members of a shared account answer in its name.
func (d *Directory) mayPost(ctx context.Context, account int64, targets []Target) (bool, error) {
	ids := make([]int64, len(targets))
	for i, t := range targets {
		ids[i] = t.Account
	}
	if len(ids) == 0 {
		return false, nil
	}
	var may bool
	if err := d.pool.QueryRow(ctx, sqlMayPost, account, ids).Scan(&may); err != nil {
		return false, fmt.Errorf("rights of account %d to send: %w", account, err)
	}
	return may, nil
}
