package mailstore

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
)

// SortKey is what messages are sorted by (RFC 5256 §2.2, RFC 5957 §3).
type SortKey uint8

// The sort criteria. Texts are compared as i;unicode-casemap does.
const (
	SortArrival SortKey = iota
	SortDate            // the Date field; without one that can be read, the internal date
	SortSize
	SortSubject // the base subject
	SortFrom    // the mailbox of the first address
	SortTo
	SortCc
	SortDisplayFrom // the display name of the first address, else the address
	SortDisplayTo
	SortRelevancy // Scores, the highest first (RFC 6203 §5)
)

func (k SortKey) isText() bool { return k >= SortSubject && k <= SortDisplayTo }

// SortCriterion is one key of a sort program.
type SortCriterion struct {
	Key     SortKey
	Reverse bool
	Scores  []uint8 // for SortRelevancy: of all found, in their order, up to 100 ([Store.Relevancy])
}

// Sort gives messages of the view in the order of the criteria, the first of which
// counts most; what is alike in all of them stands in mailbox order. Keys are kept
// in memory ([sortCacheBytes]); no connection is held while messages are sorted.
func (s *Store) Sort(ctx context.Context, acct AccountID, mbox MailboxID, v *View, found UIDSet, by []SortCriterion) ([]UID, error) {
	uids := found.Slice()
	if len(uids) < 2 || len(by) == 0 {
		return uids, ctx.Err()
	}
	by = deciding(by)
	var keys []SortKey
	for _, c := range by {
		if c.Key != SortRelevancy {
			keys = append(keys, c.Key)
		}
	}
	var cols []*sortColumn
	if len(keys) > 0 {
		var err error
		if cols, err = s.sortColumns(ctx, acct, mbox, v, found, keys...); err != nil {
			return nil, err
		}
	}
	order := make([]int32, len(uids))
	for i := range order {
		order[i] = int32(i)
	}
	values, spare := make([]uint64, len(uids)), make([]uint64, len(uids))
	for i := len(by) - 1; i >= 0; i-- { // the least first: each sort is stable
		var limit uint64
		if by[i].Key == SortRelevancy {
			limit = by[i].scores(values)
		} else {
			limit = cols[len(keys)-1].values(values, uids, by[i].Reverse)
			keys = keys[:len(keys)-1]
		}
		sortBy(order, values, limit, spare)
	}
	out := make([]UID, len(uids))
	for i, k := range order {
		out[i] = uids[k]
	}
	return out, nil
}

// scores fills in numbers that compare as the relevancy does, from 0 to limit.
func (c *SortCriterion) scores(values []uint64) (limit uint64) {
	for i, score := range c.Scores {
		if values[i] = uint64(score); !c.Reverse {
			values[i] = 100 - min(uint64(score), 100)
		}
	}
	return 100
}

// deciding drops criteria that repeat an earlier one: they decide nothing.
func deciding(by []SortCriterion) []SortCriterion {
	var seen [256]bool
	return slices.DeleteFunc(slices.Clone(by), func(c SortCriterion) bool {
		was := seen[c.Key]
		seen[c.Key] = true
		return was
	})
}

// places yields for each of uids, which rise, its place in the column, or -1.
func (c *sortColumn) places(uids []UID, yield func(i, place int)) {
	at := 0
	for i, uid := range uids {
		if at < len(c.uids) && c.uids[at] < uid { // mostly the next one
			if at++; at < len(c.uids) && c.uids[at] < uid {
				n, _ := slices.BinarySearch(c.uids[at:], uid)
				at += n
			}
		}
		if at < len(c.uids) && c.uids[at] == uid {
			yield(i, at)
		} else {
			yield(i, -1)
		}
	}
}

// values fills in numbers that compare as the messages' keys do, from 0 to limit.
// A message that is not in the column, which can only be one that was swept just
// now, counts as the least.
func (c *sortColumn) values(values []uint64, uids []UID, reverse bool) (limit uint64) {
	low, high := int64(0), int64(0)
	for i, n := range c.nums {
		if i == 0 {
			low, high = n, n
		}
		low, high = min(low, n), max(high, n)
	}
	if c.words != nil {
		high = int64(c.words.len())
	}
	limit = uint64(high - low)
	c.places(uids, func(i, place int) {
		var value uint64
		switch {
		case place < 0:
		case c.words != nil:
			value = uint64(c.ranks[place])
		default:
			value = uint64(c.nums[place] - low)
		}
		if reverse {
			value = limit - value
		}
		values[i] = value
	})
	return limit
}

// sortBy sorts places by their values, stably. Value and rank go into one number
// where they fit, which they do but for dates of other millennia.
func sortBy(order []int32, values []uint64, limit uint64, spare []uint64) {
	low := bits.Len(uint(len(order)))
	if bits.Len64(limit)+low > 64 {
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(values[a], values[b]) })
		return
	}
	for i, k := range order {
		spare[i] = values[k]<<low | uint64(i)
	}
	slices.Sort(spare)
	before := slices.Clone(order)
	mask := uint64(1)<<low - 1
	for i, packed := range spare {
		order[i] = before[packed&mask]
	}
}
