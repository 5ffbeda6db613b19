package mailstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"posthouse/internal/message"
)

// How the indexer paces itself.
const (
	indexSoon    = packTexts              // texts pending of one account that are worth a pack at once
	indexTick    = 250 * time.Millisecond // between looks at text_todo while there is anything
	indexSlow    = 30 * time.Second       // looks without a hint: what other nodes left, copies between accounts
	indexLock    = 0x70687478             // first key of the advisory lock on an account's texts
	indexBatch   = 64                     // texts in a transaction
	indexOctets  = 2 << 20                // raw octets in a transaction, or one message
	indexCompact = 20                     // slow looks between looks for dead texts
)

// indexer packs texts outside of delivery. Nothing depends on it but the speed of
// searches: they read the bodies of what is not packed yet.
type indexer struct {
	hint    chan struct{}           // deliveries have added texts
	waiting map[AccountID]time.Time // accounts with fewer than indexSoon texts, and since when
	fresh   handover
	slow    int
}

func newIndexer() *indexer {
	return &indexer{hint: make(chan struct{}, 1), waiting: map[AccountID]time.Time{}}
}

// textsAdded tells the indexer that there is something to do.
func (s *Store) textsAdded() {
	select {
	case s.index.hint <- struct{}{}:
	default:
	}
}

// runIndexer is the indexer's goroutine.
func (s *Store) runIndexer(ctx context.Context) {
	wait := time.NewTimer(0) // what was left by the last process
	defer wait.Stop()
	for {
		hinted := false
		select {
		case <-ctx.Done():
			return
		case <-s.index.hint:
			hinted = true
		case <-wait.C:
		}
		if hinted && !pause(ctx, indexTick) { // a burst of deliveries makes fuller packs
			return
		}
		again, err := s.indexDue(ctx, hinted)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "packing texts failed", "event", "index_failed", "err", err)
		}
		next := indexSlow
		if again && err == nil {
			next = indexTick
		}
		wait.Reset(next)
	}
}

// indexDue packs the texts of the accounts that have enough of them or have
// waited for Options.Index; again says that others wait.
func (s *Store) indexDue(ctx context.Context, hinted bool) (again bool, err error) {
	pending, err := s.pendingTexts(ctx)
	if err != nil {
		return false, err
	}
	x, now := s.index, time.Now()
	for acct := range x.waiting {
		if _, ok := pending[acct]; !ok {
			delete(x.waiting, acct)
		}
	}
	for acct, n := range pending {
		since, known := x.waiting[acct]
		if !known {
			since, x.waiting[acct] = now, now
		}
		if n < indexSoon && now.Sub(since) < s.opt.Index {
			again = true
			continue
		}
		busy, failed := s.indexAccount(ctx, acct)
		s.segments.kick(acct)
		err = errors.Join(err, failed)
		if delete(x.waiting, acct); busy {
			again = true
		}
	}
	if !again {
		x.fresh.clear()
	}
	if x.slow++; !hinted && x.slow >= indexCompact {
		x.slow = 0
		err = errors.Join(err, s.dropDeadTexts(ctx))
	}
	return again, err
}

// pendingAccounts bounds one look at text_todo.
const pendingAccounts = 1000

func (s *Store) pendingTexts(ctx context.Context) (map[AccountID]int, error) {
	rows, err := s.pool.Query(ctx, `SELECT account_id, count(*) FROM text_todo GROUP BY account_id LIMIT $1`, pendingAccounts)
	if err != nil {
		return nil, dbError("look for texts to pack", err)
	}
	pending := map[AccountID]int{}
	var acct AccountID
	var n int
	_, err = pgx.ForEachRow(rows, []any{&acct, &n}, func() error {
		pending[acct] = n
		return nil
	})
	return pending, dbError("look for texts to pack", err)
}

// IndexTexts packs all texts that are pending, of all accounts, drops the dead
// ones where they are many, and builds the segments that are due. The store's
// goroutines do the same by themselves.
func (s *Store) IndexTexts(ctx context.Context) error {
	for {
		pending, err := s.pendingTexts(ctx)
		if err != nil {
			return err
		}
		if len(pending) == 0 {
			return errors.Join(s.dropDeadTexts(ctx), s.buildSegments(ctx, nil))
		}
		for acct := range pending {
			busy, err := s.indexAccount(ctx, acct)
			if err != nil {
				return err
			}
			if busy && !pause(ctx, time.Millisecond) { // another process is at it
				return ctx.Err()
			}
		}
	}
}

