package mailstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// This file is the second round trip of a delivery's transaction: one statement
// that locks the mailboxes, allocates UIDs and mod-sequences, and inserts.

// appendHead takes the mailbox locks. An item of which one mailbox is not free
// (with SKIP LOCKED), or is gone, is left out whole.
const appendHead = `WITH doc AS (SELECT * FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bigint[], $16::bytea[], $17::bytea[], $31::date[], $32::text[], $34::bytea[])
    AS t(item, blob, sent, env, bs, hw, parts, preview, ss, sf, st, df, dt, hdr, raw, sha, frame, sent_on, sc, tk)),
 tgt AS (SELECT * FROM unnest($18::int[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bytea[], $24::bigint[], $25::timestamptz[],
    $26::bigint[], $27::text[], $28::bytea[], $29::bigint[], $33::smallint[]) WITH ORDINALITY
    AS t(item, acct, mb, email, thread, prefix, size, idate, flags, uidl, key, attempt, idate_zone, ord)),
 lck AS MATERIALIZED (SELECT id FROM mailbox WHERE id = ANY($20) AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE`

const appendWant = `),
 bad AS MATERIALIZED (SELECT DISTINCT item FROM tgt WHERE mb NOT IN (SELECT id FROM lck)),
 want AS MATERIALIZED (SELECT *, row_number() OVER (PARTITION BY mb ORDER BY ord) - 1 AS rn FROM tgt WHERE item NOT IN (SELECT item FROM bad)),`

// appendPut allocates.
const appendPut = `
 cnt AS (SELECT mb, count(*) n, sum(size)::bigint sz, count(*) FILTER (WHERE flags & 1 = 0) unseen, count(*) FILTER (WHERE flags & 8 <> 0) deleted FROM want GROUP BY mb),
 upd AS (UPDATE mailbox m SET uidnext = m.uidnext + n, modseq = m.modseq + 1, n_msgs = n_msgs + n, n_bytes = n_bytes + sz,
    n_unseen = n_unseen + unseen, n_deleted = n_deleted + deleted FROM cnt WHERE m.id = cnt.mb
    RETURNING m.id, m.account_id, m.uidnext - cnt.n AS first, cnt.n, m.modseq, m.uidvalidity),
 put AS MATERIALIZED (SELECT want.*, first + rn AS uid, modseq, uidvalidity FROM want JOIN upd ON upd.id = mb),`

// appendRows inserts.
const appendRows = `
 s AS (INSERT INTO msg_state (account_id, mailbox_id, uid, flags, modseq) SELECT acct, mb, uid, flags, modseq FROM put),
 c AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids)
    SELECT account_id, id, modseq, 'A', int8multirange(int8range(first, first + n)) FROM upd),
 x AS (INSERT INTO text_todo (account_id, blob_id) SELECT DISTINCT acct, blob FROM put JOIN doc USING (item) ON CONFLICT DO NOTHING),
 d AS (INSERT INTO delivery (key, attempt, node, account_id, mailbox_id, uid, email_id) SELECT key, attempt, $30::int, acct, mb, uid, email FROM put WHERE key IS NOT NULL),
 b AS (INSERT INTO blob (id, raw_size, codec, n_chunks, sha256)
    SELECT blob, raw, 1, CASE WHEN frame IS NULL THEN 0 ELSE 1 END, sha FROM doc WHERE raw IS NOT NULL AND item IN (SELECT item FROM put)),
 f AS (INSERT INTO blob_chunk (blob_id, seq, data) SELECT blob, 0, frame FROM doc WHERE frame IS NOT NULL AND item IN (SELECT item FROM put)),
 m AS (INSERT INTO message (account_id, mailbox_id, uid, blob_id, email_id, thread_id, prefix, size, idate, idate_zone, sent_at, sent_on, env, bodystructure, hdr_wire, parts,
      preview, sort_subject, sort_from, sort_to, sort_cc, display_from, display_to, hdr, uidl, thread_keys)
    SELECT acct, mb, uid, blob, email, thread, prefix, size, idate, idate_zone, sent, sent_on, env, bs, hw, parts, preview, ss, sf, st, sc, df, dt, hdr, uidl, tk FROM put JOIN doc USING (item))
 SELECT ord, uid, modseq, uidvalidity FROM put`

const (
	sqlAppendShared = appendHead + ` SKIP LOCKED` + appendWant + appendPut + appendRows
	sqlAppendOwn    = appendHead + appendWant + appendPut + appendRows
	sqlThreadRefs   = `INSERT INTO thread_ref (account_id, msgid_hash, thread_id) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) ON CONFLICT DO NOTHING`
)

