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
	rows, err := s.pool.Query(ctx, `SELECT uid, flags FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid < $3 ORDER BY uid`, m.Account, m.ID, m.UIDNext)
	if err != nil {
		return nil, err
	}
	list := make([]entry, 0, chunkMessages)
	err = eachState(rows, func(e entry) {
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

// eachState reads rows of (uid, flags) as they come off the wire: a view of
// 100,000 messages is two integers each.
func eachState(rows pgx.Rows, f func(entry)) error {
	defer rows.Close()
	for rows.Next() {
		raw := rows.RawValues()
		if len(raw) != 2 || len(raw[0]) != 8 || len(raw[1]) != 8 || rows.FieldDescriptions()[0].Format != pgx.BinaryFormatCode {
			var uid, flags int64 // text format: a pool in simple protocol
			if err := rows.Scan(&uid, &flags); err != nil {
				return fmt.Errorf("read message states: %w", err)
			}
			f(entry{UID(uid), Flags(flags)})
			continue
		}
		f(entry{UID(binary.BigEndian.Uint64(raw[0])), Flags(binary.BigEndian.Uint64(raw[1]))})
	}
	return rows.Err()
}
