package mailstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// This file is the first round trip of a delivery's transaction: it asks for
// all that the items need to know (mailboxes by name, quota, threads, earlier
// deliveries of the same octets) and decides where each target goes. Nothing is
// locked yet.

const sqlResolve = `SELECT m.id, m.account_id, m.name FROM unnest($1::bigint[], $2::text[]) AS w(a, n),
	LATERAL (SELECT id, account_id, name FROM mailbox WHERE account_id = w.a AND name = w.n AND deleted_at IS NULL OFFSET 0) m`

const sqlQuotas = `SELECT a.id, a.quota_bytes, a.quota_messages, u.bytes, u.messages FROM account a,
	LATERAL (SELECT coalesce(sum(n_bytes), 0)::bigint AS bytes, coalesce(sum(n_msgs), 0)::bigint AS messages
		FROM mailbox WHERE account_id = a.id AND deleted_at IS NULL) u
	WHERE a.id = ANY($1) AND (a.quota_bytes IS NOT NULL OR a.quota_messages IS NOT NULL)`

const sqlThreads = `SELECT w.a, w.h, t.thread_id FROM unnest($1::bigint[], $2::bytea[]) AS w(a, h),
	LATERAL (SELECT thread_id FROM thread_ref WHERE account_id = w.a AND msgid_hash = w.h LIMIT 1) t`

const sqlDuplicates = `SELECT d.key, d.attempt, d.node, d.account_id, d.mailbox_id, d.uid, d.email_id, coalesce(m.uidvalidity, 0), coalesce(m.name, '')
	FROM unnest($1::bytea[]) AS w(k), LATERAL (SELECT * FROM delivery WHERE key = w.k AND at > now() - $2::interval LIMIT 10) d
	LEFT JOIN mailbox m ON m.id = d.mailbox_id`

// place is what was learnt for a set of items.
type place struct {
	mailboxes map[nameKey]MailboxID
	quotas    map[AccountID]*Quota
	threads   threads
	earlier   map[string]earlier // by Dedup key
}

type nameKey struct {
	account AccountID
	name    string
}

// earlier is a delivery that nobody has confirmed and nobody can any more.
type earlier struct {
	attempt int64
	node    int32
	placed  Placed
}

// learn queues the questions on b and returns what reads the answers.
func (s *Store) learn(b *pgx.Batch, items []*item) *place {
	p := &place{mailboxes: map[nameKey]MailboxID{}, quotas: map[AccountID]*Quota{}, threads: threads{known: map[threadKey]int64{}}, earlier: map[string]earlier{}}
	var wanted, refAccounts []int64
	var names []string
	var refs, keys [][]byte
	accounts := map[AccountID]struct{}{}
	asked := map[nameKey]struct{}{}
	ask := func(key nameKey) {
		if _, ok := asked[key]; !ok {
			asked[key] = struct{}{}
			wanted, names = append(wanted, int64(key.account)), append(names, key.name)
		}
	}
	for _, it := range items {
		if it.remote != nil {
			keys = append(keys, it.remote)
		}
		for i := range it.targets {
			t := &it.targets[i]
			ask(nameKey{t.Account, t.Mailbox})
			if !t.NoFallback {
				ask(nameKey{t.Account, inbox})
			}
			if t.key != nil {
				keys = append(keys, t.key)
			}
			accounts[t.Account] = struct{}{}
			for _, h := range it.hashes {
				refAccounts, refs = append(refAccounts, int64(t.Account)), append(refs, append([]byte(nil), h[:]...))
			}
		}
	}
	if len(wanted) > 0 {
		p.queueMailboxes(b, wanted, names, accounts)
	}
	if len(refs) > 0 {
		b.Queue(sqlThreads, refAccounts, refs).Query(func(rows pgx.Rows) error {
			var acct AccountID
			var hash []byte
			var thread int64
			_, err := pgx.ForEachRow(rows, []any{&acct, &hash, &thread}, func() error {
				p.threads.known[threadKey{acct, [16]byte(hash)}] = thread
				return nil
			})
			return err
		})
	}
	if len(keys) > 0 {
		b.Queue(sqlDuplicates, keys, foldWindow).Query(p.readDuplicates)
	}
	return p
}

