package wire

import (
	"cmp"
	"slices"
)

// NumSet is a set of sequence numbers or UIDs as a client wrote it (RFC 3501
// §9, sequence-set). Which messages it means depends on the mailbox: see Within.
type NumSet []NumRange

// NumRange is first:last; Star stands for "*", the largest number in use.
type NumRange struct{ First, Last uint32 }

// Star is "*" in a NumRange. No message has the number 0.
const Star = 0

// Saved reports whether the set is "$", the result of an earlier search (RFC 5182
// §2.1). Such a set has no ranges; every other set has one at least.
func (s NumSet) Saved() bool { return s != nil && len(s) == 0 }

// NumSet consumes a set. It takes as many ranges as the line has room for (20,000
// UIDs in one line are common), eight octets of memory each. "$" stands alone.
func (l *Lexer) NumSet() (NumSet, error) {
	if l.Accept('$') {
		return NumSet{}, l.err
	}
	var set NumSet
	for {
		first, err := l.setNumber()
		if err != nil {
			return nil, err
		}
		last := first
		if l.Accept(':') {
			if last, err = l.setNumber(); err != nil {
				return nil, err
			}
		}
		set = append(set, NumRange{first, last})
		if !l.Accept(',') {
			return set, l.err
		}
	}
}

func (l *Lexer) setNumber() (uint32, error) {
	if l.Accept('*') {
		return Star, l.err
	}
	if c := l.Peek(); c < '0' || c > '9' {
		return 0, l.fail("expected a sequence set")
	}
	n, err := l.Number()
	if err == nil && n == 0 {
		err = Syntaxf("0 in a sequence set")
	}
	return n, err
}

// Within is the set in a mailbox whose largest number is largest: sorted, disjoint
// ranges with First ≤ Last and no Star. In an empty mailbox (largest 0) "*" means
// nothing, so "*" alone is empty and "5:*" is 5. Numbers above it stay.
func (s NumSet) Within(largest uint32) []NumRange {
	out := make([]NumRange, 0, len(s))
	for _, r := range s {
		if r.First == Star {
			r.First = largest
		}
		if r.Last == Star {
			r.Last = largest
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		if r.First == 0 { // largest is 0 and one end was "*"
			r.First = r.Last
		}
		if r.First != 0 {
			out = append(out, r)
		}
	}
	if !slices.IsSortedFunc(out, byFirst) {
		slices.SortFunc(out, byFirst)
	}
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && uint64(r.First) <= uint64(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func byFirst(a, b NumRange) int { return cmp.Compare(a.First, b.First) }
