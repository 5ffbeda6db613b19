package mailstore_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// edits is the optimal string alignment distance, by its definition.
func edits(a, b []rune) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			switch {
			case i == 0 || j == 0:
				d[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				d[i][j] = d[i-1][j-1]
			default:
				d[i][j] = 1 + min(d[i-1][j-1], d[i-1][j], d[i][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

func randomWord(r *rand.Rand) string {
	word := make([]rune, 1+r.IntN(12))
	for i := range word {
		word[i] = []rune("abcdé")[r.IntN(5)]
	}
	return string(word)
}

// TestEditWalk measures sorted and unsorted words against the definition.
func TestEditWalk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	near := 0
	for range 300 {
		want := randomWord(r)
		words := make([]string, 200)
		for i := range words {
			words[i] = randomWord(r)
			if r.IntN(3) == 0 { // one that is near
				w := []rune(want)
				for range r.IntN(3) {
					k := r.IntN(len(w))
					w = slices.Concat(w[:k], []rune{[]rune("abx")[r.IntN(3)]}, w[min(len(w), k+r.IntN(2)):])
				}
				words[i] = string(w)
			}
		}
		if r.IntN(2) == 0 {
			slices.Sort(words)
		}
		walk, limit := mailstore.EditWalk(want)
		for _, w := range words {
			expect := min(edits([]rune(want), []rune(w)), limit+1)
			if expect <= limit {
				near++
			}
			if got := walk(w); got != expect {
				t.Fatalf("%q to %q: %d, want %d (of %q)", want, w, got, expect, words)
			}
		}
	}
	if near < 1000 {
		t.Errorf("%d words were near", near)
	}
}

func fuzzy(c mailstore.Criteria) mailstore.Criteria {
	return mailstore.Criteria{Op: mailstore.SearchFuzzy, Sub: []mailstore.Criteria{c}}
}

// TestFuzzyStates finds and ranks the same whether texts are in bodies, packs or
// segments.
func TestFuzzyStates(t *testing.T) {
	mailstore.SmallSegments(t, 4, 8, 2)
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{Index: -1})
	acct := storetest.Account(t, s, "alice@example.test")
	find(t, s, acct, body("first of all"))
	ctx := context.Background()
	for _, m := range []string{
		"Subject: Invoice for November\r\n\r\nplease pay",
		"Subject: s\r\n\r\nthe invioce is attached, invoice invoice invoice",
		"Subject: s\r\n\r\nan invoyce", "Subject: s\r\n\r\ninvoices", "Subject: s\r\n\r\nvoice", "Subject: s\r\n\r\nin voice",
		"Subject: s\r\n\r\nStraßenbahn", "Subject: s\r\n\r\nstrasenbahm", "Subject: s\r\nX-Odd: invoice\r\n\r\nnone",
	} {
		storetest.Append(t, s, acct, "INBOX", m, 0)
	}
	for _, state := range []string{"bodies", "packs and segments", "segments"} {
		for _, test := range []struct {
			c    mailstore.Criteria
			want string
		}{
			{fuzzy(body("invoice")), "2:4"},
			{fuzzy(mailstore.Criteria{Op: mailstore.SearchText, Text: "invoice"}), "1:4,9"},
			{fuzzy(header("Subject", "invoise november")), "1"},
			{fuzzy(header("X-Odd", "imvoice")), "9"},
			{fuzzy(header("X-Odd", "")), "9"},
			{fuzzy(body("strassenbahn")), "7:8"},
			{fuzzy(body("invoice the")), "2"},
			{fuzzy(body("%")), ""},
			{mailstore.Criteria{Op: mailstore.SearchNot, Sub: []mailstore.Criteria{fuzzy(body("invoice"))}}, "1,5:9"},
		} {
			if got := find(t, s, acct, test.c); got != test.want {
				t.Errorf("%s: %+v: %q, want %q", state, test.c, got, test.want)
			}
		}
		box := inbox(t, s, acct)
		v, _, err := s.Load(ctx, acct, box)
		if err != nil {
			t.Fatal(err)
		}
		c := fuzzy(mailstore.Criteria{Op: mailstore.SearchText, Text: "invoice"})
		scores, err := s.Relevancy(ctx, acct, box, v, &c, mailstore.UIDs(1, 2, 3, 4, 9))
		if err != nil || !slices.Equal(scores, []uint8{88, 88, 45, 64, 88}) {
			t.Errorf("%s: %v %v", state, scores, err)
		}
		if err := s.IndexTexts(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, `SELECT count(*) FROM text_segment`); n == 0 {
		t.Error("no segment was built")
	}
}
