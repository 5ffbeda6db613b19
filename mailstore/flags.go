package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/jackc/pgx/v5"
)

// FlagOp is what STORE does with the flags named.
type FlagOp uint8

// The three forms of STORE (RFC 3501 §6.4.6).
const (
	SetFlags FlagOp = iota
	AddFlags
	RemoveFlags
)

// FlagChange is a change of flags for a set of messages.
type FlagChange struct {
	Op             FlagOp
	Flags          Flags    // system flags
	Keywords       []string // case-insensitive; new ones are added to the mailbox unless removed
	Within         Flags    // with SetFlags those that are replaced, others stay as they are; 0: all
	UnchangedSince *ModSeq  // RFC 7162 §3.1.3
}

// FlagResult is what StoreFlags did.
type FlagResult struct {
	Changed  UIDSet // messages whose flags are others now
	Modified UIDSet // left alone because of UnchangedSince
	ModSeq   ModSeq // of the last change; 0 when nothing changed
	Keywords []string

	before, after *View   // where they are known: what it was done to, what came of it
	changes       Changes // between the two
}

// txMessages is how many messages one transaction changes at most: so that a
// mailbox's row is not held for long.
const txMessages = 1000

// StoreFlags changes flags, of many messages in one commit where it can, else of
// at most 1,000 messages a transaction: when it fails, what it did so far stands
// and is in the result. Messages that are not there are ignored.
// ErrTooManyKeywords, ErrNoMailbox.
func (s *Store) StoreFlags(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, ch FlagChange) (res FlagResult, err error) {
	if uids.Len() > s.opt.AtOnce {
		done, err := s.storeMany(ctx, acct, mbox, uids, ch, &res)
		if len(res.Changed) > 0 {
			s.changed(mbox)
		}
		if done || err != nil {
			return res, err
		}
	} else if v := s.views.get(mbox); v != nil && v.account == acct {
		if err := s.storeKnown(ctx, v, v.keywords, uids, &ch, false, 0, &res); err == nil {
			s.changed(mbox)
			return res, nil
		} else if err != errNotKnown && err != errNothing {
			return res, err
		}
	}
	if uids, err = s.existing(ctx, acct, mbox, uids); err != nil {
		return res, dbError("store flags", err)
	}
	for first := true; first || len(uids) > 0; first = false {
		var part UIDSet
		part, uids = uids.split(txMessages)
		if err = s.storePart(ctx, acct, mbox, part, ch, &res); err != nil {
			break
		}
	}
	if len(res.Changed) > 0 {
		s.changed(mbox)
	}
	return res, err
}

// storePart is one transaction of StoreFlags; it adds to res.
func (s *Store) storePart(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, ch FlagChange, res *FlagResult) error {
	var changed, modified UIDSet
	var modseq ModSeq
	var keywords []string
	err := s.inTx(ctx, "store flags", func(tx pgx.Tx) error {
		changed, modified, modseq = nil, nil, 0
		boxes, err := lockMailboxes(ctx, tx, mbox)
		if err != nil {
			return err
		}
		m := boxes[mbox]
		if m.Account != acct {
			return ErrNoMailbox
		}
		mask, err := keywordBits(ctx, tx, &m, ch.Keywords, ch.Op != RemoveFlags)
		if err != nil {
			return err
		}
		keywords = m.Keywords
		mask |= ch.Flags & SystemFlags
		if err := foldFor(ctx, tx, &m, uids); err != nil {
			return err
		}
		if ch.UnchangedSince != nil {
			if modified, err = changedSince(ctx, tx, acct, mbox, uids, *ch.UnchangedSince); err != nil {
				return err
			}
			uids = uids.Subtract(modified)
		}
		if len(uids) == 0 {
			return nil
		}
		changed, modseq, err = updateFlags(ctx, tx, acct, mbox, uids, ch.Op, mask, ch.Within)
		return err
	})
	if err != nil {
		return err
	}
	res.Changed, res.Modified = res.Changed.Union(changed), res.Modified.Union(modified)
	res.ModSeq, res.Keywords = max(res.ModSeq, modseq), keywords
	return nil
}

// changedSince gives the messages of the set with a mod-sequence above since.
func changedSince(ctx context.Context, tx pgx.Tx, acct AccountID, mbox MailboxID, uids UIDSet, since ModSeq) (UIDSet, error) {
	lo, hi := uids.bounds()
	rows, err := tx.Query(ctx, `SELECT s.uid FROM unnest($3::bigint[], $4::bigint[]) AS r(lo, hi),
		LATERAL (SELECT uid FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid >= r.lo AND uid <= r.hi AND modseq > $5 ORDER BY uid OFFSET 0) s`,
		acct, mbox, lo, hi, since)
	if err != nil {
		return nil, err
	}
	return collectUIDs(rows)
}

// collectUIDs reads rows of one uid each.
func collectUIDs(rows pgx.Rows) (set UIDSet, err error) {
	defer rows.Close()
	for rows.Next() {
		raw := rows.RawValues()
		if len(raw) == 1 && len(raw[0]) == 8 && rows.FieldDescriptions()[0].Format == pgx.BinaryFormatCode {
			set.Add(UID(binary.BigEndian.Uint64(raw[0])))
			continue
		}
		var uid UID
		if err := rows.Scan(&uid); err != nil {
			return nil, err
		}
		set.Add(uid)
	}
	return set, rows.Err()
}