// indexAccount packs an account's pending texts; busy says that another
// indexer is at it.
func (s *Store) indexAccount(ctx context.Context, acct AccountID) (busy bool, err error) {
	for more := true; more && !busy; {
		err := s.inTx(ctx, "pack texts", func(tx pgx.Tx) (err error) {
			if busy, err = textsBusy(ctx, tx, acct); err != nil || busy {
				return err
			}
			more, err = s.indexSome(ctx, tx, acct)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	return busy, nil
}

// textsBusy takes the account's texts for this transaction, unless another has them.
func textsBusy(ctx context.Context, tx pgx.Tx, acct AccountID) (busy bool, err error) {
	var mine bool
	err = tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1, $2)`, int32(indexLock), int32(acct)).Scan(&mine)
	return !mine, err
}

// indexSome packs what fits one transaction.
func (s *Store) indexSome(ctx context.Context, tx pgx.Tx, acct AccountID) (more bool, err error) {
	sizes, ids, more, err := todo(ctx, tx, acct)
	if err != nil || len(ids) == 0 {
		return false, err
	}
	texts, err := s.readTexts(ctx, tx, ids, sizes)
	if err != nil {
		return false, err
	}
	if err := s.writePacks(ctx, tx, acct, texts); err != nil {
		return false, err
	}
	// a body that came back to the account is alive again
	_, err = tx.Exec(ctx, `WITH dead AS (DELETE FROM text_dead WHERE account_id = $1 AND blob_id = ANY($2))
		DELETE FROM text_todo WHERE account_id = $1 AND blob_id = ANY($2)`, acct, ids)
	return more, err
}

// todo gives the bodies that are next, with their sizes: -1 for one that is gone.
func todo(ctx context.Context, tx pgx.Tx, acct AccountID) (sizes map[int64]int64, ids []int64, more bool, err error) {
	rows, err := tx.Query(ctx, `SELECT t.blob_id, coalesce(b.raw_size, -1) FROM text_todo t LEFT JOIN blob b ON b.id = t.blob_id
		WHERE t.account_id = $1 ORDER BY t.blob_id LIMIT $2`, acct, indexBatch+1)
	if err != nil {
		return nil, nil, false, err
	}
	sizes = map[int64]int64{}
	var id, size, total int64
	_, err = pgx.ForEachRow(rows, []any{&id, &size}, func() error {
		if len(ids) == indexBatch || len(ids) > 0 && total+size > indexOctets {
			more = true
		}
		if !more {
			total += max(size, 0)
			ids, sizes[id] = append(ids, id), size
		}
		return nil
	})
	return sizes, ids, more, err
}

// readTexts makes the texts of bodies, in the order of ids. A body that cannot
// be read has none: it is reported, and does not come up again and again.
func (s *Store) readTexts(ctx context.Context, tx pgx.Tx, ids []int64, sizes map[int64]int64) ([]packText, error) {
	made := make(map[int64]packText, len(ids))
	var away []int64
	for _, id := range ids {
		raw, ok := s.index.fresh.take(id)
		if !ok {
			away = append(away, id)
			continue
		}
		made[id] = s.textOf(ctx, id, raw)
	}
	err := s.readBodies(ctx, tx, away, sizes, made)
	if err != nil {
		return nil, err
	}
	texts := make([]packText, 0, len(ids))
	for _, id := range ids {
		t, ok := made[id]
		if !ok && sizes[id] > frameSize {
			r := &bodyInTx{q: &search{ctx: ctx, tx: tx}, blob: id}
			t.header, t.body, err = message.SearchText(r, sizes[id], message.MaxText)
			if pgErr := tx.Conn().IsClosed(); err != nil && (pgErr || ctx.Err() != nil) {
				return nil, err
			}
			if err != nil {
				s.log.ErrorContext(ctx, "a body cannot be read", "event", "body_damaged", "blob", id, "err", err)
				t = packText{}
			}
		}
		if t.blob = id; sizes[id] >= 0 {
			texts = append(texts, t)
		}
	}
	return texts, nil
}

// readBodies makes the texts of bodies of one frame that the database has.
func (s *Store) readBodies(ctx context.Context, tx pgx.Tx, ids []int64, sizes map[int64]int64, made map[int64]packText) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT blob_id, data FROM blob_chunk WHERE blob_id = ANY($1) AND seq = 0`, ids)
	if err != nil {
		return err
	}
	var id int64
	var z pgtype.DriverBytes
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &z}, func() (err error) {
		if sizes[id] > frameSize {
			return nil
		}
		if raw, err = decoder.DecodeAll(z, raw[:0]); err != nil {
			s.log.ErrorContext(ctx, "a body cannot be read", "event", "body_damaged", "blob", id, "err", err)
			return nil
		}
		made[id] = s.textOf(ctx, id, raw)
		return nil
	})
	return err
}

