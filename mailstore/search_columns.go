package mailstore

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/message"
)

// This file decides what columns of message can decide, in one statement for a
// whole tree of such criteria.

// condition collects a WHERE clause.
type condition struct {
	sql     strings.Builder
	args    []any
	headers bool // it looks at hdr
}

// arg adds an argument and gives its placeholder.
func (c *condition) arg(v any) string {
	c.args = append(c.args, v)
	return "$" + strconv.Itoa(len(c.args))
}

// idateDay is the day of the internal date in its own zone (RFC 3501 §6.4.4:
// disregarding time and timezone).
const idateDay = `(idate AT TIME ZONE 'UTC' + make_interval(mins => idate_zone))::date`

// savedDay is the day of the save date: it was given in no other zone than ours.
const savedDay = `(saved_at AT TIME ZONE 'UTC')::date`

// add writes the condition of n. It is never NULL.
func (c *condition) add(n node) {
	switch n.op {
	case SearchAnd, SearchOr:
		between := map[SearchOp]string{SearchAnd: " AND ", SearchOr: " OR "}[n.op]
		c.sql.WriteByte('(')
		for i, sub := range n.sub {
			if i > 0 {
				c.sql.WriteString(between)
			}
			c.add(sub)
		}
		c.sql.WriteByte(')')
	case SearchNot:
		c.sql.WriteString("NOT ")
		c.add(n.sub[0])
	case SearchBefore:
		c.write(idateDay+" < %s::date", c.arg(n.date))
	case SearchOn:
		c.write(idateDay+" = %s::date", c.arg(n.date))
	case SearchSince:
		c.write(idateDay+" >= %s::date", c.arg(n.date))
	case SearchSentBefore:
		c.write("coalesce(sent_on < %s::date, false)", c.arg(n.date))
	case SearchSentOn:
		c.write("coalesce(sent_on = %s::date, false)", c.arg(n.date))
	case SearchSentSince:
		c.write("coalesce(sent_on >= %s::date, false)", c.arg(n.date))
	case SearchLarger:
		c.write("size > %s::bigint", c.arg(n.size))
	case SearchSmaller:
		c.write("size < %s::bigint", c.arg(n.size))
	case SearchEmailID:
		c.write("email_id = %s::bigint", c.arg(n.size))
	case SearchThreadID:
		c.write("thread_id = %s::bigint", c.arg(n.size))
	case SearchSavedBefore:
		c.write(savedDay+" < %s::date", c.arg(n.date))
	case SearchSavedOn:
		c.write(savedDay+" = %s::date", c.arg(n.date))
	case SearchSavedSince:
		c.write(savedDay+" >= %s::date", c.arg(n.date))
	case SearchOlder:
		c.write("idate <= %s::timestamptz", c.arg(n.date))
	case SearchYounger:
		c.write("idate >= %s::timestamptz", c.arg(n.date))
	case SearchHeader:
		c.headers = true
		if n.needle == "" {
			c.write("split_part(hdr, chr(1), %d) <> ''", n.place+1)
		} else {
			needle := c.arg(n.needle) // looked for in the whole first: most messages have it nowhere
			c.write("(strpos(hdr, %s) > 0 AND strpos(split_part(hdr, chr(1), %d), %s) > 0)", needle, n.place+1, needle)
		}
	}
}

func (c *condition) write(format string, args ...any) { fmt.Fprintf(&c.sql, format, args...) }

// columns gives the messages among cand that meet n, which uses columns only.
func (q *search) columns(n node, cand UIDSet) (UIDSet, error) {
	var c condition
	which := c.candidates(q, cand)
	c.add(n)
	cut, sql := "false", c.sql.String()
	if c.headers { // of messages with very many addresses the header has to be read
		cut = "hdr = " + c.arg(message.HeaderTextCut)
		sql = "(" + cut + " OR " + sql + ")"
	}
	sql = "SELECT uid, " + cut + which + " AND " + sql + " ORDER BY uid"
	rows, err := q.tx.Query(q.ctx, sql, c.args...)
	if err != nil {
		return nil, err
	}
	var found, unsure UIDSet
	if err := eachUID(rows, func(uid UID, cut bool) {
		if cut {
			unsure.Add(uid)
		} else {
			found.Add(uid)
		}
	}); err != nil {
		return nil, err
	}
	found, unsure = found.Intersect(cand), unsure.Intersect(cand)
	if len(unsure) == 0 {
		return found, nil
	}
	more, err := q.pieces(n, unsure, func(leaf node, cand UIDSet) (UIDSet, error) {
		if leaf.op == SearchHeader {
			return q.readHeaders(leaf, cand)
		}
		return q.columns(leaf, cand)
	})
	return found.Union(more), err
}

// fewCandidates is up to how many messages are named one by one; beyond it
// their range is read and the result is cut to them.
const fewCandidates = 2000

// candidates writes FROM and WHERE for messages that include cand.
func (c *condition) candidates(q *search, cand UIDSet) string {
	acct, mbox := c.arg(q.acct), c.arg(q.mbox)
	where := ` FROM message WHERE account_id = ` + acct + ` AND mailbox_id = ` + mbox
	lo, hi := cand[0].Lo, cand[len(cand)-1].Hi
	span := q.view.SeqFrom(hi) - q.view.SeqFrom(lo) + 1
	if n := cand.Len(); n <= fewCandidates && n < span/2 {
		uids := make([]int64, 0, n)
		for u := range cand.Each {
			uids = append(uids, int64(u))
		}
		return where + ` AND uid = ANY(` + c.arg(uids) + `)`
	}
	return where + ` AND uid >= ` + c.arg(int64(lo)) + ` AND uid <= ` + c.arg(int64(hi))
}

// eachUID reads rows of (uid, bool) as they come off the wire.
func eachUID(rows pgx.Rows, f func(UID, bool)) error {
	defer rows.Close()
	for rows.Next() {
		raw := rows.RawValues()
		if len(raw) == 2 && len(raw[0]) == 8 && len(raw[1]) == 1 && rows.FieldDescriptions()[0].Format == pgx.BinaryFormatCode {
			f(UID(binary.BigEndian.Uint64(raw[0])), raw[1][0] == 1)
			continue
		}
		var uid int64 // text format: a pool in simple protocol
		var flag bool
		if err := rows.Scan(&uid, &flag); err != nil {
			return fmt.Errorf("read search results: %w", err)
		}
		f(UID(uid), flag)
	}
	return rows.Err()
}

// readHeaders looks for a field in the headers as they are stored, one by one.
func (q *search) readHeaders(leaf node, cand UIDSet) (UIDSet, error) {
	docs, err := q.documents(cand)
	if err != nil {
		return nil, err
	}
	var found UIDSet
	for i := range docs.uids {
		b := &bodyInTx{q: q, blob: docs.blobs[i]}
		header := make([]byte, min(docs.raw[i], message.MaxHeader))
		if _, err := b.ReadAt(header, 0); err != nil {
			return nil, err
		}
		name := [...]string{"from", "to", "cc", "bcc", "subject"}[leaf.place]
		if message.SearchHeaderField(header, name, leaf.needle) {
			found.Add(docs.uids[i])
		}
	}
	return found, nil
}
