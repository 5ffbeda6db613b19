package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Load gives the newest view of a mailbox and its row. The row is read first:
// the view may already know more of the messages that it counts. ErrNoMailbox.
func (s *Store) Load(ctx context.Context, acct AccountID, mbox MailboxID) (*View, Mailbox, error) {
	m, err := oneMailbox(ctx, s.pool, `id = $1 AND account_id = $2`, mbox, acct)
	if err != nil {
		return nil, m, dbError("load a mailbox", err)
	}
	if v := s.views.get(mbox); v != nil && v.validity == m.UIDValidity {
		if v.modseq == m.HighestModSeq {
			return v, m, nil
		}
		if v.modseq < m.HighestModSeq {
			if v, _, err = s.Advance(ctx, v, false); err == nil {
				return v, m, nil
			}
		}
	}
	v, err := s.loadView(ctx, m)
	if err != nil {
		return nil, m, dbError("load a mailbox", err)
	}
	s.views.put(v)
	return v, m, nil
}

// loadView reads all states of a mailbox whose row was read before: of the
// messages that the row counts, some may have newer flags or be gone, which a
// later Advance finds in the journal. What has come since is left to it, too, so
// that no message of the view is newer than its mod-sequence.
func (s *Store) loadView(ctx context.Context, m Mailbox) (*View, error) {
	v := &View{account: m.Account, mailbox: m.ID, validity: m.UIDValidity, modseq: m.HighestModSeq, uidnext: m.UIDNext, keywords: m.Keywords}
	if m.Messages == 0 && m.UIDNext == 1 {
		return v, nil
	}
	list := make([]entry, 0, chunkMessages)
	err := s.eachState(ctx, m, func(e entry) {
		if list = append(list, e); len(list) == chunkMessages {
			v.chunks = append(v.chunks, makeChunk(list))
			list = list[:0]
		}
	})
	if err != nil {
		return nil, err
	}
	v.chunks = appendChunks(v.chunks, list)
	v.index()
	if n := len(v.chunks); n > 0 {
		v.uidnext = max(v.uidnext, v.chunks[n-1].last()+1)
	}
	return v, nil
}

// eachState yields the messages of a mailbox by rising UID.
func (s *Store) eachState(ctx context.Context, m Mailbox, yield func(entry)) error {
	const sql = ` FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid < $3 ORDER BY uid`
	if m.foldFrom == 0 { // what is logged from now on is newer than the row of the mailbox
		rows, err := s.pool.Query(ctx, `SELECT uid, flags`+sql, m.Account, m.ID, m.UIDNext)
		if err != nil {
			return err
		}
		return readStates(rows, func(uid UID, flags Flags, _ ModSeq) { yield(entry{uid, flags}) })
	}
	return s.queryAfterPending(ctx, m.Account, m.ID, func(ops flagLog, rows pgx.Rows) error {
		return readStates(rows, func(uid UID, flags Flags, modseq ModSeq) {
			flags, _ = ops.now(uid, flags, modseq)
			yield(entry{uid, flags})
		})
	}, `SELECT uid, flags, modseq`+sql, m.Account, m.ID, m.UIDNext)
}

// readStates reads rows of (uid, flags) or (uid, flags, modseq) as they come off
// the wire: a view of 100,000 messages is two integers each.
func readStates(rows pgx.Rows, yield func(uid UID, flags Flags, modseq ModSeq)) error {
	defer rows.Close()
	for rows.Next() {
		raw := rows.RawValues()
		var n [3]int64
		for i, field := range raw {
			if len(field) == 8 && rows.FieldDescriptions()[i].Format == pgx.BinaryFormatCode {
				n[i] = int64(binary.BigEndian.Uint64(field))
				continue
			}
			if err := rows.Scan([]any{&n[0], &n[1], &n[2]}[:len(raw)]...); err != nil { // text format: a pool in simple protocol
				return fmt.Errorf("read message states: %w", err)
			}
			break
		}
		yield(UID(n[0]), Flags(n[1]), ModSeq(n[2]))
	}
	return rows.Err()
}
