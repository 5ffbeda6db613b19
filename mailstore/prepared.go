package mailstore

import (
	"context"
	"encoding/binary"
	"math"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
)

// preparedColumns are the fields that Prepared gives, and their columns.
var preparedColumns = []struct {
	field  Fields
	column string
}{
	{FieldSize, "size"}, {FieldEnvelope, "env"}, {FieldBodyStructure, "bodystructure"}, {FieldHeaderSubset, "hdr_wire"}, {FieldPrefix, "prefix"},
}

// PreparedFields are those that Prepared can give.
const PreparedFields = FieldSize | FieldEnvelope | FieldBodyStructure | FieldHeaderSubset | FieldPrefix

// groupBlocks is how many blocks are read from the database at a time.
const groupBlocks = pageMessages / blockUIDs

// Prepared yields what Messages does, of each message the UID and the fields
// asked for alone, which are among PreparedFields: from memory where it was read
// before. It costs something for each UID of the set, whether or not there is a
// message: a set from a view has no others. The *Message and its bytes are good
// until yield returns.
func (s *Store) Prepared(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, fields Fields, yield func(*Message) error) error {
	p := preparing{s: s, acct: acct, mbox: mbox, yield: yield}
	for i, c := range preparedColumns {
		if fields&c.field != 0 {
			p.kinds = append(p.kinds, i)
		}
	}
	p.bufs = make([][]byte, len(p.kinds))
	for len(uids) > 0 {
		n := uids[0].Lo / blockUIDs
		here, rest := uids.upTo(n*blockUIDs + blockUIDs - 1)
		blocks := p.cached(n, here)
		if blocks == nil {
			var err error
			if uids, err = p.read(ctx, n, uids); err != nil {
				return err
			}
			continue
		}
		if err := p.give(blocks, here); err != nil {
			return err
		}
		uids = rest
	}
	return nil
}

// preparing is a Prepared that is under way.
type preparing struct {
	s     *Store
	acct  AccountID
	mbox  MailboxID
	kinds []int // into preparedColumns
	yield func(*Message) error
	row   Message
	bufs  [][]byte // of the blocks that are being given, by kind
}

// cached gives the blocks of one number, one for each kind; nil when one of them
// is not there or lacks one of the messages.
func (p *preparing) cached(n UID, uids UIDSet) []*block {
	blocks := make([]*block, len(p.kinds))
	for i, kind := range p.kinds {
		kept := p.s.prepared.get(blockKey{p.mbox, preparedColumns[kind].field, n})
		if kept == nil || !kept.covers(uids) {
			return nil
		}
		b, err := kept.unpack(p.bufs[i])
		if err != nil { // what is kept was packed here: only memory that fails does that
			p.s.log.Error("a block of prepared fields is damaged", "event", "prepared", "mailbox", int64(p.mbox), "err", err)
			return nil
		}
		p.bufs[i], blocks[i] = b.data, &b
	}
	return blocks
}

// give yields those messages of the set that the blocks have.
func (p *preparing) give(blocks []*block, uids UIDSet) error {
	for uid := range uids.Each {
		p.row = Message{UID: uid}
		there := true
		for i, kind := range p.kinds {
			value, ok := blocks[i].get(uid)
			if there = there && ok; there {
				p.row.set(preparedColumns[kind].field, value)
			}
		}
		if !there {
			continue
		}
		if err := p.yield(&p.row); err != nil {
			return err
		}
	}
	return nil
}

// set sets a prepared field.
func (m *Message) set(field Fields, value []byte) {
	switch field {
	case FieldSize:
		m.Size = sizeOfValue(value)
	case FieldEnvelope:
		m.Envelope = value
	case FieldBodyStructure:
		m.BodyStructure = value
	case FieldHeaderSubset:
		m.HeaderSubset = value
	case FieldPrefix:
		m.Prefix = value
	}
}

