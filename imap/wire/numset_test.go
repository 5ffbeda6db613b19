package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestNumSetWithin(t *testing.T) {
	for _, c := range []struct {
		set     string
		largest uint32
		want    []NumRange
	}{
		{"1", 5, []NumRange{{1, 1}}},
		{"*", 5, []NumRange{{5, 5}}},
		{"*:*", 5, []NumRange{{5, 5}}},
		{"1:*", 5, []NumRange{{1, 5}}},
		{"*:1", 5, []NumRange{{1, 5}}},
		{"4:2", 5, []NumRange{{2, 4}}},
		{"9:*", 5, []NumRange{{5, 9}}}, // RFC 3501 §6.4.8: always includes the last one
		{"3,1,2", 5, []NumRange{{1, 3}}},
		{"1:3,2:5,7", 9, []NumRange{{1, 5}, {7, 7}}},
		{"7,1:3,*", 9, []NumRange{{1, 3}, {7, 7}, {9, 9}}},
		{"4294967295,4294967294:*", 4294967295, []NumRange{{4294967294, 4294967295}}},
		{"*", 0, []NumRange{}},
		{"*:*", 0, []NumRange{}},
		{"1:*", 0, []NumRange{{1, 1}}},
	} {
		set, err := lexerOn(c.set).NumSet()
		if err != nil {
			t.Errorf("%s: %v", c.set, err)
			continue
		}
		if got := set.Within(c.largest); !slices.Equal(got, c.want) {
			t.Errorf("%s within %d is %v, want %v", c.set, c.largest, got, c.want)
		}
	}
}

func TestNumSetRejects(t *testing.T) {
	for _, s := range []string{"", "0", "0:1", "1:", ":1", "1,", ",1", "1:2:3", "-1", "4294967296", "a", "$1", "$,1", "1,$", "$:3", "1:*,", "99999999999999999999"} {
		l := lexerOn(s)
		set, err := l.NumSet()
		if err == nil {
			err = l.End()
		}
		if err == nil {
			t.Errorf("%q is taken for %v", s, set)
		}
	}
}

// PROTOCOLS.md, IMAP rule 7: sets of 20,000 UIDs arrive in one line.
func TestRule7TwentyThousandUIDs(t *testing.T) {
	var line strings.Builder
	for i := range 20000 {
		if i > 0 {
			line.WriteByte(',')
		}
		fmt.Fprint(&line, 4000000000-3*i)
	}
	l := lexerOn(line.String())
	set, err := l.NumSet()
	if err != nil || l.End() != nil {
		t.Fatal(err)
	}
	got := set.Within(1)
	if len(got) != 20000 || got[0].First != 4000000000-3*19999 {
		t.Fatalf("%d ranges from %v", len(got), got[0])
	}
}

func FuzzNumSet(f *testing.F) {
	f.Add("1:3,*,7:2", uint8(9))
	f.Fuzz(func(t *testing.T, line string, largest uint8) {
		set, err := lexerOn(line).NumSet()
		if err != nil {
			return
		}
		want := map[uint32]bool{}
		end := func(n uint32) uint32 {
			if n == Star {
				return uint32(largest)
			}
			return n
		}
		for _, r := range set {
			lo, hi := min(end(r.First), end(r.Last)), max(end(r.First), end(r.Last))
			if lo == 0 {
				lo = hi
			}
			if hi-lo > 1000 {
				return
			}
			for n := lo; n != 0 && n <= hi; n++ {
				want[n] = true
			}
		}
		got := map[uint32]bool{}
		last := uint32(0)
		for i, r := range set.Within(uint32(largest)) {
			if r.First > r.Last || r.First == 0 || i > 0 && r.First <= last+1 {
				t.Fatalf("%q: not normal: %v", line, set.Within(uint32(largest)))
			}
			for n := r.First; n <= r.Last && n != 0; n++ {
				got[n] = true
			}
			last = r.Last
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q within %d is %v, want %v", line, largest, got, want)
		}
	})
}