// flagsSQL is the statement for an operation: %[1]s is the new value, %[2]s
// what says that it is another one, %[3]s which rows. The counters follow from
// how many rows changed when only one counted bit is touched, else from the old
// rows beside the new ones; the mailbox row is locked, so both agree.
const flagsSQL = `WITH mod AS (SELECT modseq + 1 AS modseq FROM mailbox WHERE id = $2),
 upd AS (UPDATE msg_state s SET flags = %[1]s, modseq = (SELECT modseq FROM mod) %[2]s RETURNING s.uid, s.flags%[3]s),
 cnt AS (SELECT count(*) n, int8multirange(VARIADIC array_agg(int8range(uid, uid + 1) ORDER BY uid)) AS uids, %[4]s AS unseen, %[5]s AS deleted FROM upd),
 box AS (UPDATE mailbox SET modseq = mailbox.modseq + 1, n_unseen = n_unseen + unseen, n_deleted = n_deleted + deleted FROM cnt WHERE id = $2 AND n > 0 RETURNING mailbox.modseq),
 jnl AS (INSERT INTO mailbox_change (account_id, mailbox_id, modseq, kind, uids) SELECT $1, $2, box.modseq, 'F', cnt.uids FROM box, cnt)
 SELECT box.modseq, cnt.uids::text FROM box, cnt`

// updateFlags is the UPDATE; the mailbox row is locked.
func updateFlags(ctx context.Context, tx pgx.Tx, acct AccountID, mbox MailboxID, uids UIDSet, op FlagOp, mask, within Flags) (changed UIDSet, m ModSeq, err error) {
	if mask == 0 && op != SetFlags {
		return nil, 0, nil
	}
	var value, differs string
	switch op {
	case SetFlags:
		value, differs = `$3`, `s.flags <> $3`
		if within != 0 {
			value = fmt.Sprintf(`(s.flags & %d | $3)`, int64(AllFlags&^within))
			differs = `s.flags <> ` + value
		}
	case AddFlags:
		value, differs = `s.flags | $3`, `s.flags & $3 <> $3`
	case RemoveFlags:
		value, differs = `s.flags & ~$3::bigint`, `s.flags & $3 <> 0`
	default:
		return nil, 0, fmt.Errorf("mailstore: flag operation %d", op)
	}
	args := []any{acct, mbox, int64(mask)}
	which := `s.account_id = $1 AND s.mailbox_id = $2 AND `
	if len(uids) == 1 {
		args = append(args, uids[0].Lo, uids[0].Hi)
		which += `s.uid >= $4 AND s.uid <= $5`
	} else {
		args = append(args, uids.int64s())
		which += `s.uid = ANY($4)`
	}
	from, extra, unseen, deleted := `WHERE `+which+` AND `+differs, ``, `0`, `0`
	counted := mask & (FlagSeen | FlagDeleted)
	switch {
	case op != SetFlags && counted == 0:
	case op != SetFlags && bits.OnesCount64(uint64(mask)) == 1: // every row changed in this bit
		sign := map[FlagOp]string{AddFlags: `count(*)`, RemoveFlags: `-count(*)`}[op]
		if counted == FlagDeleted {
			deleted = sign
		} else {
			unseen = `-(` + sign + `)`
		}
	default:
		from = `FROM (SELECT uid, flags FROM msg_state s WHERE ` + which + ` OFFSET 0) o WHERE o.uid = s.uid AND s.account_id = $1 AND s.mailbox_id = $2 AND ` + differs
		extra = `, o.flags AS old`
		unseen = `coalesce(sum((old & 1) - (flags & 1)), 0)`
		deleted = `coalesce(sum(((flags & 8) - (old & 8)) / 8), 0)`
	}
	var text string
	err = tx.QueryRow(ctx, fmt.Sprintf(flagsSQL, value, from, extra, unseen, deleted), args...).Scan(&m, &text)
	if err == pgx.ErrNoRows { // nothing was another
		return nil, 0, nil
	}
	if err == nil {
		err = addMultirange(&changed, text)
	}
	return changed, m, err
}

// int64s is the set as an array for uid = ANY.
func (s UIDSet) int64s() []int64 {
	out := make([]int64, 0, s.Len())
	for u := range s.Each {
		out = append(out, int64(u))
	}
	return out
}

// split gives the first n UIDs and the rest.
func (s UIDSet) split(n int) (head, rest UIDSet) {
	for i, r := range s {
		k := int(r.Hi-r.Lo) + 1
		if k > n {
			head = append(head[:len(head):len(head)], UIDRange{r.Lo, r.Lo + UID(n) - 1})
			rest = append(UIDSet{{r.Lo + UID(n), r.Hi}}, s[i+1:]...)
			if n == 0 {
				head = head[:len(head)-1]
			}
			return head, rest
		}
		head, n = s[:i+1:i+1], n-k
	}
	return head, nil
}

// existing cuts a large set down to the messages that are there, so that it can
// be split into transactions of known size. Small ones are left as they are.
func (s *Store) existing(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet) (UIDSet, error) {
	if uids.Len() <= txMessages {
		return uids, nil
	}
	lo, hi := uids.bounds()
	rows, err := s.pool.Query(ctx, `SELECT s.uid FROM unnest($3::bigint[], $4::bigint[]) AS r(lo, hi),
		LATERAL (SELECT uid FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid >= r.lo AND uid <= r.hi ORDER BY uid OFFSET 0) s`,
		acct, mbox, lo, hi)
	if err != nil {
		return nil, err
	}
	return collectUIDs(rows)
}
