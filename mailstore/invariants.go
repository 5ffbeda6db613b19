package mailstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// unswept excepts what is being swept.
const unswept = `NOT EXISTS (SELECT FROM account_gone g WHERE g.account_id = s.account_id) AND NOT EXISTS (SELECT FROM mailbox_gone g WHERE g.mailbox_id = s.mailbox_id)`

// invariants are queries that find what must not be: each gives lines of text.
var invariants = []struct{ what, sql string }{
	{"mailbox counters equal their rows", `
		SELECT format('mailbox %s: counts %s messages, %s unseen, %s deleted, %s bytes; has %s, %s, %s, %s', b.id, n_msgs, n_unseen, n_deleted, n_bytes, c.n, c.unseen, c.deleted, c.bytes)
		FROM mailbox b, LATERAL (SELECT count(*) n, count(*) FILTER (WHERE flags & 1 = 0) unseen, count(*) FILTER (WHERE flags & 8 <> 0) deleted, coalesce(sum(size), 0)::bigint bytes
			FROM msg_now s LEFT JOIN message m USING (account_id, mailbox_id, uid) WHERE s.account_id = b.account_id AND s.mailbox_id = b.id) c
		WHERE (n_msgs, n_unseen, n_deleted, n_bytes) IS DISTINCT FROM (c.n, c.unseen, c.deleted, c.bytes)`},
	{"UIDs are below UIDNEXT, mod-sequences up to HIGHESTMODSEQ", `
		SELECT format('mailbox %s uid %s modseq %s: uidnext %s, modseq %s', s.mailbox_id, s.uid, s.modseq, b.uidnext, b.modseq)
		FROM msg_state s JOIN mailbox b ON b.id = s.mailbox_id WHERE s.uid >= b.uidnext OR s.uid < 1 OR s.modseq > b.modseq OR b.uidnext > 4294967296 OR first_recent > uidnext
		UNION ALL SELECT format('mailbox %s uid %s: expunged or left beyond uidnext', m.mailbox_id, m.uid) FROM message m JOIN mailbox b ON b.id = m.mailbox_id WHERE m.uid >= b.uidnext`},
	{"states belong to an account's mailbox", `
		SELECT format('state %s/%s/%s', s.account_id, s.mailbox_id, s.uid) FROM msg_state s
		WHERE NOT EXISTS (SELECT FROM mailbox b WHERE b.id = s.mailbox_id AND b.account_id = s.account_id) AND ` + unswept},
	{"every state has its message", `
		SELECT format('state %s/%s/%s', s.account_id, s.mailbox_id, s.uid) FROM msg_state s LEFT JOIN message m USING (account_id, mailbox_id, uid) WHERE m.uid IS NULL AND ` + unswept},
	{"every message has a state or is expunged, not both", `
		SELECT format('message %s/%s/%s: state %s, expunged %s', m.account_id, m.mailbox_id, m.uid, s.uid IS NOT NULL, e.uid IS NOT NULL)
		FROM message m LEFT JOIN msg_state s USING (account_id, mailbox_id, uid) LEFT JOIN expunged e USING (account_id, mailbox_id, uid)
		WHERE (s.uid IS NULL) = (e.uid IS NULL) AND NOT EXISTS (SELECT FROM account_gone g WHERE g.account_id = m.account_id) AND NOT EXISTS (SELECT FROM mailbox_gone g WHERE g.mailbox_id = m.mailbox_id)`},
	{"expunged rows have their message", `
		SELECT format('expunged %s/%s/%s', e.account_id, e.mailbox_id, e.uid) FROM expunged e LEFT JOIN message m USING (account_id, mailbox_id, uid) WHERE m.uid IS NULL
		AND NOT EXISTS (SELECT FROM account_gone g WHERE g.account_id = e.account_id) AND NOT EXISTS (SELECT FROM mailbox_gone g WHERE g.mailbox_id = e.mailbox_id)`},
	{"every body is there, whole", `
		SELECT format('message %s/%s/%s: body %s', m.account_id, m.mailbox_id, m.uid, m.blob_id) FROM message m LEFT JOIN blob b ON b.id = m.blob_id
		WHERE b.id IS NULL OR m.size <> b.raw_size + coalesce(length(m.prefix), 0)
		UNION ALL SELECT format('body %s: %s of %s frames', b.id, count(c.seq), b.n_chunks) FROM blob b LEFT JOIN blob_chunk c ON c.blob_id = b.id
		GROUP BY b.id HAVING count(c.seq) <> b.n_chunks OR b.n_chunks <> (b.raw_size + 262143) / 262144`},
	{"no body is orphaned", `
		WITH lost AS (SELECT id FROM blob b WHERE NOT EXISTS (SELECT FROM message m WHERE m.blob_id = b.id) AND NOT EXISTS (SELECT FROM blob_gc g WHERE g.blob_id = b.id))
		SELECT format('body %s', id) FROM lost WHERE id NOT IN (SELECT blobs_in_use(array(SELECT id FROM lost)))
		UNION ALL SELECT format('frame %s of body %s', seq, blob_id) FROM blob_chunk c WHERE NOT EXISTS (SELECT FROM blob b WHERE b.id = c.blob_id)`},
	{"the journal is consistent", `
		WITH j AS (SELECT c.*, b.modseq AS top, b.uidnext, b.change_floor FROM mailbox_change c JOIN mailbox b ON b.id = c.mailbox_id)
		SELECT format('mailbox %s modseq %s %s %s: beyond modseq %s or uidnext %s', mailbox_id, modseq, kind, uids, top, uidnext) FROM j
		WHERE modseq > top OR isempty(uids) OR upper(uids) > uidnext OR lower(uids) < 1
		UNION ALL SELECT format('mailbox %s: %s in two %s rows', mailbox_id, u, kind)
			FROM (SELECT mailbox_id, kind, generate_series(lower(r), upper(r) - 1) u FROM j, unnest(uids) r WHERE kind IN ('A', 'X')) x GROUP BY mailbox_id, kind, u HAVING count(*) > 1`},
	{"the journal knows the last change of every message", `
		SELECT format('mailbox %s uid %s modseq %s', s.mailbox_id, s.uid, s.modseq) FROM msg_state s JOIN mailbox b ON b.id = s.mailbox_id
		WHERE s.modseq > b.change_floor AND NOT EXISTS (SELECT FROM mailbox_change c WHERE c.account_id = s.account_id AND c.mailbox_id = s.mailbox_id
			AND c.modseq = s.modseq AND c.kind IN ('A', 'F') AND c.uids @> s.uid)
		UNION ALL SELECT format('mailbox %s: no X for %s', e.mailbox_id, e.uid) FROM expunged e JOIN mailbox b ON b.id = e.mailbox_id
		WHERE b.change_floor = 1 AND NOT EXISTS (SELECT FROM mailbox_change c WHERE c.account_id = e.account_id AND c.mailbox_id = e.mailbox_id AND c.kind = 'X' AND c.uids @> e.uid)
		UNION ALL SELECT format('mailbox %s: X for %s, which is there', s.mailbox_id, s.uid) FROM msg_state s JOIN mailbox_change c USING (account_id, mailbox_id) WHERE c.kind = 'X' AND c.uids @> s.uid`},
	{"operations on flags are there until they are folded", `
		SELECT format('mailbox %s: to be folded from %s, which the journal has not', b.id, fold_from) FROM mailbox b
		WHERE NOT EXISTS (SELECT FROM mailbox_change c WHERE c.account_id = b.account_id AND c.mailbox_id = b.id AND c.modseq = fold_from AND sets IS NOT NULL)
			AND fold_from IS NOT NULL AND NOT EXISTS (SELECT FROM mailbox_gone g WHERE g.mailbox_id = b.id)
		UNION ALL SELECT format('mailbox %s uid %s: modseq %s, and its flags were changed at %s', s.mailbox_id, s.uid, s.modseq, c.modseq) FROM mailbox b
			JOIN mailbox_change c ON c.account_id = b.account_id AND c.mailbox_id = b.id AND c.sets IS NOT NULL AND (b.fold_from IS NULL OR c.modseq < b.fold_from)
			JOIN msg_state s ON s.account_id = c.account_id AND s.mailbox_id = c.mailbox_id AND s.uid <@ c.uids WHERE s.modseq < c.modseq`},
	{"keywords have names", `
		SELECT format('mailbox %s uid %s flags %s: %s keywords', s.mailbox_id, s.uid, s.flags, cardinality(b.keywords)) FROM msg_state s JOIN mailbox b ON b.id = s.mailbox_id
		WHERE (s.flags >> 8) >> cardinality(b.keywords) <> 0 OR s.flags < 0 OR s.flags & 224 <> 0
			OR EXISTS (SELECT FROM unnest(b.keywords) WITH ORDINALITY k(name, n) WHERE name = '' AND s.flags & (1::bigint << (7 + n::int)) <> 0)`},
	{"every text is packed or waits for it", `
		SELECT format('account %s body %s', account_id, blob_id) FROM (SELECT account_id, blob_id FROM message EXCEPT
			(SELECT account_id, blob_id FROM text_todo UNION ALL SELECT account_id, unnest(blob_ids) FROM text_pack)) lost
		WHERE NOT EXISTS (SELECT FROM account_gone g WHERE g.account_id = lost.account_id)
		UNION ALL SELECT format('account %s pack %s: %s of %s texts', account_id, first_no, cardinality(blob_ids), n) FROM text_pack WHERE n <> cardinality(blob_ids)`},
	{"segments follow one another and end between packs", `
		SELECT format('account %s segment %s: begins at %s, before it %s', account_id, first_no, first_no, before) FROM (SELECT account_id, first_no,
			coalesce(lag(first_no + n) OVER (PARTITION BY account_id ORDER BY first_no), 0) AS before FROM text_segment) g WHERE first_no <> before
		UNION ALL SELECT format('account %s segment %s: ends at %s, of %s', g.account_id, first_no, first_no + n, text_next) FROM text_segment g JOIN account a ON a.id = g.account_id WHERE first_no + n > text_next OR n < 0
		UNION ALL SELECT format('account %s segment %s: formats %s', account_id, min(first_no), array_agg(DISTINCT format)) FROM text_segment GROUP BY account_id HAVING count(DISTINCT format) > 1
		UNION ALL SELECT format('account %s pack %s: over the end of segment %s', p.account_id, p.first_no, g.first_no) FROM text_segment g JOIN text_pack p ON p.account_id = g.account_id
			AND p.first_no < g.first_no + g.n AND p.first_no + p.n > g.first_no + g.n`},
	{"UIDVALIDITY only rises", `
		SELECT format('mailbox %s: uidvalidity %s, next %s', b.id, uidvalidity, uidvalidity_next) FROM mailbox b JOIN account a ON a.id = b.account_id WHERE uidvalidity >= uidvalidity_next
		UNION ALL SELECT format('mailbox %s %s: uidvalidity %s after %s', b.id, b.name, b.uidvalidity, p.uidvalidity) FROM mailbox b JOIN mailbox_past p USING (account_id, name)
		WHERE b.deleted_at IS NULL AND b.uidvalidity < p.uidvalidity`},
}

// invariantLines bounds how much of one breach is reported.
const invariantLines = 5

// CheckInvariants reads the whole store in one snapshot and reports all that is
// inconsistent: counters against rows, UIDs, the journal, bodies missing or
// orphaned, segments against packs. It takes long on a large site and locks nothing.
func CheckInvariants(ctx context.Context, pool *pgxpool.Pool) error {
	var found []error
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, inv := range invariants {
			rows, err := tx.Query(ctx, `SELECT * FROM (`+inv.sql+`) breach LIMIT $1`, invariantLines)
			if err != nil {
				return fmt.Errorf("check that %s: %w", inv.what, err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return fmt.Errorf("check that %s: %w", inv.what, err)
			}
			for _, line := range lines {
				found = append(found, fmt.Errorf("not so: %s: %s", inv.what, line))
			}
		}
		lines, err := checkSegments(ctx, tx)
		for _, line := range lines {
			found = append(found, fmt.Errorf("not so: segments say what the packs say: %s", line))
		}
		return err
	})
	return errors.Join(append(found, err)...)
}