// read yields the first messages of the set, up to a page of blocks from number n
// on, from the database, and keeps the blocks that it read whole. It gives the rest.
func (p *preparing) read(ctx context.Context, n UID, uids UIDSet) (rest UIDSet, err error) {
	want, rest := uids.upTo(UID(min(uint64(n)*blockUIDs+blockUIDs*groupBlocks-1, math.MaxUint32)))
	g, err := p.group(ctx, want)
	if err != nil {
		return nil, dbError("read messages", err)
	}
	if g.cut { // the page was full
		want, rest = uids.upTo(g.last)
	}
	for i, blocks := range g.blocks {
		n := n + UID(i)
		var here UIDSet
		if here, want = want.upTo(n*blockUIDs + blockUIDs - 1); blocks == nil {
			continue
		}
		for k, kind := range p.kinds {
			if here.Len() > 1 { // who asks for single messages asks once
				p.s.prepared.put(blockKey{p.mbox, preparedColumns[kind].field, n}, blocks[k].pack())
			}
		}
		if err := p.give(blocks, here); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// upTo parts the set behind a UID.
func (s UIDSet) upTo(u UID) (head, rest UIDSet) {
	i := sort.Search(len(s), func(i int) bool { return s[i].Hi > u }) // the first that is not all in head
	if i == len(s) || s[i].Lo > u {
		return s[:i:i], s[i:]
	}
	head = append(s[:i:i], UIDRange{s[i].Lo, u})
	return head, append(UIDSet{{u + 1, s[i].Hi}}, s[i+1:]...)
}

// blockGroup is what was read: for each number the blocks of each kind.
type blockGroup struct {
	blocks [groupBlocks][]*block
	cut    bool // it stopped at pageBytes, after last
	last   UID
}

// group reads the messages of a set, which lies within groupBlocks blocks.
func (p *preparing) group(ctx context.Context, want UIDSet) (*blockGroup, error) {
	var sql strings.Builder
	sql.WriteString(`SELECT uid`)
	for _, kind := range p.kinds {
		sql.WriteString(`, ` + preparedColumns[kind].column)
	}
	sql.WriteString(` FROM message WHERE account_id = $1 AND mailbox_id = $2 AND `)
	first, last := want[0].Lo, want[len(want)-1].Hi
	args := []any{p.acct, p.mbox}
	if len(want) == 1 || int(last-first) < 2*want.Len() { // hardly any gaps: they are read, too
		sql.WriteString(`uid >= $3 AND uid <= $4`)
		args = append(args, first, last)
	} else {
		sql.WriteString(`uid = ANY($3)`)
		args = append(args, want.int64s())
	}
	rows, err := p.s.pool.Query(ctx, sql.String()+` ORDER BY uid`, args...)
	if err != nil {
		return nil, err
	}
	g := new(blockGroup)
	return g, p.collect(rows, g, first/blockUIDs)
}

// collect puts rows into blocks from number n on, until a page is full.
func (p *preparing) collect(rows pgx.Rows, g *blockGroup, n UID) error {
	defer rows.Close()
	size := 0
	for rows.Next() {
		raw, uid, err := preparedRow(rows, len(p.kinds))
		if err != nil {
			return err
		}
		at := uid/blockUIDs - n
		if g.blocks[at] == nil {
			for range p.kinds {
				g.blocks[at] = append(g.blocks[at], newBlock(blockUIDs))
			}
		}
		for i := range p.kinds {
			g.blocks[at][i].add(uid, raw[i])
			size += len(raw[i])
		}
		if size > pageBytes {
			g.cut, g.last = true, uid
			break
		}
	}
	return rows.Err()
}

// preparedRow reads a row of a uid and n values as they come off the wire. They
// are good until the next row.
func preparedRow(rows pgx.Rows, n int) (values [][]byte, uid UID, err error) {
	raw, types := rows.RawValues(), rows.FieldDescriptions()
	if types[0].Format == pgx.BinaryFormatCode && len(raw) == n+1 {
		return raw[1:], UID(binary.BigEndian.Uint64(raw[0])), nil
	}
	values = make([][]byte, n) // a pool in simple protocol
	to := []any{&uid}
	var size int64
	for i := range values {
		if types[i+1].Name == "size" {
			to = append(to, &size)
		} else {
			to = append(to, &values[i])
		}
	}
	err = rows.Scan(to...)
	for i := range values {
		if types[i+1].Name == "size" {
			values[i] = sizeValue(size)
		}
	}
	return values, uid, err
}
