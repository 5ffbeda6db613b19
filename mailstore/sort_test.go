package mailstore_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// sorted runs one sort of INBOX.
func sorted(t testing.TB, s *mailstore.Store, acct mailstore.AccountID, c mailstore.Criteria, by ...mailstore.SortCriterion) []mailstore.UID {
	t.Helper()
	box := inbox(t, s, acct)
	v, _, err := s.Load(context.Background(), acct, box)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Search(context.Background(), acct, box, v, &c)
	if err != nil {
		t.Fatal(err)
	}
	order, err := s.Sort(context.Background(), acct, box, v, found, by)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

// TestSortAgainstNaive sorts messages whose keys are known in every way, while
// more arrive, with a cache that holds all and with one that holds nothing.
func TestSortAgainstNaive(t *testing.T) {
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{Index: -1, Sweep: -1})
	acct := storetest.Account(t, s, "alice@example.test")
	rnd := rand.New(rand.NewPCG(1, 2))
	type msg struct {
		subject, from string
		year, size    int
	}
	var all []msg
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	keys := []mailstore.SortKey{mailstore.SortSubject, mailstore.SortFrom, mailstore.SortDate, mailstore.SortSize, mailstore.SortArrival}
	compare := func(a, b int, key mailstore.SortKey) int {
		switch key {
		case mailstore.SortSubject:
			return cmp.Compare(strings.ToUpper(all[a-1].subject), strings.ToUpper(all[b-1].subject))
		case mailstore.SortFrom:
			return cmp.Compare(strings.ToUpper(all[a-1].from), strings.ToUpper(all[b-1].from))
		case mailstore.SortDate:
			return cmp.Compare(all[a-1].year, all[b-1].year)
		case mailstore.SortSize:
			return cmp.Compare(all[a-1].size, all[b-1].size)
		}
		return 0 // all arrive in the same second, or in the order of their UIDs
	}
	for round := range 12 {
		for range 1 + rnd.IntN(20) {
			m := msg{pick("", "a", "B", "aa", "longer than eight octets", "Longer than eight octetS!", "re"), pick("bob", "Alice", "alice", "x"), 1 + rnd.IntN(9999), 0}
			text := fmt.Sprintf("Subject: Re: %s\r\nFrom: %s@example.test\r\nDate: 1 Jan %04d 00:00:00 +0000\r\n\r\n%s", m.subject, m.from, m.year, strings.Repeat("x", rnd.IntN(5)))
			m.size = len(text)
			all = append(all, m)
			storetest.Append(t, s, acct, "INBOX", text, 0)
		}
		if round == 6 {
			s.ForgetSorts(1)
		}
		lo := 1 + rnd.IntN(len(all))
		c := mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: mailstore.UIDsBetween(mailstore.UID(lo), mailstore.UID(len(all)))}
		for range 30 {
			var by []mailstore.SortCriterion
			for range 1 + rnd.IntN(3) {
				by = append(by, mailstore.SortCriterion{Key: keys[rnd.IntN(len(keys)-1)], Reverse: rnd.IntN(2) == 0})
			}
			var want []mailstore.UID
			for i := lo; i <= len(all); i++ {
				want = append(want, mailstore.UID(i))
			}
			slices.SortStableFunc(want, func(a, b mailstore.UID) int {
				for _, c := range by {
					n := compare(int(a), int(b), c.Key)
					if c.Reverse {
						n = -n
					}
					if n != 0 {
						return n
					}
				}
				return 0
			})
			if got := sorted(t, s, acct, c, by...); !slices.Equal(got, want) {
				t.Fatalf("%v of %d to %d: %v, want %v", by, lo, len(all), got, want)
			}
		}
	}
}

// TestSortTogether: many sort and thread one mailbox while mail arrives, in a cache
// that holds some of it.
func TestSortTogether(t *testing.T) {
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{Index: -1, Sweep: -1})
	acct := storetest.Account(t, s, "alice@example.test")
	text := func(i int) string {
		return fmt.Sprintf("Message-ID: <%d@x>\r\nReferences: <%d@x>\r\nSubject: %d\r\n\r\n", i, i/2, i%7)
	}
	for i := range 20 {
		storetest.Append(t, s, acct, "INBOX", text(i), 0)
	}
	s.ForgetSorts(4 << 10)
	box := inbox(t, s, acct)
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 20 {
				if w == 0 {
					storetest.Append(t, s, acct, "INBOX", text(20+i), 0)
					continue
				}
				v, _, err := s.Load(context.Background(), acct, box)
				if err != nil {
					t.Error(err)
					return
				}
				all := v.UIDs(1, v.Len())
				order, err := s.Sort(context.Background(), acct, box, v, all, []mailstore.SortCriterion{{Key: mailstore.SortSubject, Reverse: w%2 == 0}})
				if err != nil || len(order) != v.Len() || mailstore.UIDs(order...).Len() != v.Len() {
					t.Errorf("%d of %d sorted: %v", len(order), v.Len(), err)
				}
				threads, err := s.Thread(context.Background(), acct, box, v, all, mailstore.ThreadAlgorithm(w%2))
				if err != nil {
					t.Error(err)
					return
				}
				wellFormed(t, string(threads.AppendTo(nil, func(u mailstore.UID) uint32 { return uint32(u) })), v.Len())
			}
		})
	}
	wg.Wait()
}