// rowSet is the parallel arrays of an append.
type rowSet struct {
	items []*item
	// documents
	item                    []int32
	blob                    []int64
	sent                    []*time.Time
	env, bs, hw, parts      [][]byte
	preview, ss, sf, st, sc []string
	df, dt                  []string
	hdr                     []string
	raw                     []*int64
	sha, frame, threadKeys  [][]byte
	// targets
	of                      []*target
	ofItem                  []int32
	ofPlaced                []*Placed
	acct, mb, email, thread []int64
	prefix                  [][]byte
	size                    []int64
	idate                   []time.Time
	idateZone               []int16 // minutes east of UTC
	flags                   []int64
	uidl                    []*string
	key                     [][]byte
	attempt                 []int64
	mailboxes               map[MailboxID]struct{}
}

// add puts an item's rows in; withBlob: its body is inserted along.
func (r *rowSet) add(it *item, withBlob bool) {
	n := int32(len(r.items))
	r.items = append(r.items, it)
	var any bool
	for i := range it.targets {
		t := &it.targets[i]
		if t.skip {
			continue
		}
		any = true
		r.of, r.ofItem, r.ofPlaced = append(r.of, t), append(r.ofItem, n), append(r.ofPlaced, &it.placed[i])
		r.acct, r.mb = append(r.acct, int64(t.Account)), append(r.mb, int64(t.mailbox))
		r.email, r.thread = append(r.email, t.email), append(r.thread, t.thread)
		var prefix []byte
		if len(t.Prefix) > 0 {
			prefix = t.Prefix
		}
		r.prefix, r.size = append(r.prefix, prefix), append(r.size, t.size(it))
		_, zone := t.InternalDate.Zone()
		r.idate, r.idateZone = append(r.idate, t.InternalDate), append(r.idateZone, int16(zone/60))
		r.flags = append(r.flags, int64(t.Flags|t.keyword))
		var uidl *string
		if t.UIDL != "" {
			uidl = &t.UIDL
		}
		r.uidl = append(r.uidl, uidl)
		r.key, r.attempt = append(r.key, t.key), append(r.attempt, it.attempt)
		if r.mailboxes == nil {
			r.mailboxes = map[MailboxID]struct{}{}
		}
		r.mailboxes[t.mailbox] = struct{}{}
	}
	if any {
		r.addDocument(n, it, withBlob)
	}
}

func (r *rowSet) addDocument(n int32, it *item, withBlob bool) {
	p := it.d.Parsed
	r.item, r.blob = append(r.item, n), append(r.blob, it.blob)
	var sent *time.Time
	if !p.SentDate.IsZero() && p.SentDate.Year() > -4000 && p.SentDate.Year() < 290000 {
		sent = &p.SentDate
	}
	r.sent = append(r.sent, sent)
	r.env, r.bs = append(r.env, notNil(p.Envelope)), append(r.bs, notNil(p.BodyStructure))
	r.hw, r.parts = append(r.hw, notNil(p.HeaderSubset)), append(r.parts, notNil(p.Parts))
	r.threadKeys = append(r.threadKeys, p.ThreadKeys)
	r.preview, r.hdr = append(r.preview, cleanText(p.Preview)), append(r.hdr, cleanText(p.HeaderText))
	r.ss = append(r.ss, cleanText(p.SortSubject))
	r.sf, r.st, r.sc = append(r.sf, cleanText(p.SortFrom)), append(r.st, cleanText(p.SortTo)), append(r.sc, cleanText(p.SortCc))
	r.df, r.dt = append(r.df, cleanText(p.DisplayFrom)), append(r.dt, cleanText(p.DisplayTo))
	var raw *int64
	var sha, frame []byte
	if withBlob {
		size := it.d.Body.Size()
		raw, sha, frame = &size, it.sum[:], it.frame
	}
	r.raw, r.sha, r.frame = append(r.raw, raw), append(r.sha, sha), append(r.frame, frame)
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// queue puts the statement on b, with the arguments that it takes more; put counts the targets that were inserted.
func (r *rowSet) queue(b *pgx.Batch, sql string, node int32, put *int, more ...any) {
	args := append([]any{r.item, r.blob, r.sent, r.env, r.bs, r.hw, r.parts, r.preview, r.ss, r.sf, r.st, r.df, r.dt, r.hdr, r.raw, r.sha, r.frame,
		r.ofItem, r.acct, r.mb, r.email, r.thread, r.prefix, r.size, r.idate, r.flags, r.uidl, r.key, r.attempt, node,
		r.sent, r.sc, // sent_on is the day in the zone that the field gives
		r.idateZone, r.threadKeys,
	}, more...)
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		var ord int64
		var uid UID
		var modseq ModSeq
		var validity uint32
		_, err := pgx.ForEachRow(rows, []any{&ord, &uid, &modseq, &validity}, func() error {
			t, p := r.of[ord-1], r.ofPlaced[ord-1]
			*p = Placed{Account: t.Account, Mailbox: t.mailbox, Name: t.name, UIDValidity: validity, UID: uid, EmailID: t.email, ModSeq: modseq}
			*put++
			return nil
		})
		return err
	})
}

