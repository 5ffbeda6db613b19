package mailstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// MaxTogether is how many messages one DeliverTogether takes at most; the caller
// bounds their octets.
const MaxTogether = 200

// Replaced is a message that goes when others come, of the same account or another.
type Replaced struct {
	Account AccountID
	Mailbox MailboxID
	UID     UID
}

// DeliverTogether stores messages of one account in one mailbox, all of them or
// none (MULTIAPPEND, RFC 3502), and takes old out in the same transaction, unless
// it is nil (REPLACE, RFC 8508): its room counts as free. Each delivery has one
// target with NoFallback. Errors are those of Deliver, and ErrGone when old is
// not there any more.
func (s *Store) DeliverTogether(ctx context.Context, acct AccountID, list []*Delivery, old *Replaced) ([]Placed, error) {
	if len(list) == 0 || len(list) > MaxTogether {
		return nil, fmt.Errorf("mailstore: %d deliveries together", len(list))
	}
	items := make([]*item, len(list))
	for i, d := range list {
		if len(d.Targets) != 1 || d.Targets[0].Account != acct || !d.Targets[0].NoFallback || d.InTx != nil || d.Dedup ||
			d.Targets[0].Mailbox != list[0].Targets[0].Mailbox {
			return nil, errors.New("mailstore: deliveries that do not go together")
		}
		var err error
		if items[i], err = s.newItem(ctx, d); err != nil {
			return nil, err
		}
	}
	release, err := s.commits.enter(ctx, acct)
	if err != nil {
		return nil, err
	}
	defer release()
	// From here on it runs to its end: a client that hangs up must not break a commit.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownTime)
	defer cancel()
	var r rowSet
	err = s.inTx(ctx, "deliver together", func(tx pgx.Tx) error {
		r = rowSet{}
		return s.togetherTx(ctx, tx, acct, items, old, &r)
	})
	if err != nil {
		return nil, err
	}
	placed := make([]Placed, len(items))
	for i, it := range items {
		placed[i] = it.placed[0]
	}
	s.handOver(r.items)
	changed := r.touched()
	if old != nil && old.Mailbox != placed[0].Mailbox {
		changed = append(changed, old.Mailbox)
	}
	s.changed(changed...)
	s.textsAdded()
	return placed, nil
}

// togetherTx does the work inside tx.
func (s *Store) togetherTx(ctx context.Context, tx pgx.Tx, acct AccountID, items []*item, old *Replaced, r *rowSet) error {
	if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, lockPatience.Milliseconds())); err != nil {
		return err
	}
	if old != nil {
		if err := takeReplaced(ctx, tx, acct, items[0].targets[0].Mailbox, old); err != nil {
			return err
		}
	}
	var b pgx.Batch
	p := s.learn(&b, items)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	for _, it := range items {
		if err := s.decide(ctx, p, it); err != nil {
			return err
		}
		if err := s.importBody(ctx, tx, it, r); err != nil {
			return err
		}
	}
	err := s.placeKeywords(ctx, tx, items[0], r)
	if errors.Is(err, errVanished) {
		err = ErrNoMailbox
	}
	if err != nil {
		return err
	}
	return s.importRows(ctx, tx, p, r)
}

// takeReplaced locks both mailboxes, in id order as everyone does, and takes the
// old message out.
func takeReplaced(ctx context.Context, tx pgx.Tx, acct AccountID, to string, old *Replaced) error {
	m, err := oneMailbox(ctx, tx, `account_id = $1 AND name = $2`, acct, to)
	if err != nil {
		return err
	}
	ids := []MailboxID{m.ID}
	if old.Mailbox != m.ID {
		ids = append(ids, old.Mailbox)
	}
	boxes, err := lockMailboxes(ctx, tx, ids...)
	if err != nil {
		return err
	}
	if boxes[old.Mailbox].Account != old.Account {
		return ErrNoMailbox
	}
	gone, err := takeOut(ctx, tx, old.Account, old.Mailbox, UIDs(old.UID), 0, false)
	if err == nil && gone.IsEmpty() {
		err = ErrGone
	}
	return err
}
