package mailstore

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Fields says what Messages reads beside ids, size and dates.
type Fields uint32

// The fields of a message.
const (
	FieldEnvelope Fields = 1 << iota
	FieldBodyStructure
	FieldHeaderSubset
	FieldParts
	FieldPreview
	FieldPrefix // needed by OpenBody; implied by FieldHeaderSubset and FieldParts
	FieldUIDL
	FieldSize // for Prepared; Messages always gives it
)

// Message is one message as it was stored; nothing of it ever changes.
type Message struct {
	UID               UID
	BlobID            int64
	EmailID, ThreadID int64 // RFC 8474
	Prefix            []byte
	Size              int64     // octets, prefix included
	InternalDate      time.Time // in the zone that it was given in
	SavedDate         time.Time // RFC 8514
	Envelope          []byte    // see message.Parsed
	BodyStructure     []byte
	HeaderSubset      []byte
	Parts             []byte // offsets count from after the prefix
	Preview           string
	UIDL              string
}

// Bounds of a page of messages.
const (
	pageMessages = 1000
	pageBytes    = 4 << 20 // of prepared bytes; a page ends early beyond it
)

// Messages yields the messages of the set that are there, by rising UID, also
// those expunged but not swept. It reads pages of at most 1,000 and holds
// neither a transaction nor a connection while yield runs. The *Message and its
// bytes are the caller's to keep. An error of yield ends it and is returned as is.
func (s *Store) Messages(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, fields Fields, yield func(*Message) error) error {
	sql := messagesSQL(fields)
	for len(uids) > 0 {
		page, rest, err := s.messagePage(ctx, sql, acct, mbox, uids, fields)
		if err != nil {
			return dbError("read messages", err)
		}
		for i := range page {
			if err := yield(&page[i]); err != nil {
				return err
			}
		}
		uids = rest
	}
	return nil
}

// Where the UIDs of a page come from: one range, single UIDs, or many ranges.
const (
	whereRange  = ` FROM message m WHERE account_id = $1 AND mailbox_id = $2 AND uid >= $3 AND uid <= $4 ORDER BY uid LIMIT 1000`
	whereList   = ` FROM message m WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3) ORDER BY uid`
	whereRanges = ` FROM unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS r(lo, hi, n),
	LATERAL (SELECT * FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid >= r.lo AND uid <= r.hi ORDER BY uid LIMIT 1000) m ORDER BY r.n, uid LIMIT 1000`
)

// messagesSQL is the SELECT list, with a constant where a field is not asked for.
func messagesSQL(fields Fields) string {
	var b strings.Builder
	b.WriteString(`SELECT uid, blob_id, email_id, thread_id, size, idate, idate_zone, saved_at`)
	add := func(want Fields, columns, otherwise string) {
		if fields&want != 0 {
			b.WriteString(columns)
		} else {
			b.WriteString(otherwise)
		}
	}
	add(FieldPrefix|FieldHeaderSubset|FieldParts, `, m.prefix`, `, NULL::bytea`)
	add(FieldEnvelope, `, env`, `, NULL::bytea`)
	add(FieldBodyStructure, `, bodystructure`, `, NULL::bytea`)
	add(FieldHeaderSubset, `, hdr_wire`, `, NULL::bytea`)
	add(FieldParts, `, parts`, `, NULL::bytea`)
	add(FieldPreview, `, coalesce(preview, '')`, `, ''`)
	add(FieldUIDL, `, coalesce(uidl, '')`, `, ''`)
	return b.String()
}

// messagePage reads one page and gives what of the set is left.
func (s *Store) messagePage(ctx context.Context, sql string, acct AccountID, mbox MailboxID, uids UIDSet, fields Fields) (page []Message, rest UIDSet, err error) {
	var rows pgx.Rows
	first, limited := uids, false
	switch n := min(len(uids), pageMessages); {
	case len(uids) == 1:
		limited = true
		rows, err = s.pool.Query(ctx, sql+whereRange, acct, mbox, uids[0].Lo, uids[0].Hi)
	case uids[:n].Len() <= 2*n: // hardly any runs
		var list []int64
		for n = 0; n < len(uids) && len(list)+int(uids[n].Hi-uids[n].Lo) < pageMessages; n++ {
			for u := uint64(uids[n].Lo); u <= uint64(uids[n].Hi); u++ {
				list = append(list, int64(u))
			}
		}
		if n == 0 { // a long run comes first
			return s.messagePageOfFirst(ctx, sql, acct, mbox, uids, fields)
		}
		first = uids[:n]
		rows, err = s.pool.Query(ctx, sql+whereList, acct, mbox, list)
	default:
		limited = true
		first = uids[:n]
		lo, hi := make([]int64, n), make([]int64, n)
		for i, r := range first {
			lo[i], hi[i] = int64(r.Lo), int64(r.Hi)
		}
		rows, err = s.pool.Query(ctx, sql+whereRanges, acct, mbox, lo, hi)
	}
	if err != nil {
		return nil, nil, err
	}
	rest = uids[len(first):]
	page, full, err := readMessages(rows, fields)
	if err != nil {
		return nil, nil, err
	}
	if n := len(page); n > 0 && (full || limited && n == pageMessages) {
		rest = uids.after(page[n-1].UID)
	}
	return page, rest, nil
}

func (s *Store) messagePageOfFirst(ctx context.Context, sql string, acct AccountID, mbox MailboxID, uids UIDSet, fields Fields) ([]Message, UIDSet, error) {
	page, rest, err := s.messagePage(ctx, sql, acct, mbox, uids[:1:1], fields)
	return page, append(rest[:len(rest):len(rest)], uids[1:]...), err
}

// after is the part of the set above a UID.
func (s UIDSet) after(u UID) UIDSet {
	if u == math.MaxUint32 {
		return nil
	}
	return s.Intersect(UIDSet{{u + 1, math.MaxUint32}})
}

// readMessages scans a page; full says that it stopped at pageBytes.
func readMessages(rows pgx.Rows, fields Fields) (page []Message, full bool, err error) {
	defer rows.Close()
	size := 0
	for rows.Next() {
		page = append(page, Message{})
		m := &page[len(page)-1]
		var zone int16 // minutes
		to := []any{&m.UID, &m.BlobID, &m.EmailID, &m.ThreadID, &m.Size, &m.InternalDate, &zone, &m.SavedDate,
			&m.Prefix, &m.Envelope, &m.BodyStructure, &m.HeaderSubset, &m.Parts, &m.Preview, &m.UIDL}
		if err := rows.Scan(to...); err != nil {
			return nil, false, err
		}
		m.InternalDate = inZone(m.InternalDate, int(zone))
		size += len(m.Prefix) + len(m.Envelope) + len(m.BodyStructure) + len(m.HeaderSubset) + len(m.Parts)
		if size > pageBytes {
			return page, true, rows.Err()
		}
	}
	return page, false, rows.Err()
}

// bounds gives the ranges as parallel arrays.
func (s UIDSet) bounds() (lo, hi []int64) {
	lo, hi = make([]int64, len(s)), make([]int64, len(s))
	for i, r := range s {
		lo[i], hi[i] = int64(r.Lo), int64(r.Hi)
	}
	return lo, hi
}

// inZone shows a time in the zone so many minutes east of UTC.
func inZone(t time.Time, minutes int) time.Time {
	if minutes == 0 {
		return t.UTC()
	}
	return t.In(time.FixedZone("", minutes*60))
}