// touched gives the mailboxes of the rows.
func (r *rowSet) touched() []MailboxID {
	ids := make([]MailboxID, 0, len(r.mailboxes))
	for id := range r.mailboxes {
		ids = append(ids, id)
	}
	return ids
}

// commitShared takes a group of items through one transaction, in one round trip
// or two. Each item ends with its placed set, its err set, or marked again.
func (s *Store) commitShared(ctx context.Context, group []*item) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		failAll(group, dbError("deliver", err))
		return
	}
	defer conn.Release()
	var b pgx.Batch
	var r rowSet
	put := 0
	here, leaving := partLeaving(group)
	if s.commits.inboxes.atOnce(here) {
		for _, it := range here {
			r.add(it, true)
		}
		b.Queue("begin")
		if len(here) > 0 {
			r.queueAtOnce(&b, s.node, &put)
		}
	} else {
		p, err := s.askFirst(ctx, conn, here)
		if err != nil {
			s.failGroup(ctx, conn, group, err)
			return
		}
		for _, it := range here {
			if it.err = s.decide(ctx, p, it); it.err == nil {
				r.add(it, true)
			}
		}
		if len(r.of)+len(leaving) == 0 { // refused or folded, all of them
			rollback(ctx, conn)
			s.settle(group)
			return
		}
		if len(r.of) > 0 {
			r.queue(&b, sqlAppendShared, s.node, &put)
			if accounts, hashes, threads := p.threads.rows(); len(accounts) > 0 {
				b.Queue(sqlThreadRefs, accounts, hashes, threads)
			}
		}
	}
	s.queueLeaving(&b, leaving)
	b.Queue("commit")
	all := slices.Concat(r.items, leaving)
	s.openReceipts(all)
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		clearPlaced(&r)
		if outcomeUnknown(err) {
			setLeft(leaving, true) // unless the answer is that they did not
			conn.Hijack().Close(ctx)
			s.askOutcome(all)
		} else {
			setLeft(leaving, false)
			s.failGroup(ctx, conn, all, err)
		}
	}
	s.settle(group)
	s.handOver(r.items)
	s.changed(r.touched()...)
	s.textsAdded()
}

// askFirst begins the transaction and asks all questions of a group.
func (s *Store) askFirst(ctx context.Context, conn *pgxpool.Conn, group []*item) (*place, error) {
	var b pgx.Batch
	b.Queue("begin")
	p := s.learn(&b, group)
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		return nil, err
	}
	s.commits.inboxes.learned(p, group)
	return p, s.keepFoldable(ctx, conn, p)
}

// settle marks the items that were left out by the statement.
func (s *Store) settle(group []*item) {
	for _, it := range group {
		for i := range it.targets {
			if it.err == nil && !it.targets[i].skip && it.placed[i].UID == 0 {
				it.again = true
			}
		}
		if it.err == nil && it.leaves() && !it.left {
			it.again = true
		}
		if it.err != nil || it.again {
			s.closeReceipt(it)
			s.commits.inboxes.forget(it)
		}
	}
}

func clearPlaced(r *rowSet) {
	for _, p := range r.ofPlaced {
		*p = Placed{}
	}
}

// openReceipts says before the commit that the sessions of these items are
// alive: from the moment the rows can be seen, nothing is folded into them.
func (s *Store) openReceipts(items []*item) {
	for _, it := range items {
		for _, row := range it.receipt {
			s.receipts.add(row.attempt)
		}
	}
}

func (s *Store) closeReceipt(it *item) {
	for _, row := range it.receipt {
		s.receipts.forget(row.attempt)
	}
}

func failAll(items []*item, err error) {
	for _, it := range items {
		it.err = err
	}
}

// failGroup ends a failed transaction. One bad item must not fail the others:
// those of a group are tried again one by one.
func (s *Store) failGroup(ctx context.Context, conn *pgxpool.Conn, items []*item, err error) {
	rollback(ctx, conn)
	if len(items) == 1 && !retryable(err) || conn.Conn().IsClosed() || ctx.Err() != nil {
		failAll(items, dbError("deliver", err))
		return
	}
	s.log.WarnContext(ctx, "a group of deliveries failed, trying them one by one", "event", "group_failed", "count", len(items), "err", err)
	for _, it := range items {
		if it.err == nil {
			it.again = true
		}
	}
}

// rollback ends a transaction that was begun by hand. A connection that cannot
// do that is closed by the pool when it is released.
func rollback(ctx context.Context, conn *pgxpool.Conn) {
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		conn.Conn().Close(ctx)
	}
}

// errVanished: a mailbox went between being found and being locked.
var errVanished = errors.New("a mailbox vanished")