func (p *place) queueMailboxes(b *pgx.Batch, wanted []int64, names []string, accounts map[AccountID]struct{}) {
	b.Queue(sqlResolve, wanted, names).Query(func(rows pgx.Rows) error {
		var id MailboxID
		var key nameKey
		_, err := pgx.ForEachRow(rows, []any{&id, &key.account, &key.name}, func() error {
			p.mailboxes[key] = id
			return nil
		})
		return err
	})
	ids := make([]int64, 0, len(accounts))
	for a := range accounts {
		ids = append(ids, int64(a))
	}
	b.Queue(sqlQuotas, ids).Query(func(rows pgx.Rows) error {
		var id AccountID
		var q Quota
		_, err := pgx.ForEachRow(rows, []any{&id, &q.LimitBytes, &q.LimitMessages, &q.Bytes, &q.Messages}, func() error {
			one := q
			p.quotas[id] = &one
			return nil
		})
		return err
	})
}

func (p *place) readDuplicates(rows pgx.Rows) error {
	var key []byte
	var e earlier
	_, err := pgx.ForEachRow(rows, []any{&key, &e.attempt, &e.node, &e.placed.Account, &e.placed.Mailbox, &e.placed.UID, &e.placed.EmailID,
		&e.placed.UIDValidity, &e.placed.Name}, func() error {
		e.placed.Duplicate = true
		p.earlier[string(key)] = e
		return nil
	})
	return err
}

// keepFoldable drops the earlier deliveries whose session may still be alive:
// one of this process that is open or confirmed, or any of another live one.
func (s *Store) keepFoldable(ctx context.Context, q querier, p *place) error {
	if len(p.earlier) == 0 {
		return nil
	}
	live, err := s.liveNodes(ctx, q)
	if err != nil {
		return err
	}
	for key, e := range p.earlier {
		if e.node == s.node && s.receipts.isOpen(e.attempt) || e.node != s.node && live[e.node] {
			delete(p.earlier, key)
		}
	}
	return nil
}

// decide settles where an item goes; an error concerns this item alone.
func (s *Store) decide(ctx context.Context, p *place, it *item) error {
	it.receipt = it.receipt[:0]
	it.inTx = it.d.InTx != nil
	if it.remote != nil {
		if e, ok := p.earlier[string(it.remote)]; ok {
			it.inTx = false
			s.fold(ctx, it, it.remote, e)
		} else {
			it.receipt = append(it.receipt, deliveryRow{it.remote, it.attempt})
		}
	}
	for i := range it.targets {
		t := &it.targets[i]
		t.skip, it.placed[i] = false, Placed{}
		if e, ok := p.earlier[string(t.key)]; ok && t.key != nil {
			t.skip = true
			it.placed[i] = e.placed
			s.fold(ctx, it, t.key, e)
			continue
		}
		t.name = t.Mailbox
		t.mailbox = p.mailboxes[nameKey{t.Account, t.name}]
		if t.mailbox == 0 && !t.NoFallback {
			t.name = inbox
			t.mailbox = p.mailboxes[nameKey{t.Account, t.name}]
		}
		if t.mailbox == 0 {
			return ErrNoMailbox
		}
		if t.key != nil {
			it.receipt = append(it.receipt, deliveryRow{t.key, it.attempt})
		}
	}
	// all targets of one item count before the first is refused
	for i := range it.targets {
		if t := &it.targets[i]; !t.skip && !p.quotas[t.Account].take(t.size(it)) {
			return ErrOverQuota
		}
	}
	for i := range it.targets {
		t := &it.targets[i]
		t.thread = p.threads.assign(t.Account, it.hashes, t.fresh)
	}
	return nil
}

// fold records that a part of the item was delivered before.
func (s *Store) fold(ctx context.Context, it *item, key []byte, e earlier) {
	it.receipt = append(it.receipt, deliveryRow{key, e.attempt})
	s.log.InfoContext(ctx, "a repeated delivery was folded into its first copy", "event", "delivery_folded",
		"account", int64(e.placed.Account), "email_id", e.placed.EmailID)
}

// take counts one message of size octets; false when it is over a limit. A nil
// Quota has none.
func (q *Quota) take(size int64) bool {
	if q == nil {
		return true
	}
	if q.over(size, 1) {
		return false
	}
	q.Bytes, q.Messages = q.Bytes+size, q.Messages+1
	return true
}
