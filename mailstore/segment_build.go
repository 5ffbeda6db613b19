package mailstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// How segments are made.
const (
	mergeOctets  = 64 << 20 // of what a merge reads, compressed; it takes about three times that in memory
	segmentPause = 200 * time.Millisecond
	segmentSlow  = 10 * time.Minute // looks without a hint: what other nodes left
)

// segmentLimits say when segments are built and merged.
type segmentLimits struct {
	enough int64 // texts not covered that are worth a segment
	texts  int64 // texts in a new segment, and
	octets int64 // octets of their folded texts, or one pack more
	merge  int   // neighbours that become one
}

// newSegments are the limits of stores that are opened.
var newSegments = segmentLimits{enough: 1024, texts: 16 << 10, octets: 8 << 20, merge: 16}

// segmenter builds and merges segments outside of delivery and of searches, for
// accounts that have searched their texts in the last 90 days. Nothing depends
// on it but the speed of searches.
type segmenter struct {
	segmentLimits
	hint   chan struct{}
	mu     sync.Mutex
	kicked map[AccountID]struct{} // they may have enough; bounded by kickedAccounts
}

const kickedAccounts = 10_000 // more are found by the slow look

func newSegmenter() *segmenter {
	return &segmenter{segmentLimits: newSegments, hint: make(chan struct{}, 1), kicked: map[AccountID]struct{}{}}
}

// kick tells the segmenter to look at an account.
func (g *segmenter) kick(acct AccountID) {
	g.mu.Lock()
	if len(g.kicked) < kickedAccounts {
		g.kicked[acct] = struct{}{}
	}
	g.mu.Unlock()
	select {
	case g.hint <- struct{}{}:
	default:
	}
}

func (g *segmenter) take() []AccountID {
	g.mu.Lock()
	defer g.mu.Unlock()
	accounts := make([]AccountID, 0, len(g.kicked))
	for acct := range g.kicked {
		accounts = append(accounts, acct)
	}
	clear(g.kicked)
	return accounts
}

// runSegmenter is the segmenter's goroutine.
func (s *Store) runSegmenter(ctx context.Context) {
	slow := time.NewTicker(segmentSlow)
	defer slow.Stop()
	for first := true; ; first = false {
		all := first // what was left by the last process
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-s.segments.hint:
				if !pause(ctx, segmentPause) {
					return
				}
			case <-slow.C:
				all = true
				s.searches.dropIdle(time.Now().Add(-searchCacheIdle))
				s.sorts.dropIdle(time.Now().Add(-searchCacheIdle))
			}
		}
		var accounts []AccountID // nil: all
		if !all {
			accounts = s.segments.take()
		}
		if err := s.buildSegments(ctx, accounts); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "building word segments failed", "event", "segment_failed", "err", err)
		}
	}
}

