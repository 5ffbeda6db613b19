package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockPatience bounds how long a delivery waits for a mailbox that somebody
// else has locked; the client then hears that it should try again.
const lockPatience = 20 * time.Second

// commitOwn takes one item through a transaction of its own, which waits for
// locks: large bodies, what runs InTx, keywords, and mailboxes that were not free.
func (s *Store) commitOwn(ctx context.Context, it *item) {
	for try := 1; ; try++ {
		it.again, it.err = false, nil
		unknown, err := s.tryOwn(ctx, it)
		switch {
		case err == nil:
			s.changedBy(it)
			return
		case unknown:
			s.askOutcome([]*item{it})
			s.changedBy(it)
		case try < 4 && (errors.Is(err, errVanished) || retryable(err)):
			s.closeReceipt(it)
			continue
		default:
			it.err = dbError("deliver", err)
		}
		if it.err != nil {
			s.closeReceipt(it)
		}
		return
	}
}

func (s *Store) changedBy(it *item) {
	var ids []MailboxID
	for i := range it.targets {
		if t := &it.targets[i]; !t.skip && !slices.Contains(ids, t.mailbox) {
			ids = append(ids, t.mailbox)
		}
	}
	s.changed(ids...)
	s.textsAdded()
}

// tryOwn is one try; unknown says that err came from the commit itself.
func (s *Store) tryOwn(ctx context.Context, it *item) (unknown bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // after a commit it does nothing
	if err := s.fillOwn(ctx, tx, it); err != nil {
		return false, err
	}
	s.openReceipts([]*item{it})
	if err := tx.Commit(ctx); err != nil {
		return outcomeUnknown(err), err
	}
	return false, nil
}

// fillOwn does all of the transaction but its commit.
func (s *Store) fillOwn(ctx context.Context, tx pgx.Tx, it *item) error {
	var b pgx.Batch
	b.Queue(fmt.Sprintf(`SET LOCAL lock_timeout = %d`, lockPatience.Milliseconds()))
	p := s.learn(&b, []*item{it})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if err := s.keepFoldable(ctx, tx, p); err != nil {
		return err
	}
	if err := s.decide(ctx, p, it); err != nil {
		return err
	}
	var r rowSet
	r.add(it, false)
	if len(r.of) == 0 && !it.inTx {
		return nil // folded, all of it
	}
	if err := storeBlob(ctx, tx, it.blob, it.d.Body, it.sum); err != nil {
		return err
	}
	if it.extra > 0 {
		if _, err := tx.Exec(ctx, `INSERT INTO blob_wire (blob_id, extra) VALUES ($1, $2)`, it.blob, it.extra); err != nil {
			return err
		}
	}
	if len(r.of) > 0 {
		if err := s.insertOwn(ctx, tx, it, p, &r); err != nil {
			return err
		}
	}
	// Last, so that a mailbox that is not free holds none of the queue's locks.
	if !it.inTx {
		return nil
	}
	if err := it.d.InTx(ctx, tx, BlobRef{ID: it.blob, Size: it.d.Body.Size()}); err != nil {
		return err
	}
	if it.remote == nil {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO delivery (key, attempt, node, account_id, mailbox_id, uid, email_id) VALUES ($1, $2, $3, 0, 0, 0, 0)`,
		it.remote, it.attempt, s.node)
	return err
}

// insertOwn inserts the item's messages, waiting for their mailboxes.
func (s *Store) insertOwn(ctx context.Context, tx pgx.Tx, it *item, p *place, r *rowSet) error {
	if err := s.placeKeywords(ctx, tx, it, r); err != nil {
		return err
	}
	var b pgx.Batch
	put := 0
	r.queue(&b, sqlAppendOwn, s.node, &put)
	if accounts, hashes, threads := p.threads.rows(); len(accounts) > 0 {
		b.Queue(sqlThreadRefs, accounts, hashes, threads)
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if put != len(r.of) {
		clearPlaced(r)
		return errVanished
	}
	return nil
}

// placeKeywords turns the keywords of the targets into bits, adding those that
// their mailboxes don't know.
func (s *Store) placeKeywords(ctx context.Context, tx pgx.Tx, it *item, r *rowSet) error {
	if !slices.ContainsFunc(r.of, func(t *target) bool { return len(t.Keywords) > 0 }) {
		return nil
	}
	boxes, err := lockMailboxes(ctx, tx, r.touched()...)
	if errors.Is(err, ErrNoMailbox) {
		return errVanished
	}
	if err != nil {
		return err
	}
	for i, t := range r.of {
		m := boxes[t.mailbox]
		if t.keyword, err = keywordBits(ctx, tx, &m, t.Keywords, true); err != nil {
			return err
		}
		boxes[t.mailbox] = m
		r.flags[i] |= int64(t.keyword)
	}
	return nil
}
