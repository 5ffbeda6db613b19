package mailstore

import (
	"math"
	"math/rand/v2"
	"testing"
)

// model is a UIDSet as a map, up to 63.
type model uint64

func (m model) set() (s UIDSet) {
	for u := range UID(64) {
		if m&(1<<u) != 0 {
			s.Add(u)
		}
	}
	return s
}

func modelOf(s UIDSet) (m model) {
	for u := range s.Each {
		m |= 1 << u
	}
	return m
}

// sound checks that ranges rise, are disjoint and don't touch.
func sound(s UIDSet) bool {
	for i, r := range s {
		if r.Lo > r.Hi || i > 0 && uint64(s[i-1].Hi)+1 >= uint64(r.Lo) {
			return false
		}
	}
	return true
}

func TestUIDSetAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		a, b := model(rng.Uint64()&rng.Uint64()), model(rng.Uint64()|rng.Uint64())
		x, y := a.set(), b.set()
		for what, c := range map[string]struct {
			got  UIDSet
			want model
		}{"union": {x.Union(y), a | b}, "intersection": {x.Intersect(y), a & b}, "difference": {x.Subtract(y), a &^ b}} {
			if !sound(c.got) || modelOf(c.got) != c.want {
				t.Fatalf("%s of %v and %v: %v", what, x, y, c.got)
			}
		}
		lo, hi := UID(rng.IntN(64)), UID(rng.IntN(64))
		z := x.Clone()
		z.AddRange(lo, hi)
		if want := a | modelOf(UIDsBetween(lo, hi)); !sound(z) || modelOf(z) != want || modelOf(x) != a {
			t.Fatalf("%v and %d:%d: %v", x, lo, hi, z)
		}
		n := rng.IntN(70)
		head, rest := y.split(n)
		if !sound(head) || !sound(rest) || head.Len() != min(n, y.Len()) || modelOf(head)|modelOf(rest) != b || len(head) > 0 && len(rest) > 0 && head[len(head)-1].Hi >= rest[0].Lo {
			t.Fatalf("%v split at %d: %v and %v", y, n, head, rest)
		}
		var back UIDSet
		if err := addMultirange(&back, y.multirange()); err != nil || modelOf(back) != b {
			t.Fatalf("%v by way of Postgres' text: %v, %v", y, back, err)
		}
		u := UID(rng.IntN(64))
		if x.Contains(u) != (a&(1<<u) != 0) || x.overlaps(lo, max(lo, hi)) != (a&modelOf(UIDsBetween(lo, max(lo, hi))) != 0) {
			t.Fatalf("%v: Contains(%d) or overlaps(%d, %d)", x, u, lo, hi)
		}
	}
}

func TestUIDSetBounds(t *testing.T) {
	var s UIDSet
	s.AddRange(math.MaxUint32, 1)
	if s.Len() != math.MaxUint32 || s.String() != "1:4294967295" {
		t.Errorf("%v, %d", s, s.Len())
	}
	s.Add(0)
	s.Add(math.MaxUint32)
	if len(s) != 1 || len(s.after(math.MaxUint32)) != 0 {
		t.Errorf("%v", s)
	}
	n := 0
	for range UIDsBetween(math.MaxUint32-2, math.MaxUint32).Each {
		n++
	}
	if n != 3 {
		t.Errorf("%d UIDs at the end of the space", n)
	}
	if got := UIDs(7, 3, 5, 4, 3).String(); got != "3:5,7" {
		t.Error(got)
	}
}

func FuzzMultirange(f *testing.F) {
	f.Add("{[1,4),[7,8)}")
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		var s UIDSet
		if addMultirange(&s, text) == nil && !sound(s) {
			t.Errorf("%q: %v", text, s)
		}
	})
}