// buildSegments builds what is due of these accounts, or of all. An account that
// another process is at, or whose texts are being packed, is looked at again later.
func (s *Store) buildSegments(ctx context.Context, accounts []AccountID) error {
	rows, err := s.pool.Query(ctx, `SELECT a.id FROM account a WHERE ($1::bigint[] IS NULL OR a.id = ANY($1)) AND body_searched_at > now() - interval '90 days'
		AND text_next - coalesce((SELECT max(first_no + n) FROM text_segment g WHERE g.account_id = a.id AND format = $2), 0) >= $3
		AND NOT EXISTS (SELECT FROM text_segment g WHERE g.account_id = a.id AND format > $2)`, accounts, segmentFormat, s.segments.enough)
	if err != nil {
		return dbError("look for texts to cover", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[AccountID])
	if err != nil {
		return dbError("look for texts to cover", err)
	}
	var failed error
	for _, acct := range due {
		busy, err := s.buildAccount(ctx, acct)
		if failed = errors.Join(failed, err); busy {
			s.segments.kick(acct)
		}
	}
	return failed
}

// buildAccount builds segments until all of an account's texts are covered, each
// in a transaction, and merges those that are many.
func (s *Store) buildAccount(ctx context.Context, acct AccountID) (busy bool, err error) {
	for _, step := range []struct {
		what string
		do   func(context.Context, pgx.Tx, AccountID) (more bool, err error)
	}{
		{"build a segment", s.buildSegment},
		{"merge segments", s.mergeSome},
	} {
		for more := true; more; {
			err := s.inTx(ctx, step.what, func(tx pgx.Tx) (err error) {
				if busy, err = textsBusy(ctx, tx, acct); err != nil || busy {
					return err
				}
				if more, err = accountStays(ctx, tx, acct); err != nil || !more {
					return err
				}
				return contained(func() error {
					more, err = step.do(ctx, tx, acct)
					return err
				})
			})
			if err != nil || busy {
				return busy, err
			}
		}
	}
	return false, nil
}

// accountStays keeps the account from being removed while this transaction
// writes what the sweeper would not find any more; false: it is gone.
func accountStays(ctx context.Context, tx pgx.Tx, acct AccountID) (bool, error) {
	tag, err := tx.Exec(ctx, `SELECT FROM account WHERE id = $1 FOR KEY SHARE`, acct)
	return tag.RowsAffected() > 0, err
}

// buildSegment covers the next packs that no segment covers.
func (s *Store) buildSegment(ctx context.Context, tx pgx.Tx, acct AccountID) (more bool, err error) {
	if _, err := tx.Exec(ctx, `DELETE FROM text_segment WHERE account_id = $1 AND format < $2`, acct, segmentFormat); err != nil {
		return false, err
	}
	var covered, next, id int64
	err = tx.QueryRow(ctx, `SELECT text_next, nextval('blob_id_seq'), coalesce((SELECT max(first_no + n) FROM text_segment WHERE account_id = $1), 0)
		FROM account WHERE id = $1`, acct).Scan(&next, &id, &covered)
	if err != nil || next == covered {
		return false, err
	}
	b := newSegmentBuilder(covered)
	end := covered
	for end < next && int64(len(b.seg.blobs)) < s.segments.texts && int64(b.octets) < s.segments.octets {
		if end, err = s.coverPacks(ctx, tx, acct, b, end, next); err != nil {
			return false, err
		}
	}
	seg, row := b.finish(end)
	seg.id = id
	if err := writeSegment(ctx, tx, acct, seg, row); err != nil {
		return false, err
	}
	return next > end, nil
}

// coverPacks adds the packs that come next to b, and gives where they end: next
// where there are no more.
func (s *Store) coverPacks(ctx context.Context, tx pgx.Tx, acct AccountID, b *segmentBuilder, from, next int64) (end int64, err error) {
	const page = 64
	rows, err := tx.Query(ctx, `SELECT first_no, n, blob_ids, z, heads FROM text_pack WHERE account_id = $1 AND first_no >= $2 ORDER BY first_no LIMIT $3`, acct, from, page)
	if err != nil {
		return from, err
	}
	packs := 0
	end = from
	var p pack
	var n int64
	var texts, heads []byte
	_, err = pgx.ForEachRow(rows, []any{&p.firstNo, &n, &p.blobs, &p.z, &p.heads}, func() error {
		if packs++; int64(b.octets) >= s.segments.octets || int64(len(b.seg.blobs)) >= s.segments.texts {
			return nil
		}
		if texts, err = packDecoder.DecodeAll(p.z, texts[:0]); err != nil {
			return err
		}
		if heads, err = packDecoder.DecodeAll(p.heads, heads[:0]); err != nil {
			return err
		}
		end = p.firstNo + n
		return b.add(p.firstNo, p.blobs, texts, heads)
	})
	if packs < page && int64(b.octets) < s.segments.octets && int64(len(b.seg.blobs)) < s.segments.texts {
		end = next
	}
	return end, err
}

func writeSegment(ctx context.Context, tx pgx.Tx, acct AccountID, s *segment, r *segmentRow) error {
	_, err := tx.Exec(ctx, `INSERT INTO text_segment (account_id, first_no, n, format, id, ids, vocab, skips, post) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		acct, s.firstNo, s.span, segmentFormat, s.id, r.ids, r.vocab, r.skips, r.post)
	return err
}

// readSegment reads one segment whole.
func readSegment(ctx context.Context, tx pgx.Tx, acct AccountID, firstNo int64) (s *segment, post []byte, err error) {
	s = &segment{firstNo: firstNo}
	var r segmentRow
	err = tx.QueryRow(ctx, `SELECT n, id, ids, vocab, skips, post FROM text_segment WHERE account_id = $1 AND first_no = $2`, acct, firstNo).
		Scan(&s.span, &s.id, &r.ids, &r.vocab, &r.skips, &r.post)
	if err != nil {
		return nil, nil, err
	}
	return s, r.post, decodeSegment(s, &r)
}

// mergeSome makes one of neighbours that are many.
func (s *Store) mergeSome(ctx context.Context, tx pgx.Tx, acct AccountID) (more bool, err error) {
	rows, err := tx.Query(ctx, `SELECT first_no, n, octet_length(vocab)::bigint + octet_length(post) FROM text_segment WHERE account_id = $1 AND format = $2 ORDER BY first_no`, acct, segmentFormat)
	if err != nil {
		return false, err
	}
	var list []mergeable
	var m mergeable
	if _, err := pgx.ForEachRow(rows, []any{&m.no, &m.span, &m.octets}, func() error {
		list = append(list, m)
		return nil
	}); err != nil {
		return false, err
	}
	at, many := mergeAt(list, s.segments.merge)
	if many == 0 {
		return false, nil
	}
	var nos []int64
	for _, m := range list[at : at+many] {
		nos = append(nos, m.no)
	}
	return true, rewriteSegments(ctx, tx, acct, nos, nil)
}

// mergeable is a segment as mergeAt sees it.
type mergeable struct{ no, span, octets int64 }

// mergeAt is where n neighbours begin that can be merged, or half as many where more
// would be too large. What comes of them is at least twice as long as the longest,
// so a text moves seldom.
func mergeAt(list []mergeable, n int) (at, many int) {
	for at := range list {
		var span, longest, octets int64
		k, full := 0, false
		for _, m := range list[at:min(at+n, len(list))] {
			if full = span+m.span > maxSegmentSpan || octets+m.octets > mergeOctets; full {
				break
			}
			span, longest, octets = span+m.span, max(longest, m.span), octets+m.octets
			k++
		}
		if 2*longest <= span && (k == n || full && k >= max(2, n/2)) {
			return at, k
		}
	}
	return 0, 0
}

// rewriteSegments makes one segment of neighbours, without the dead texts.
func rewriteSegments(ctx context.Context, tx pgx.Tx, acct AccountID, nos []int64, dead func(pack, blob int64) bool) error {
	parts, posts := make([]*segment, len(nos)), make([][]byte, len(nos))
	for i, no := range nos {
		var err error
		if parts[i], posts[i], err = readSegment(ctx, tx, acct, no); err != nil {
			return err
		}
	}
	merged, row, err := mergeSegments(parts, posts, dead)
	if err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, `SELECT nextval('blob_id_seq')`).Scan(&merged.id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM text_segment WHERE account_id = $1 AND first_no = ANY($2)`, acct, nos); err != nil {
		return err
	}
	return writeSegment(ctx, tx, acct, merged, row)
}

// compactSegments drops dead texts from the segments that have any.
func compactSegments(ctx context.Context, tx pgx.Tx, acct AccountID, dead map[int64]bool) error {
	if stays, err := accountStays(ctx, tx, acct); err != nil || !stays {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT first_no, ids FROM text_segment WHERE account_id = $1 AND format = $2`, acct, segmentFormat)
	if err != nil {
		return err
	}
	var nos []int64
	var no int64
	var ids []byte
	if _, err := pgx.ForEachRow(rows, []any{&no, &ids}, func() error {
		s := segment{firstNo: no}
		if err := s.decodeIDs(ids); err != nil {
			return err
		}
		for _, blob := range s.blobs {
			if dead[blob] {
				nos = append(nos, no)
				break
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, no := range nos {
		if err := rewriteSegments(ctx, tx, acct, []int64{no}, func(_, blob int64) bool { return dead[blob] }); err != nil {
			return err
		}
	}
	return nil
}
