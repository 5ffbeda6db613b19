package mailstore

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/message"
)

// Search gives the messages of the view that meet the criteria, as they are in
// one snapshot of the database. Flags and keywords are those of the view.
//
// A text matches where it is contained in the folded text ([message.Fold]): in
// a field's decoded value, in the whole decoded header, or in the decoded text
// parts, nested messages and attachment names of the body, of which the first
// [message.MaxText] octets count. What of the criteria costs nothing is decided
// first; only messages that it leaves are looked at further. One connection is
// held for the snapshot; memory is bounded by the number of messages, beside what
// all searches of the process keep ([searchCacheBytes]).
func (s *Store) Search(ctx context.Context, acct AccountID, mbox MailboxID, v *View, c *Criteria) (UIDSet, error) {
	q := &search{s: s, ctx: ctx, acct: acct, mbox: mbox, view: v}
	n := q.plan(c)
	all := v.UIDs(1, v.Len())
	if n.uses <= usesView {
		return q.eval(n, all)
	}
	var found UIDSet
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		q.tx = tx
		found, err = q.eval(n, all)
		return err
	})
	if err == nil && q.index != nil {
		q.noted()
	}
	return found, dbError("search", err)
}

// noted remembers, to the day, that the account searches its texts, and asks for
// segments where they would have helped. The search has its answer whether or
// not that succeeds.
func (q *search) noted() {
	if !q.index.noted {
		if _, err := q.s.pool.Exec(q.ctx, `UPDATE account SET body_searched_at = now() WHERE id = $1`, q.acct); err != nil {
			q.s.log.InfoContext(q.ctx, "a search was not noted", "event", "search_unnoted", "account", int64(q.acct), "err", err)
		}
	}
	if q.index.next-q.index.covered >= q.s.segments.enough {
		q.s.segments.kick(q.acct)
	}
}

// search is one search under way.
type search struct {
	s    *Store
	ctx  context.Context
	tx   pgx.Tx
	acct AccountID
	mbox MailboxID
	view *View

	index *indexState // nil: texts were not asked for yet
	fuzzy bool        // plan is inside of SearchFuzzy
}

// What deciding a node takes.
const (
	usesView    = 1 << iota // the view alone
	usesColumns             // columns of message: dates, sizes, the five fields that are searched most
	usesTexts               // the texts of headers and bodies
)

// node is a node of Criteria, made ready.
type node struct {
	op     SearchOp
	sub    []node
	uses   uint8
	uids   UIDSet
	flags  Flags
	date   time.Time
	size   int64
	place  int        // SearchHeader on a column: the field's place in hdr
	field  string     // SearchHeader on texts
	needle string     // folded
	fuzzy  *fuzzyWord // nil: the needle as it stands
}

// plan makes the tree ready: needles folded, keywords found, each node marked
// with what it uses. Nodes with one sub are that sub.
func (q *search) plan(c *Criteria) node {
	n := node{op: c.Op, uids: c.UIDs, flags: c.Flags, date: c.Date, size: c.Size, uses: usesView}
	switch c.Op {
	case SearchAnd, SearchOr, SearchNot:
		if len(c.Sub) == 1 && c.Op != SearchNot {
			return q.plan(&c.Sub[0])
		}
		if len(c.Sub) > 0 {
			n.uses = 0
		}
		for i := range c.Sub {
			sub := q.plan(&c.Sub[i])
			n.uses |= sub.uses
			n.sub = append(n.sub, sub)
		}
	case SearchKeyword:
		n.op, n.flags = SearchFlags, q.keyword(c.Text)
		if n.flags == 0 {
			n.op = SearchOr // no message has it
		}
	case SearchBefore, SearchOn, SearchSince, SearchSentBefore, SearchSentOn, SearchSentSince, SearchLarger, SearchSmaller,
		SearchEmailID, SearchThreadID, SearchSavedBefore, SearchSavedOn, SearchSavedSince:
		n.uses = usesColumns
	case SearchOlder, SearchYounger:
		n.uses, n.date = usesColumns, time.Now().Add(-time.Duration(c.Size)*time.Second)
	case SearchFuzzy:
		if len(c.Sub) > 0 {
			defer func(was bool) { q.fuzzy = was }(q.fuzzy)
			q.fuzzy = true
			return q.plan(&c.Sub[0])
		}
		n.op = SearchAll
	case SearchHeader, SearchBody, SearchText:
		if words, ok := planFuzzy(c); ok && q.fuzzy {
			return words
		}
		return q.planText(c, n)
	}
	return n
}

