package mailstore_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// The check must be able to fail: each kind of damage is found. (The store is
// not one of storetest's own: that would check the damage at the end.)
func TestInvariantsFindDamage(t *testing.T) {
	for _, damage := range []string{
		`UPDATE mailbox SET n_msgs = n_msgs + 1 WHERE name = 'INBOX'`,
		`UPDATE mailbox SET n_unseen = 0 WHERE name = 'INBOX'`,
		`UPDATE mailbox SET n_deleted = 1 WHERE name = 'INBOX'`,
		`UPDATE mailbox SET n_bytes = n_bytes - 1 WHERE name = 'INBOX'`,
		`UPDATE mailbox SET uidnext = 2 WHERE name = 'INBOX'`,
		`UPDATE mailbox SET modseq = 2 WHERE name = 'INBOX'`,
		`UPDATE mailbox SET uidvalidity = uidvalidity + 1000 WHERE name = 'INBOX'`,
		`UPDATE msg_state SET flags = 256 WHERE uid = 2`,
		`UPDATE mailbox SET fold_from = modseq WHERE name = 'INBOX'`,
		`UPDATE mailbox_change SET clears = 0, sets = 2, modseq = (SELECT modseq FROM mailbox WHERE name = 'INBOX') WHERE kind = 'A' AND uids @> 2::bigint`,
		`UPDATE msg_state SET flags = 1 WHERE uid = 2`,
		`UPDATE msg_state SET modseq = modseq + 1 WHERE uid = 2`,
		`UPDATE msg_state SET mailbox_id = 999 WHERE uid = 2`,
		`DELETE FROM msg_state WHERE uid = 2`,
		`DELETE FROM message WHERE uid = 2`,
		`DELETE FROM message WHERE uid = 1`,
		`DELETE FROM expunged`,
		`DELETE FROM blob WHERE id = (SELECT min(id) FROM blob)`,
		`DELETE FROM blob_chunk WHERE blob_id = (SELECT min(id) FROM blob)`,
		`INSERT INTO blob (id, raw_size, codec, n_chunks, sha256) VALUES (7, 0, 1, 0, '')`,
		`INSERT INTO blob_chunk (blob_id, seq, data) VALUES (7, 0, '')`,
		`DELETE FROM mailbox_change WHERE kind = 'A'`,
		`DELETE FROM mailbox_change WHERE kind = 'X'`,
		`INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids) SELECT account_id, id, modseq + 5, 'F', '{[2,3)}' FROM mailbox WHERE name = 'INBOX'`,
		`INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids) SELECT account_id, id, 3, 'X', '{[2,3)}' FROM mailbox WHERE name = 'INBOX'`,
	} {
		t.Run(damage, func(t *testing.T) {
			ctx, pool := context.Background(), pgtest.Pool(t)
			s, err := mailstore.Open(ctx, pool, mailstore.Options{Sweep: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var alice mailstore.AccountID
			if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if err := tx.QueryRow(ctx, `INSERT INTO account (address) VALUES ('alice@example.test') RETURNING id`).Scan(&alice); err != nil {
					return err
				}
				return s.InitAccount(ctx, tx, alice)
			}); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				storetest.Append(t, s, alice, "INBOX", mailText(i), 0)
			}
			if _, err := s.Remove(ctx, alice, inboxOf(t, s, alice), mailstore.UIDs(1)); err != nil {
				t.Fatal(err)
			}
			if err := mailstore.CheckInvariants(ctx, pool); err != nil {
				t.Fatalf("before the damage: %v", err)
			}
			if _, err := pool.Exec(ctx, damage); err != nil {
				t.Fatal(err)
			}
			if err := mailstore.CheckInvariants(ctx, pool); err == nil || !strings.Contains(err.Error(), "not so") {
				t.Errorf("not found: %v", err)
			}
		})
	}
}
