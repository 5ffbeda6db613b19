package mailstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Clients retrieve in order, so what comes next is read along: the rows of a
// hundred messages, and the small bodies among the next sixteen.
const (
	aheadRows   = 100
	aheadBodies = 16
	aheadSize   = 64 << 10  // a body worth reading ahead, in octets
	aheadBytes  = 512 << 10 // compressed, of all that is held
)

// readAhead is what was read along and not yet asked for.
type readAhead struct {
	rows   map[UID]*Message
	frames map[int64][]byte // first frames by body, compressed
	data   []byte           // the body opened last
	last   int              // index of the message opened last; sequential use reads ahead
}

// Body opens message i, from 0. ErrGone when it was expunged so long ago that
// it is no longer kept. The octets are as stored: lines may end in a bare LF.
// Size of the reader is that of those octets. It is good until the next call.
func (m *Maildrop) Body(ctx context.Context, i int) (*BodyReader, error) {
	inOrder := i == 0 || i == m.ahead.last+1
	m.ahead.last = i
	uid := m.items[i].UID
	msg := m.ahead.rows[uid]
	if msg == nil {
		n := 1
		if inOrder {
			n = min(aheadRows, len(m.items)-i)
		}
		if err := m.readRows(ctx, i, n); err != nil {
			return nil, err
		}
		if msg = m.ahead.rows[uid]; msg == nil {
			return nil, ErrGone
		}
	}
	b := m.s.OpenBody(ctx, msg)
	if msg.Size-int64(len(msg.Prefix)) > aheadSize {
		return b, nil
	}
	if m.ahead.frames[msg.BlobID] == nil && inOrder {
		if err := m.readFrames(ctx, i); err != nil {
			return nil, err
		}
	}
	if z := m.ahead.frames[msg.BlobID]; z != nil {
		data, err := decoder.DecodeAll(z, m.ahead.data[:0])
		if err != nil {
			return nil, dbError("decode a body", err)
		}
		m.ahead.data = data
		b.frame, b.data = 0, data
		delete(m.ahead.frames, msg.BlobID)
	}
	return b, nil
}

// readRows replaces the rows held by those of n messages from i on.
func (m *Maildrop) readRows(ctx context.Context, i, n int) error {
	var uids UIDSet
	for _, it := range m.items[i : i+n] {
		uids.Add(it.UID)
	}
	m.ahead.rows = make(map[UID]*Message, n)
	return m.s.Messages(ctx, m.acct, m.mbox.ID, uids, FieldPrefix, func(msg *Message) error {
		m.ahead.rows[msg.UID] = msg
		return nil
	})
}

// readFrames replaces the frames held by those of message i and the small ones after it.
func (m *Maildrop) readFrames(ctx context.Context, i int) error {
	var ids []int64
	var total int64
	for j := i; j < min(i+aheadBodies, len(m.items)); j++ {
		msg := m.ahead.rows[m.items[j].UID]
		if msg == nil || msg.Size > aheadSize {
			continue
		}
		if total += msg.Size; total > aheadBytes && j > i {
			break
		}
		ids = append(ids, msg.BlobID)
	}
	rows, err := m.s.pool.Query(ctx, `SELECT blob_id, data FROM blob_chunk WHERE blob_id = ANY($1) AND seq = 0`, ids)
	if err != nil {
		return dbError("read bodies", err)
	}
	m.ahead.frames = make(map[int64][]byte, len(ids))
	var id int64
	var z []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &z}, func() error {
		m.ahead.frames[id], z = z, nil
		return nil
	})
	return dbError("read bodies", err)
}

// Retrieved says that message i was sent whole. It is written down in batches,
// and when the maildrop is closed; seen: \Seen is set with it.
func (m *Maildrop) Retrieved(ctx context.Context, i int, seen bool) error {
	m.retrieved.Add(m.items[i].UID)
	if seen {
		m.seen.Add(m.items[i].UID)
	}
	if m.retrieved.Len() < retrievedAtOnce {
		return nil
	}
	return m.flushRetrieved(ctx)
}

// retrievedAtOnce bounds what a crash forgets about retrievals. Forgetting
// keeps mail: EXPIRE counts from the first RETR that is known.
const retrievedAtOnce = 100

// flushRetrieved writes the first RETR of messages down, for EXPIRE.
func (m *Maildrop) flushRetrieved(ctx context.Context) error {
	retrieved, seen := m.retrieved, m.seen
	m.retrieved, m.seen = nil, nil
	var err error
	if len(retrieved) > 0 {
		err = m.setState(ctx, "note what POP3 retrieved", retrieved, `pop3_retrieved = now()`, `pop3_retrieved IS NULL`)
	}
	if len(seen) > 0 {
		_, failed := m.s.StoreFlags(ctx, m.acct, m.mbox.ID, seen, FlagChange{Op: AddFlags, Flags: FlagSeen})
		err = errors.Join(err, failed)
	}
	return err
}

// setState changes what only POP3 sees of messages. The mailbox row is locked
// as by everyone who touches msg_state, so that no two wait for each other.
func (m *Maildrop) setState(ctx context.Context, what string, uids UIDSet, set, where string) error {
	for rest := uids.Slice(); len(rest) > 0; {
		n := min(len(rest), updateAtOnce)
		page := rest[:n]
		rest = rest[n:]
		err := m.s.inTx(ctx, what, func(tx pgx.Tx) error {
			if _, err := lockMailboxes(ctx, tx, m.mbox.ID); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `UPDATE msg_state SET `+set+` WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3) AND `+where,
				m.acct, m.mbox.ID, page)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// updateAtOnce bounds a transaction, so that other users of the mailbox get their turn.
const updateAtOnce = 1000
