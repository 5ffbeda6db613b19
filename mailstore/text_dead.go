package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// dropDeadTexts drops the texts of bodies that are gone, of the accounts where
// they are more than a quarter of all.
func (s *Store) dropDeadTexts(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, `SELECT d.account_id FROM (SELECT account_id, count(*) AS n FROM text_dead GROUP BY account_id) d,
		LATERAL (SELECT coalesce(sum(n), 0) AS n FROM text_pack p WHERE p.account_id = d.account_id) t WHERE d.n * 4 > t.n`)
	if err != nil {
		return dbError("look for dead texts", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[AccountID])
	if err != nil {
		return dbError("look for dead texts", err)
	}
	for _, acct := range accounts {
		if err := s.inTx(ctx, "drop dead texts", func(tx pgx.Tx) error { return compactAccount(ctx, tx, acct) }); err != nil {
			return err
		}
	}
	return nil
}

// Bounds of one transaction that drops dead texts.
const (
	compactPacks = 256
	compactTexts = 50_000
)

// compactAccount rewrites packs that hold dead texts; what does not fit the
// transaction stays for the next time. A body that the account has again is not
// dead.
func compactAccount(ctx context.Context, tx pgx.Tx, acct AccountID) error {
	if busy, err := textsBusy(ctx, tx, acct); err != nil || busy {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM text_dead d WHERE account_id = $1
		AND EXISTS (SELECT FROM message m WHERE m.blob_id = d.blob_id AND m.account_id = $1)`, acct); err != nil {
		return err
	}
	var dead []int64
	if err := tx.QueryRow(ctx, `SELECT ARRAY(SELECT blob_id FROM text_dead WHERE account_id = $1 LIMIT $2)`, acct, compactTexts).Scan(&dead); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT first_no FROM text_pack p WHERE account_id = $1
		AND EXISTS (SELECT FROM unnest(blob_ids) b JOIN unnest($2::bigint[]) d ON d = b) ORDER BY first_no LIMIT $3`, acct, dead, compactPacks)
	if err != nil {
		return err
	}
	packs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	gone := make(map[int64]bool, len(dead))
	for _, b := range dead {
		gone[b] = true
	}
	for _, no := range packs {
		if err := compactPack(ctx, tx, acct, no, gone); err != nil {
			return err
		}
	}
	if len(packs) == compactPacks {
		return nil
	}
	if err := compactSegments(ctx, tx, acct, gone); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM text_dead WHERE account_id = $1 AND blob_id = ANY($2)`, acct, dead)
	return err
}

// compactPack writes one pack without its dead texts, or removes it.
func compactPack(ctx context.Context, tx pgx.Tx, acct AccountID, no int64, gone map[int64]bool) error {
	p := pack{firstNo: no}
	err := tx.QueryRow(ctx, `SELECT blob_ids, z, heads FROM text_pack WHERE account_id = $1 AND first_no = $2`, acct, no).Scan(&p.blobs, &p.z, &p.heads)
	if err != nil {
		return err
	}
	texts, err := decodePack(&p)
	if err != nil {
		return err
	}
	var left []packText
	for _, t := range texts {
		if !gone[t.blob] {
			left = append(left, t)
		}
	}
	if len(left) == 0 {
		_, err = tx.Exec(ctx, `DELETE FROM text_pack WHERE account_id = $1 AND first_no = $2`, acct, no)
		return err
	}
	p = encodePack(no, left)
	_, err = tx.Exec(ctx, `UPDATE text_pack SET n = $3, blob_ids = $4, z = $5, heads = $6 WHERE account_id = $1 AND first_no = $2`,
		acct, no, len(left), p.blobs, p.z, p.heads)
	return err
}
