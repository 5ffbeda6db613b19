package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/mail"
)

// Bounds of the metadata of one mailbox, and of one account beside its mailboxes.
const (
	MaxMetadataEntries = 100
	MaxMetadataValue   = 16 << 10 // octets, of each
)

// ErrTooMuchMetadata: MaxMetadataEntries are there already.
var ErrTooMuchMetadata error = mail.Refuse(552, mail.Enhanced{5, 2, 2}, "the mailbox has as many annotations as it can")

// Annotation is one entry of RFC 5464. Its name is in lower case.
type Annotation struct {
	Entry string
	Value []byte // nil: none, SetMetadata removes the entry
}

// Metadata gives the annotations of a mailbox, or of the account itself when mbox
// is 0, by name.
func (s *Store) Metadata(ctx context.Context, acct AccountID, mbox MailboxID) ([]Annotation, error) {
	rows, err := s.pool.Query(ctx, `SELECT entry, value FROM metadata
		WHERE account_id = $1 AND mailbox_id IS NOT DISTINCT FROM nullif($2::bigint, 0) ORDER BY entry COLLATE "C"`, acct, mbox)
	if err != nil {
		return nil, dbError("read metadata", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Annotation])
	return list, dbError("read metadata", err)
}

// SetMetadata changes annotations, all of them or none. The mailbox may be
// another's: what acct keeps with it is apart from what its owner does. ErrNoMailbox,
// ErrTooMuchMetadata; the caller bounds names and values.
func (s *Store) SetMetadata(ctx context.Context, acct AccountID, mbox MailboxID, list []Annotation) error {
	err := s.inTx(ctx, "set metadata", func(tx pgx.Tx) error {
		if err := lockAccount(ctx, tx, acct); err != nil {
			return err
		}
		if mbox != 0 { // one that is being deleted must not get any more
			if _, err := oneMailbox(ctx, tx, `id = $1`, mbox); err != nil {
				return err
			}
		}
		var b pgx.Batch
		for _, a := range list {
			if a.Value == nil {
				b.Queue(`DELETE FROM metadata WHERE account_id = $1 AND mailbox_id IS NOT DISTINCT FROM nullif($2::bigint, 0) AND entry = $3`, acct, mbox, a.Entry)
				continue
			}
			b.Queue(`INSERT INTO metadata (account_id, mailbox_id, entry, value) VALUES ($1, nullif($2::bigint, 0), $3, $4)
				ON CONFLICT (account_id, mailbox_id, entry) DO UPDATE SET value = excluded.value`, acct, mbox, a.Entry, a.Value)
		}
		var n int
		b.Queue(`SELECT count(*) FROM metadata WHERE account_id = $1 AND mailbox_id IS NOT DISTINCT FROM nullif($2::bigint, 0)`, acct, mbox).
			QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		if n > MaxMetadataEntries {
			return ErrTooMuchMetadata
		}
		return nil
	})
	if err == nil {
		s.changedAccount(acct)
	}
	return err
}

// AnnotationKey names an annotation of a mailbox, or of the account when Mailbox
// is 0.
type AnnotationKey struct {
	Mailbox MailboxID
	Entry   string
}

// MetadataSums gives a checksum of every annotation of the account, by which two
// readings are compared without their values.
func (s *Store) MetadataSums(ctx context.Context, acct AccountID) (map[AnnotationKey]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT coalesce(mailbox_id, 0), entry, md5(value) FROM metadata WHERE account_id = $1`, acct)
	if err != nil {
		return nil, dbError("compare metadata", err)
	}
	sums := map[AnnotationKey]string{}
	var key AnnotationKey
	var sum string
	_, err = pgx.ForEachRow(rows, []any{&key.Mailbox, &key.Entry, &sum}, func() error {
		sums[key] = sum
		return nil
	})
	return sums, dbError("compare metadata", err)
}