// planText is the plan of a key that looks for text.
func (q *search) planText(c *Criteria, n node) node {
	switch c.Op {
	case SearchHeader:
		n.needle = message.Fold(c.Text)
		if place, ok := message.HeaderTextField(c.Field); ok {
			n.place, n.uses = place, usesColumns
		} else if message.IsFieldName(c.Field) {
			n.field, n.uses = c.Field, usesTexts
		} else {
			n.op = SearchOr // no field has such a name
		}
	case SearchBody, SearchText:
		if n.needle = message.Fold(c.Text); n.needle == "" {
			n.op = SearchAll
		} else {
			n.uses = usesTexts
		}
	}
	return n
}

// keyword is the bit of a keyword, or 0.
func (q *search) keyword(name string) Flags {
	for i, k := range q.view.Keywords() {
		if k != "" && strings.EqualFold(k, name) {
			return 1 << (8 + i)
		}
	}
	return 0
}

// eval gives the messages among cand that meet n.
func (q *search) eval(n node, cand UIDSet) (UIDSet, error) {
	if len(cand) == 0 {
		return nil, q.ctx.Err()
	}
	switch {
	case n.uses == usesColumns:
		return q.columns(n, cand)
	case n.uses == usesTexts:
		return q.texts(n, cand)
	}
	switch n.op {
	case SearchAll:
		return cand, nil
	case SearchUIDs:
		return cand.Intersect(n.uids), nil
	case SearchFlags:
		return q.flagged(n.flags, cand), nil
	case SearchNot:
		found, err := q.eval(n.sub[0], cand)
		return cand.Subtract(found), err
	case SearchAnd:
		return q.all(n, cand)
	default:
		return q.any(n, cand)
	}
}

// flagged gives the messages among cand that have all of these flags.
func (q *search) flagged(flags Flags, cand UIDSet) UIDSet {
	var found UIDSet
	for _, r := range cand {
		q.view.Each(q.view.SeqFrom(r.Lo), q.view.Len(), func(_ int, uid UID, f Flags) bool {
			if uid <= r.Hi && f&flags == flags {
				found.Add(uid)
			}
			return uid < r.Hi
		})
	}
	return found
}

// all meets every sub: the cheap ones first, each on what the ones before left.
// Subs that use columns only, or texts only, are decided in one go.
func (q *search) all(n node, cand UIDSet) (UIDSet, error) {
	var err error
	for _, sub := range n.grouped() {
		if cand, err = q.eval(sub, cand); err != nil || len(cand) == 0 {
			return nil, err
		}
	}
	return cand, nil
}

// any meets at least one sub: each is asked about what the ones before did not find.
func (q *search) any(n node, cand UIDSet) (found UIDSet, err error) {
	for _, sub := range n.grouped() {
		more, err := q.eval(sub, cand)
		if err != nil {
			return nil, err
		}
		found, cand = found.Union(more), cand.Subtract(more)
		if len(cand) == 0 {
			break
		}
	}
	return found, nil
}

// grouped gives the subs of an AND or OR in the order of their cost, those that
// use only columns as one node, and those that use only texts as another.
func (n node) grouped() []node {
	var out, mixed []node
	columns, texts := node{op: n.op, uses: usesColumns}, node{op: n.op, uses: usesTexts}
	for _, sub := range n.sub {
		switch sub.uses {
		case usesView:
			out = append(out, sub)
		case usesColumns:
			columns.sub = append(columns.sub, sub)
		case usesTexts:
			texts.sub = append(texts.sub, sub)
		default:
			mixed = append(mixed, sub)
		}
	}
	for _, group := range []node{columns, texts} {
		if len(group.sub) > 0 {
			out = append(out, group)
		}
	}
	return append(out, mixed...)
}

// pieces decides a node of columns or of texts leaf by leaf with the given way.
func (q *search) pieces(n node, cand UIDSet, leaf func(node, UIDSet) (UIDSet, error)) (found UIDSet, err error) {
	if len(cand) == 0 {
		return nil, nil
	}
	switch n.op {
	case SearchNot:
		found, err = q.pieces(n.sub[0], cand, leaf)
		return cand.Subtract(found), err
	case SearchAnd:
		for _, sub := range n.sub {
			if cand, err = q.pieces(sub, cand, leaf); err != nil {
				return nil, err
			}
		}
		return cand, nil
	case SearchOr:
		for _, sub := range n.sub {
			more, err := q.pieces(sub, cand, leaf)
			if err != nil {
				return nil, err
			}
			found, cand = found.Union(more), cand.Subtract(more)
		}
		return found, nil
	}
	return leaf(n, cand)
}