// textOf makes the texts of a body in memory. One that cannot be read has none.
func (s *Store) textOf(ctx context.Context, id int64, raw []byte) packText {
	header, body, err := message.SearchText(inMemory(raw), int64(len(raw)), message.MaxText)
	if err != nil {
		s.log.ErrorContext(ctx, "a body cannot be read", "event", "body_damaged", "blob", id, "err", err)
		return packText{blob: id}
	}
	return packText{id, header, body}
}

// writePacks stores texts. An account that gets few messages would get a pack for
// each: so the last packs are taken along while they are not larger than what is
// new, which moves a text at most four times.
func (s *Store) writePacks(ctx context.Context, tx pgx.Tx, acct AccountID, texts []packText) error {
	if len(texts) == 0 {
		return nil
	}
	var first int64
	if err := tx.QueryRow(ctx, `UPDATE account SET text_next = text_next + $2 WHERE id = $1 RETURNING text_next - $2`, acct, len(texts)).Scan(&first); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // the account was removed
		}
		return err
	}
	texts, first, err := takeLast(ctx, tx, acct, texts, first)
	if err != nil {
		return err
	}
	var b pgx.Batch
	for len(texts) > 0 {
		n := packLen(texts)
		p := encodePack(first, texts[:n])
		b.Queue(`INSERT INTO text_pack (account_id, first_no, n, blob_ids, z, heads) VALUES ($1, $2, $3, $4, $5, $6)`, acct, p.firstNo, n, p.blobs, p.z, p.heads)
		texts, first = texts[n:], first+int64(n)
	}
	return tx.SendBatch(ctx, &b).Close()
}

// packLen is how many of the texts make the next pack.
func packLen(texts []packText) int {
	n, octets := 0, 0
	for n < len(texts) && n < packTexts {
		if octets += len(texts[n].body); n > 0 && octets > packOctets {
			break
		}
		n++
	}
	return n
}

// takeLast puts the texts of the account's last packs before texts, where that
// makes a fuller pack, and removes those packs.
func takeLast(ctx context.Context, tx pgx.Tx, acct AccountID, texts []packText, first int64) ([]packText, int64, error) {
	for len(texts) < packTexts {
		var p pack
		err := tx.QueryRow(ctx, `SELECT first_no, blob_ids, z, heads FROM text_pack WHERE account_id = $1 AND n <= $2
			AND first_no = (SELECT max(first_no) FROM text_pack WHERE account_id = $1)
			AND first_no >= coalesce((SELECT max(first_no + n) FROM text_segment WHERE account_id = $1), 0)`, acct, min(len(texts), packTexts-len(texts))).Scan(&p.firstNo, &p.blobs, &p.z, &p.heads)
		if errors.Is(err, pgx.ErrNoRows) {
			return texts, first, nil
		}
		if err != nil {
			return nil, 0, err
		}
		last, err := decodePack(&p)
		if err != nil {
			return nil, 0, err
		}
		if last = append(last, texts...); packLen(last) < len(last) {
			return texts, first, nil
		}
		if _, err := tx.Exec(ctx, `DELETE FROM text_pack WHERE account_id = $1 AND first_no = $2`, acct, p.firstNo); err != nil {
			return nil, 0, err
		}
		texts, first = last, p.firstNo
	}
	return texts, first, nil
}
