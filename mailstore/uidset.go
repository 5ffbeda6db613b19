package mailstore

import (
	"slices"
	"sort"
	"strconv"
)

// UIDRange is the UIDs from Lo to Hi, both included.
type UIDRange struct{ Lo, Hi UID }

// UIDSet is a set of UIDs as sorted, disjoint, not adjacent ranges. The zero
// value is the empty set. Methods that change it take a pointer; copies share
// memory until one of them changes: use Clone.
type UIDSet []UIDRange

// UIDs makes a set of single UIDs, in any order.
func UIDs(uids ...UID) UIDSet {
	if !slices.IsSorted(uids) {
		uids = slices.Clone(uids)
		slices.Sort(uids)
	}
	var s UIDSet
	for _, u := range uids {
		s.Add(u)
	}
	return s
}

// UIDsBetween is the set of all UIDs from lo to hi.
func UIDsBetween(lo, hi UID) UIDSet {
	var s UIDSet
	s.AddRange(lo, hi)
	return s
}

// Add puts one UID in; O(1) beyond the end.
func (s *UIDSet) Add(u UID) { s.AddRange(u, u) }

// AddRange puts lo to hi in, in either order of the bounds; O(1) beyond the end.
func (s *UIDSet) AddRange(lo, hi UID) {
	if lo > hi {
		lo, hi = hi, lo
	}
	r := *s
	if n := len(r); n == 0 || uint64(lo) > uint64(r[n-1].Hi)+1 {
		*s = append(r, UIDRange{lo, hi})
		return
	}
	// first range that touches [lo, hi], and the one after the last that does
	i := sort.Search(len(r), func(i int) bool { return uint64(r[i].Hi)+1 >= uint64(lo) })
	j := i
	for j < len(r) && uint64(r[j].Lo) <= uint64(hi)+1 {
		lo, hi = min(lo, r[j].Lo), max(hi, r[j].Hi)
		j++
	}
	if j == i+1 {
		r[i] = UIDRange{lo, hi}
		return
	}
	*s = slices.Replace(r, i, j, UIDRange{lo, hi})
}

// Contains reports whether u is in the set; O(log ranges).
func (s UIDSet) Contains(u UID) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Hi >= u })
	return i < len(s) && s[i].Lo <= u
}

// Len is the number of UIDs.
func (s UIDSet) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.Hi-r.Lo) + 1
	}
	return n
}

// IsEmpty reports whether the set holds nothing.
func (s UIDSet) IsEmpty() bool { return len(s) == 0 }

// Clone is a copy that shares no memory.
func (s UIDSet) Clone() UIDSet { return slices.Clone(s) }

// Each yields the UIDs in rising order; it can be ranged over.
func (s UIDSet) Each(yield func(UID) bool) {
	for _, r := range s {
		for u := r.Lo; ; u++ {
			if !yield(u) {
				return
			}
			if u == r.Hi {
				break
			}
		}
	}
}

// Slice is all UIDs, rising.
func (s UIDSet) Slice() []UID {
	out := make([]UID, 0, s.Len())
	for u := range s.Each {
		out = append(out, u)
	}
	return out
}

// Union is the set of UIDs in s or t.
func (s UIDSet) Union(t UIDSet) UIDSet {
	out := make(UIDSet, 0, len(s)+len(t))
	for len(s) > 0 || len(t) > 0 {
		if len(t) == 0 || len(s) > 0 && s[0].Lo <= t[0].Lo {
			out.AddRange(s[0].Lo, s[0].Hi)
			s = s[1:]
		} else {
			out.AddRange(t[0].Lo, t[0].Hi)
			t = t[1:]
		}
	}
	return out
}

// Intersect is the set of UIDs in both s and t.
func (s UIDSet) Intersect(t UIDSet) UIDSet {
	var out UIDSet
	for len(s) > 0 && len(t) > 0 {
		if lo, hi := max(s[0].Lo, t[0].Lo), min(s[0].Hi, t[0].Hi); lo <= hi {
			out.AddRange(lo, hi)
		}
		if s[0].Hi < t[0].Hi {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return out
}

// Subtract is the set of UIDs in s and not in t.
func (s UIDSet) Subtract(t UIDSet) UIDSet {
	var out UIDSet
	for _, r := range s {
		lo := uint64(r.Lo)
		for len(t) > 0 && t[0].Hi < r.Lo {
			t = t[1:]
		}
		for i := 0; i < len(t) && t[i].Lo <= r.Hi; i++ {
			if uint64(t[i].Lo) > lo {
				out.AddRange(UID(lo), t[i].Lo-1)
			}
			lo = max(lo, uint64(t[i].Hi)+1)
		}
		if lo <= uint64(r.Hi) {
			out.AddRange(UID(lo), r.Hi)
		}
	}
	return out
}

// String is the set in IMAP's notation, "1:3,7"; empty for the empty set.
func (s UIDSet) String() string { return string(s.AppendTo(nil)) }

// AppendTo appends the set in IMAP's notation.
func (s UIDSet) AppendTo(b []byte) []byte {
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.Lo), 10)
		if r.Hi > r.Lo {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Hi), 10)
		}
	}
	return b
}
