package mailstore

import (
	"bytes"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"posthouse/internal/message"
)

// This file looks into the recipients' own prefixes, which belong to the headers
// of messages: delivered mail has one each, of a few hundred octets, and most are
// alike. They stand in no pack. Their folded texts are kept in memory,
// compressed, by mailbox: what has come since is read and added.

// prefixTable has the prefixes of a mailbox. The rows of message do not change,
// and UIDs become visible in their order, so it stays true.
type prefixTable struct {
	last   UID // up to here it is complete
	chunks []prefixChunk
}

// prefixChunk is a part of them, in the order of the UIDs.
type prefixChunk struct {
	uids []UID
	z    []byte // zstd of the texts, each ended by 0x00
}

const prefixesInChunk = 256

// with is the table and more, up to a UID. Its last chunk is made anew where it
// is not full.
func (t *prefixTable) with(last UID, uids []UID, texts [][]byte) (*prefixTable, error) {
	out := &prefixTable{last: max(t.last, last), chunks: slices.Clone(t.chunks)}
	if n := len(out.chunks); n > 0 && len(uids) > 0 && len(out.chunks[n-1].uids) < prefixesInChunk {
		tail := out.chunks[n-1]
		have, err := packDecoder.DecodeAll(tail.z, nil)
		if err != nil {
			return nil, err
		}
		all := bytes.Split(bytes.TrimSuffix(have, []byte{0}), []byte{0})
		uids, texts = slices.Concat(tail.uids, uids), slices.Concat(all, texts)
		out.chunks = out.chunks[:n-1]
	}
	for len(uids) > 0 {
		n := min(len(uids), prefixesInChunk)
		plain := append(bytes.Join(texts[:n], []byte{0}), 0)
		out.chunks = append(out.chunks, prefixChunk{slices.Clone(uids[:n]), packEncoder.EncodeAll(plain, nil)})
		uids, texts = uids[n:], texts[n:]
	}
	return out, nil
}

// size is what the table takes in memory, in octets, about.
func (t *prefixTable) size() int64 {
	size := int64(128)
	for _, c := range t.chunks {
		size += int64(len(c.z)) + 4*int64(len(c.uids)) + 64
	}
	return size
}

// prefixes is the table of the search's mailbox, complete for its view.
func (q *search) prefixes() (*prefixTable, error) {
	t := q.s.searches.prefixes(q.mbox)
	last := q.view.UIDNext() - 1
	if t.last >= last {
		return t, nil
	}
	rows, err := q.tx.Query(q.ctx, `SELECT uid, prefix FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid > $3 AND prefix IS NOT NULL ORDER BY uid`,
		q.acct, q.mbox, int64(t.last))
	if err != nil {
		return nil, err
	}
	var uids []UID
	var texts [][]byte
	var uid int64
	var prefix pgtype.DriverBytes
	flush := func(last UID) error {
		if t, err = t.with(last, uids, texts); err != nil {
			return err
		}
		uids, texts = uids[:0], texts[:0]
		return nil
	}
	if _, err := pgx.ForEachRow(rows, []any{&uid, &prefix}, func() error {
		uids, texts = append(uids, UID(uid)), append(texts, message.AppendHeaderText(nil, prefix))
		if len(uids) < 16*prefixesInChunk {
			return nil
		}
		return flush(UID(uid))
	}); err != nil {
		return nil, err
	}
	if len(uids) > 0 {
		last = max(last, uids[len(uids)-1])
	}
	if err := flush(last); err != nil {
		return nil, err
	}
	q.s.searches.putPrefixes(q.mbox, t)
	return t, nil
}

// searchPrefixes gives the mask that the prefixes of candidates add, by message.
func (q *search) searchPrefixes(m *matcher, cand UIDSet) (map[UID]uint64, error) {
	heads := inHeaders(m.leaves)
	if heads == 0 {
		return nil, nil
	}
	if cand.Len() <= fewCandidates && 4*cand.Len() < q.view.Len() {
		return q.searchFewPrefixes(m, cand, heads)
	}
	t, err := q.prefixes()
	if err != nil {
		return nil, err
	}
	masks := make([]map[UID]uint64, len(t.chunks))
	err = parallel(len(t.chunks), func(i int) error {
		c := &t.chunks[i]
		texts, err := packDecoder.DecodeAll(c.z, nil)
		if err == nil {
			masks[i] = m.lookThrough(texts, c.uids, heads)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	own := map[UID]uint64{}
	for _, some := range masks {
		for uid, mask := range some {
			own[uid] = mask
		}
	}
	return own, nil
}

// lookThrough gives the masks of texts, each ended by 0x00, where they have any.
func (m *matcher) lookThrough(texts []byte, uids []UID, which uint64) map[UID]uint64 {
	var masks map[UID]uint64
	for rest := which; rest != 0; rest &= rest - 1 {
		bit := rest & -rest
		leaf := m.leaf(bit)
		for from, k := 0, 0; ; {
			at := leaf.find(texts, from)
			if at < 0 {
				break
			}
			k += bytes.Count(texts[from:at], []byte{0})
			if masks == nil {
				masks = map[UID]uint64{}
			}
			masks[uids[k]] |= bit
			end := bytes.IndexByte(texts[at:], 0)
			if end < 0 {
				break
			}
			from, k = at+end+1, k+1
		}
	}
	return masks
}

// searchFewPrefixes is searchPrefixes for some messages of a large mailbox.
func (q *search) searchFewPrefixes(m *matcher, cand UIDSet, heads uint64) (map[UID]uint64, error) {
	var c condition
	which := c.candidates(q, cand)
	rows, err := q.tx.Query(q.ctx, `SELECT uid, prefix`+which+` AND prefix IS NOT NULL`, c.args...)
	if err != nil {
		return nil, err
	}
	own := map[UID]uint64{}
	var uid int64
	var prefix pgtype.DriverBytes
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&uid, &prefix}, func() error {
		text = message.AppendHeaderText(text[:0], prefix)
		if mask := m.look(text, heads); mask != 0 {
			own[UID(uid)] = mask
		}
		return nil
	})
	return own, err
}
