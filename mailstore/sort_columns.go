package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/message"
)

// sortColumn is one criterion's keys of the messages of a mailbox. It is not
// changed: one with more messages takes over its memory.
type sortColumn struct {
	validity uint32
	uids     []UID // rising

	nums    []int64      // of dates in seconds, of sizes in octets
	ranks   []int32      // of texts: the place in words
	words   *wordList    // of texts
	threads *threadTable // of keyThreads
}

func (c *sortColumn) last() UID {
	if len(c.uids) == 0 {
		return 0
	}
	return c.uids[len(c.uids)-1]
}

// size is about what it takes in memory, in bytes.
func (c *sortColumn) size() int64 {
	n := 128 + 4*int64(cap(c.uids)) + 8*int64(cap(c.nums)) + 4*int64(cap(c.ranks))
	if c.words != nil {
		n += c.words.size()
	}
	if c.threads != nil {
		n += c.threads.size()
	}
	return n
}

// keyThreads is a column that THREAD alone uses.
const keyThreads SortKey = 200

// sortSQL is where keys come from: one expression, two for keyThreads.
var sortSQL = map[SortKey]string{
	SortArrival: `idate`, SortDate: `coalesce(sent_at, idate)`, SortSize: `size`,
	SortSubject: `coalesce(sort_subject, '')`, SortFrom: `coalesce(sort_from, '')`, SortTo: `coalesce(sort_to, '')`, SortCc: `coalesce(sort_cc, '')`,
	SortDisplayFrom: `coalesce(display_from, '')`, SortDisplayTo: `coalesce(display_to, '')`,
	keyThreads: `thread_keys, CASE WHEN thread_keys IS NULL THEN hdr_wire END`,
}

// sortColumns gives columns that have all of found, in the order of keys. Where
// few messages are asked for and nothing is known of the mailbox, only those are
// read.
func (s *Store) sortColumns(ctx context.Context, acct AccountID, mbox MailboxID, v *View, found UIDSet, keys ...SortKey) ([]*sortColumn, error) {
	cols := make([]*sortColumn, len(keys))
	known := slices.ContainsFunc(keys, func(k SortKey) bool { return s.sorts.has(sortName{mbox, k}) })
	if n := found.Len(); !known && n <= fewCandidates && 4*n < v.Len() {
		uids := make([]int64, 0, n)
		for u := range found.Each {
			uids = append(uids, int64(u))
		}
		for i := range cols {
			cols[i] = &sortColumn{validity: v.validity}
		}
		return cols, s.readSortKeys(ctx, keys, cols, ` WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3) ORDER BY uid`, acct, mbox, uids)
	}
	turns := slices.Clone(keys) // in one order, so that no two wait for each other
	slices.Sort(turns)
	entries := map[SortKey]*sortEntry{}
	defer func() {
		for _, e := range entries {
			s.sorts.give(e)
		}
	}()
	for _, k := range slices.Compact(turns) {
		e, err := s.sorts.take(ctx, sortName{mbox, k})
		if err != nil {
			return nil, err
		}
		entries[k] = e
	}
	if err := s.completeSortKeys(ctx, acct, mbox, v, found[len(found)-1].Hi, entries); err != nil {
		return nil, err
	}
	for i, k := range keys {
		cols[i] = entries[k].col
	}
	return cols, nil
}

