package mailstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// find runs one search and gives the UIDs in IMAP's notation.
func find(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, c mailstore.Criteria) string {
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
	return found.String()
}

func body(text string) mailstore.Criteria {
	return mailstore.Criteria{Op: mailstore.SearchBody, Text: text}
}

func header(field, text string) mailstore.Criteria {
	return mailstore.Criteria{Op: mailstore.SearchHeader, Field: field, Text: text}
}

// TestSearchCases are messages that take other ways than most: bodies of many
// frames, headers beyond every bound, texts that only one part has.
func TestSearchCases(t *testing.T) {
	s := storetest.OpenOn(t, pgtest.Pool(t), mailstore.Options{Index: -1})
	acct := storetest.Account(t, s, "alice@example.test")
	long := strings.Repeat("padding line of a long body\r\n", 30_000) // 4 frames
	many := strings.Repeat("someone@example.org, ", 5_000)
	for _, msg := range []string{
		"Subject: one\r\n\r\n" + long + "needle at the end",
		"Subject: two\r\nTo: " + many + "last@example.test\r\n\r\nhi",
		"Subject: three\r\nTo: <user-to (comment)@ (comment) domain.example>\r\nX-Odd: =?utf-8?q?caf=C3=A9?=\r\n\r\nwrapped\r\nover lines",
		"Subject: four\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf; name=report.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner thing\r\n\r\ninner words\r\n--b--\r\n",
		"Cc:\r\n\r\n",
		"",
		"X-Odd: nothing\r\nSubject: x-odd\r\n\r\nx",
	} {
		storetest.Append(t, s, acct, "INBOX", msg, 0)
	}
	cases := []struct {
		name string
		c    mailstore.Criteria
		want string
	}{
		{"last octets of a long body", body("NEEDLE at the end"), "1"},
		{"last of many addresses", header("To", "last@example.test"), "2"},
		{"many addresses and other criteria", mailstore.Criteria{Op: mailstore.SearchAnd, Sub: []mailstore.Criteria{header("To", "last@"), header("Subject", "two"),
			{Op: mailstore.SearchNot, Sub: []mailstore.Criteria{header("To", "nobody")}}, {Op: mailstore.SearchLarger, Size: 1000}}}, "2"},
		{"an address without its comments", header("To", "user-to@domain.example"), "3"},
		{"an encoded field", header("x-odd", "CAFÉ"), "3"},
		{"a field's name is not its value", header("x-odd", "odd"), ""},
		{"a field that is there", header("X-Odd", ""), "3,7"},
		{"an empty field is there", header("Cc", ""), "5"},
		{"no field", mailstore.Criteria{Op: mailstore.SearchNot, Sub: []mailstore.Criteria{header("Subject", "")}}, "5:6"},
		{"over a line end", body("wrapped over"), "3"},
		{"an attachment's name", body("report.pdf"), "4"},
		{"an attachment's content", body("hidden"), ""},
		{"the header of an inner message", body("inner thing"), "4"},
		{"is not the message's own", header("Subject", "inner"), ""},
		{"any text", mailstore.Criteria{Op: mailstore.SearchText, Text: "subject: t"}, "2:3"},
		{"nothing is in everything", body(""), "1:7"},
		{"an empty OR", mailstore.Criteria{Op: mailstore.SearchOr}, ""},
		{"a name that no field has", header("a b", ""), ""},
	}
	or := mailstore.Criteria{Op: mailstore.SearchOr}
	for i := range 100 { // more than one pass can look for
		or.Sub = append(or.Sub, body(fmt.Sprintf("nothing %d", i)))
	}
	or.Sub = append(or.Sub, body("inner words"), header("X-Odd", "nothing"))
	cases = append(cases, struct {
		name string
		c    mailstore.Criteria
		want string
	}{"an OR of a hundred", or, "4,7"})
	for _, packed := range []bool{false, true} {
		for _, test := range cases {
			if got := find(t, s, acct, test.c); got != test.want {
				t.Errorf("%s, packed %v: %q, want %q", test.name, packed, got, test.want)
			}
		}
		if err := s.IndexTexts(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSearchOfOthers: one account's texts are never found by another.
func TestSearchOfOthers(t *testing.T) {
	s := storetest.Open(t)
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	storetest.Append(t, s, alice, "INBOX", "Subject: s\r\n\r\nsecret", 0)
	storetest.Append(t, s, bob, "INBOX", "Subject: s\r\n\r\nplain", 0)
	if got := find(t, s, bob, body("secret")); got != "" {
		t.Errorf("bob finds %s", got)
	}
	if err := s.IndexTexts(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := find(t, s, bob, body("secret")); got != "" {
		t.Errorf("bob finds %s in the packs", got)
	}
	if _, err := s.Copy(context.Background(), alice, inbox(t, s, alice), mailstore.UIDs(1), bob, "INBOX"); err != nil {
		t.Fatal(err)
	}
	if got := find(t, s, bob, body("secret")); got != "2" {
		t.Errorf("bob finds %q of his copy", got)
	}
}

// TestSearchWhileIndexing searches on two nodes while mail comes in and both
// nodes pack: every answer is exact for the view it was asked of.
func TestSearchWhileIndexing(t *testing.T) {
	pool := pgtest.Pool(t)
	nodes := []*mailstore.Store{storetest.OpenOn(t, pool, mailstore.Options{Index: time.Millisecond}), storetest.OpenOn(t, pool, mailstore.Options{Index: time.Millisecond})}
	acct := storetest.Account(t, nodes[0], "alice@example.test")
	r := rand.New(rand.NewPCG(7, 7))
	ctx := t.Context()
	var wg sync.WaitGroup
	const n = 120
	wg.Go(func() {
		for i := range n {
			word := "odd"
			if i%2 == 1 {
				word = "even"
			}
			storetest.Append(t, nodes[i%2], acct, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\nthis is an %s one, %d", i, word, r.IntN(1000)), 0)
		}
	})
	for _, s := range nodes {
		wg.Go(func() {
			if err := s.IndexTexts(ctx); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			box := inbox(t, s, acct)
			for done := false; !done; {
				v, _, err := s.Load(ctx, acct, box)
				if err != nil {
					t.Error(err)
					return
				}
				c := body("an even ONE")
				got, err := s.Search(ctx, acct, box, v, &c)
				if err != nil {
					t.Error(err)
					return
				}
				if got.Len() != v.Len()/2 {
					t.Errorf("%d of %d found: %s", got.Len(), v.Len(), got)
				}
				done = v.Len() == n
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(30 * time.Second); count(t, nodes[0], `SELECT count(*) FROM text_todo`) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the indexers leave texts behind")
		}
	}
	if got := count(t, nodes[0], `SELECT count(DISTINCT b) FROM text_pack, unnest(blob_ids) b`); got != n {
		t.Errorf("%d texts of %d are packed", got, n)
	}
}

func TestSearchIsCancelled(t *testing.T) {
	s := storetest.Open(t)
	acct := storetest.Account(t, s, "alice@example.test")
	storetest.Append(t, s, acct, "INBOX", "Subject: s\r\n\r\nhi", 0)
	box := inbox(t, s, acct)
	v, _, err := s.Load(context.Background(), acct, box)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := body("hi")
	if _, err := s.Search(ctx, acct, box, v, &c); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
