package mailstore

import (
	"github.com/jackc/pgx/v5"
)

// Mail that only leaves shares a transaction with what else is delivered at the
// same moment: its body goes in with those of others, and the queue's statements
// follow in the same round trip (Delivery.Leave). What was delivered before is
// left out, and goes the long way, where it is decided whether to fold it.

// sqlLeave stores bodies that no message row refers to, without those that may
// have been delivered before. They are there from the first statement of the
// queue on, which refers to them before the commit.
const sqlLeave = `WITH doc AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[])
    AS t(blob, raw, sha, frame, key, attempt)),
 put AS MATERIALIZED (SELECT doc.* FROM doc LEFT JOIN LATERAL (SELECT true AS found FROM delivery WHERE key = doc.key AND at > now() - $8::interval LIMIT 1) earlier ON true
    WHERE earlier.found IS NULL),
 b AS (INSERT INTO blob (id, raw_size, codec, n_chunks, sha256) SELECT blob, raw, 1, CASE WHEN frame IS NULL THEN 0 ELSE 1 END, sha FROM put),
 f AS (INSERT INTO blob_chunk (blob_id, seq, data) SELECT blob, 0, frame FROM put WHERE frame IS NOT NULL),
 d AS (INSERT INTO delivery (key, attempt, node, account_id, mailbox_id, uid, email_id) SELECT key, attempt, $7::int, 0, 0, 0, 0 FROM put WHERE key IS NOT NULL)
 SELECT blob FROM put`

// leaves reports whether nobody here gets the message.
func (it *item) leaves() bool { return len(it.targets) == 0 && it.d.Leave != nil }

// partLeaving parts a group by that.
func partLeaving(group []*item) (here, leaving []*item) {
	for _, it := range group {
		if it.leaves() {
			leaving = append(leaving, it)
		} else {
			here = append(here, it)
		}
	}
	return here, leaving
}

// queueLeaving puts the statements for items that leave on b.
func (s *Store) queueLeaving(b *pgx.Batch, leaving []*item) {
	var blobs, sizes, attempts []int64
	var sums, frames, keys [][]byte
	var more pgx.Batch
	byBlob := make(map[int64]*item, len(leaving))
	for _, it := range leaving {
		it.left, it.receipt = false, it.receipt[:0]
		size := it.d.Body.Size()
		known := len(more.QueuedQueries)
		if it.err = it.d.Leave(&more, BlobRef{ID: it.blob, Size: size}); it.err != nil {
			more.QueuedQueries = more.QueuedQueries[:known]
			continue
		}
		if it.remote != nil {
			it.receipt = append(it.receipt, deliveryRow{it.remote, it.attempt})
		}
		byBlob[it.blob] = it
		blobs, sizes, attempts = append(blobs, it.blob), append(sizes, size), append(attempts, it.attempt)
		sums, frames, keys = append(sums, it.sum[:]), append(frames, it.frame), append(keys, it.remote)
	}
	if len(blobs) == 0 {
		return
	}
	b.Queue(sqlLeave, blobs, sizes, sums, frames, keys, attempts, s.node, foldWindow).Query(func(rows pgx.Rows) error {
		var blob int64
		_, err := pgx.ForEachRow(rows, []any{&blob}, func() error {
			byBlob[blob].left = true
			return nil
		})
		return err
	})
	b.QueuedQueries = append(b.QueuedQueries, more.QueuedQueries...)
}

// setLeft notes what became of items whose transaction failed.
func setLeft(leaving []*item, left bool) {
	for _, it := range leaving {
		it.left = left
	}
}
