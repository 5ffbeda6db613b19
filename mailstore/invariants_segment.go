package mailstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// checkSegments compares every segment of this binary's format with one that is
// built of the packs, and gives lines about those that say something else. One
// segment is in memory at a time.
func checkSegments(ctx context.Context, tx pgx.Tx) (lines []string, err error) {
	type row struct {
		Account     AccountID
		First, Span int64
	}
	rows, err := tx.Query(ctx, `SELECT account_id, first_no, n FROM text_segment g WHERE format = $1
		AND NOT EXISTS (SELECT FROM account_gone a WHERE a.account_id = g.account_id) ORDER BY account_id, first_no`, segmentFormat)
	if err != nil {
		return nil, fmt.Errorf("check segments: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("check segments: %w", err)
	}
	for _, r := range list {
		wrong, err := checkSegment(ctx, tx, r.Account, r.First, r.First+r.Span)
		if err != nil {
			return lines, fmt.Errorf("check segments: %w", err)
		}
		if wrong != "" {
			lines = append(lines, fmt.Sprintf("account %d segment %d: %s", r.Account, r.First, wrong))
		}
		if len(lines) == invariantLines {
			break
		}
	}
	return lines, nil
}

// checkSegment says what is wrong with a segment. It may know more texts than the
// packs have: dead ones, which compaction drops from packs first.
func checkSegment(ctx context.Context, tx pgx.Tx, acct AccountID, first, end int64) (wrong string, err error) {
	seg, post, err := readSegment(ctx, tx, acct, first)
	if errors.Is(err, errSegment) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	rows, err := tx.Query(ctx, `SELECT first_no, blob_ids, z, heads FROM text_pack WHERE account_id = $1 AND first_no >= $2 AND first_no < $3 ORDER BY first_no`, acct, first, end)
	if err != nil {
		return "", err
	}
	b := newSegmentBuilder(first)
	there := make(map[[2]int64]bool, len(seg.blobs)) // pack and body
	var p pack
	var texts, heads []byte
	if _, err = pgx.ForEachRow(rows, []any{&p.firstNo, &p.blobs, &p.z, &p.heads}, func() error {
		for _, blob := range p.blobs {
			there[[2]int64{p.firstNo, blob}] = true
		}
		if texts, err = packDecoder.DecodeAll(p.z, texts[:0]); err != nil {
			return err
		}
		if heads, err = packDecoder.DecodeAll(p.heads, heads[:0]); err != nil {
			return err
		}
		return b.add(p.firstNo, p.blobs, texts, heads)
	}); err != nil {
		return "", err
	}
	want, wantRow := b.finish(end)
	got, gotRow, err := mergeSegments([]*segment{seg}, [][]byte{post}, func(pack, blob int64) bool { return !there[[2]int64{pack, blob}] })
	switch {
	case err != nil:
		return err.Error(), nil
	case !bytes.Equal(gotRow.ids, wantRow.ids):
		return fmt.Sprintf("it has %d packs and %d texts, not the %d and %d that it covers", len(got.packs), len(got.blobs), len(want.packs), len(want.blobs)), nil
	case !bytes.Equal(got.vocab, want.vocab):
		return fmt.Sprintf("it has %d words, the texts have %d", got.words, want.words), nil
	case !bytes.Equal(gotRow.post, wantRow.post) || !bytes.Equal(gotRow.skips, wantRow.skips):
		return "its words are in other texts", nil
	}
	return "", nil
}