// completeSortKeys reads what is missing up to a UID, of all entries in one pass.
func (s *Store) completeSortKeys(ctx context.Context, acct AccountID, mbox MailboxID, v *View, upTo UID, entries map[SortKey]*sortEntry) error {
	var keys []SortKey
	var cols []*sortColumn
	var from UID
	for k, e := range entries {
		if e.col == nil || e.col.validity != v.validity {
			e.col = &sortColumn{validity: v.validity}
		}
		if last := e.col.last(); last < upTo {
			if len(keys) == 0 || last < from {
				from = last
			}
			col := *e.col
			keys, cols = append(keys, k), append(cols, &col)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	select {
	case s.sorts.loads <- struct{}{}:
		defer func() { <-s.sorts.loads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.readSortKeys(ctx, keys, cols, ` WHERE account_id = $1 AND mailbox_id = $2 AND uid > $3 ORDER BY uid`, acct, mbox, int64(from)); err != nil {
		return err
	}
	for i, k := range keys {
		entries[k].col = cols[i]
	}
	return nil
}

// readSortKeys appends the messages that where gives to columns that do not have
// them yet.
func (s *Store) readSortKeys(ctx context.Context, keys []SortKey, cols []*sortColumn, where string, acct AccountID, mbox MailboxID, arg any) error {
	sql := `SELECT uid`
	readers := make([]*columnReader, len(keys))
	for i, k := range keys {
		sql += `, ` + sortSQL[k]
		readers[i] = newColumnReader(k, cols[i])
	}
	rows, err := s.pool.Query(ctx, sql+` FROM message`+where, acct, mbox, arg)
	if err != nil {
		return dbError("read sort keys", err)
	}
	if err := eachSortRow(rows, readers); err != nil {
		return dbError("read sort keys", err)
	}
	for _, r := range readers {
		if err := r.end(ctx, s, acct, mbox); err != nil {
			return err
		}
	}
	return nil
}

// eachSortRow hands each row to the readers, as it comes off the wire.
func eachSortRow(rows pgx.Rows, readers []*columnReader) error {
	defer rows.Close()
	var scan []any
	var uid int64
	for rows.Next() {
		if rows.FieldDescriptions()[0].Format == pgx.BinaryFormatCode {
			raw := rows.RawValues()
			uid = int64(binary.BigEndian.Uint64(raw[0]))
			raw = raw[1:]
			for _, r := range readers {
				r.addRaw(UID(uid), raw)
				raw = raw[r.width():]
			}
			continue
		}
		if scan == nil { // text format: a pool in simple protocol
			scan = append(scan, &uid)
			for _, r := range readers {
				scan = r.scanInto(scan)
			}
		}
		if err := rows.Scan(scan...); err != nil {
			return fmt.Errorf("read sort keys: %w", err)
		}
		for _, r := range readers {
			r.addScanned(UID(uid))
		}
	}
	return rows.Err()
}

// columnReader fills one column.
type columnReader struct {
	key   SortKey
	col   *sortColumn
	after UID
	words gatheredWords
	heads UIDSet // messages whose header has to be read

	num  int64 // scanned
	at   time.Time
	text string
	a, b []byte
}

func newColumnReader(key SortKey, col *sortColumn) *columnReader {
	if key == keyThreads {
		if col.threads == nil {
			col.threads = newThreadTable()
		}
		t := *col.threads
		col.threads = &t
	}
	if key.isText() && col.words == nil {
		col.words = new(wordList)
	}
	return &columnReader{key: key, col: col, after: col.last()}
}

// width is how many values of a row are the column's.
func (r *columnReader) width() int {
	if r.key == keyThreads {
		return 2
	}
	return 1
}

func (r *columnReader) addRaw(uid UID, raw [][]byte) {
	if uid <= r.after {
		return
	}
	r.col.uids = append(r.col.uids, uid)
	switch {
	case r.key == keyThreads:
		r.addThread(uid, raw[0], raw[1])
	case r.key.isText():
		r.words.gather(raw[0])
	case r.key == SortSize:
		r.col.nums = append(r.col.nums, int64(binary.BigEndian.Uint64(raw[0])))
	default: // microseconds since 2000, of which IMAP shows whole seconds
		const micro = 1_000_000
		us := int64(binary.BigEndian.Uint64(raw[0]))
		r.col.nums = append(r.col.nums, (us-(us%micro+micro)%micro)/micro)
	}
}

func (r *columnReader) scanInto(to []any) []any {
	switch {
	case r.key == keyThreads:
		return append(to, &r.a, &r.b)
	case r.key.isText():
		return append(to, &r.text)
	case r.key == SortSize:
		return append(to, &r.num)
	}
	return append(to, &r.at)
}

var year2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

func (r *columnReader) addScanned(uid UID) {
	if uid <= r.after {
		return
	}
	r.col.uids = append(r.col.uids, uid)
	switch {
	case r.key == keyThreads:
		r.addThread(uid, r.a, r.b)
	case r.key.isText():
		r.words.gather([]byte(r.text))
	case r.key == SortSize:
		r.col.nums = append(r.col.nums, r.num)
	default:
		r.col.nums = append(r.col.nums, r.at.Unix()-year2000)
	}
}

// addThread adds a message with its prepared keys, or makes them of its header.
func (r *columnReader) addThread(uid UID, keys, header []byte) {
	switch {
	case keys != nil:
	case len(header) > 0:
		keys = message.ThreadKeys(header)
	default:
		r.heads.Add(uid)
	}
	r.col.threads.add(keys)
}

// end completes the column.
func (r *columnReader) end(ctx context.Context, s *Store, acct AccountID, mbox MailboxID) error {
	if r.key.isText() && r.words.len() > 0 {
		words, old, fresh := r.words.ranked(r.col.words)
		ranks := r.col.ranks
		if old != nil {
			ranks = make([]int32, 0, len(ranks)+len(fresh))
			for _, rank := range r.col.ranks {
				ranks = append(ranks, old[rank])
			}
		}
		r.col.words, r.col.ranks = words, append(ranks, fresh...)
	}
	if r.heads.IsEmpty() {
		return nil
	}
	return s.Messages(ctx, acct, mbox, r.heads, FieldPrefix, func(m *Message) error {
		i, ok := slices.BinarySearch(r.col.uids, m.UID)
		if !ok {
			return nil
		}
		header := make([]byte, min(m.Size, message.MaxHeader))
		if _, err := s.OpenBody(ctx, m).ReadAt(header, 0); err != nil {
			return dbError("read a header", err)
		}
		r.col.threads.set(i, message.ThreadKeys(header))
		return nil
	})
}
