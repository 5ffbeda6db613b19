package mailstore

import (
	"sync"

	"github.com/jackc/pgx/v5"
)

// Most mail goes to the INBOX of an account without a quota, was not delivered
// before, and meets its thread in the database or nowhere. Then there is nothing
// to decide between the questions (place.go) and the insert, and one statement
// does both: one round trip instead of two, four statements less. What it finds
// to be otherwise it leaves out, and that item goes the long way.

// appendWantAtOnce asks what sqlQuotas, sqlDuplicates and sqlThreads ask.
const appendWantAtOnce = `),
 bad AS MATERIALIZED (SELECT item FROM tgt WHERE mb NOT IN (SELECT id FROM lck)
   UNION SELECT tgt.item FROM tgt, LATERAL (SELECT FROM account WHERE id = tgt.acct AND (quota_bytes IS NOT NULL OR quota_messages IS NOT NULL) OFFSET 0) limited
   UNION SELECT tgt.item FROM tgt, LATERAL (SELECT FROM delivery WHERE key = tgt.key AND at > now() - $38::interval LIMIT 1) earlier),
 ref AS MATERIALIZED (SELECT * FROM unnest($35::bigint[], $36::bigint[], $37::bytea[]) AS t(ord, acct, hash)),
 old AS MATERIALIZED (SELECT ref.ord, min(t.thread_id) AS thread FROM ref,
   LATERAL (SELECT thread_id FROM thread_ref WHERE account_id = ref.acct AND msgid_hash = ref.hash LIMIT 1) t GROUP BY ref.ord),
 want AS MATERIALIZED (SELECT item, acct, mb, email, least(tgt.thread, old.thread) AS thread, prefix, size, idate, flags, uidl, key, attempt, idate_zone, ord,
   row_number() OVER (PARTITION BY mb ORDER BY ord) - 1 AS rn FROM tgt LEFT JOIN old USING (ord) WHERE item NOT IN (SELECT item FROM bad)),`

// appendThreads does what sqlThreadRefs does, in the same order.
const appendThreads = `
 r AS (INSERT INTO thread_ref (account_id, msgid_hash, thread_id)
   SELECT ref.acct, hash, thread FROM put JOIN ref USING (ord) ORDER BY ref.acct, hash ON CONFLICT DO NOTHING),`

const sqlAppendAtOnce = appendHead + ` SKIP LOCKED` + appendWantAtOnce + appendPut + appendThreads + appendRows

// inboxes remembers which mailbox is the INBOX of an account that had no quota
// when it was last seen. An INBOX is never deleted or renamed, so its id holds
// for as long as there is the account; the quota is asked for each time.
type inboxes struct {
	mu  sync.Mutex
	ids map[AccountID]MailboxID
}

// maxInboxes bounds what is remembered, to about 1 MB.
const maxInboxes = 20_000

// learned takes what place.go has read about these items.
func (x *inboxes) learned(p *place, items []*item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.ids) >= maxInboxes || x.ids == nil {
		x.ids = map[AccountID]MailboxID{}
	}
	for _, it := range items {
		for i := range it.targets {
			a := it.targets[i].Account
			if id := p.mailboxes[nameKey{a, inbox}]; id != 0 && p.quotas[a] == nil {
				x.ids[a] = id
			} else {
				delete(x.ids, a)
			}
		}
	}
}

// forget drops the accounts of items that could not be done at once.
func (x *inboxes) forget(it *item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range it.targets {
		delete(x.ids, it.targets[i].Account)
	}
}

// atOnce places the targets of all items, if none needs a decision. Two that
// share a message-id and an account do: which thread the one begins is the
// thread of the other.
func (x *inboxes) atOnce(items []*item) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := map[threadKey]struct{}{}
	for _, it := range items {
		for i := range it.targets {
			t := &it.targets[i]
			if t.Mailbox != inbox || x.ids[t.Account] == 0 {
				return false
			}
			for _, h := range it.hashes {
				key := threadKey{t.Account, h}
				if _, taken := ids[key]; taken {
					return false
				}
				ids[key] = struct{}{}
			}
		}
	}
	for _, it := range items {
		it.receipt = it.receipt[:0]
		for i := range it.targets {
			t := &it.targets[i]
			t.skip, it.placed[i] = false, Placed{}
			t.name, t.mailbox, t.thread = inbox, x.ids[t.Account], t.fresh
			if t.key != nil {
				it.receipt = append(it.receipt, deliveryRow{t.key, it.attempt})
			}
		}
	}
	return true
}

// queueAtOnce puts the one statement on b.
func (r *rowSet) queueAtOnce(b *pgx.Batch, node int32, put *int) {
	var ords, accounts []int64
	var hashes [][]byte
	for i, t := range r.of {
		for _, h := range r.items[r.ofItem[i]].hashes {
			ords, accounts, hashes = append(ords, int64(i+1)), append(accounts, int64(t.Account)), append(hashes, append([]byte(nil), h[:]...))
		}
	}
	r.queue(b, sqlAppendAtOnce, node, put, ords, accounts, hashes, foldWindow)
}
