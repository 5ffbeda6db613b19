package mailstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// TestSegmentsAgainstNaive searches while the texts are covered more and more:
// segments built, merged, partly of other contents, compacted, of another
// format, by two nodes with and without room for vocabularies.
func TestSegmentsAgainstNaive(t *testing.T) {
	pool := pgtest.Pool(t)
	ctx := context.Background()
	mailstore.SmallSegments(t, 8, 20, 3)
	s := storetest.OpenOn(t, pool, mailstore.Options{Index: -1, Grace: time.Nanosecond, Sweep: -1})
	other := storetest.OpenOn(t, pool, mailstore.Options{Index: -1, Sweep: -1})
	other.ForgetSearches(0)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	acct := storetest.Account(t, s, "alice@example.test")
	docs := corpus(t, s, acct, r, 70)
	index := func(s *mailstore.Store) {
		t.Helper()
		if err := s.IndexTexts(ctx); err != nil {
			t.Fatal(err)
		}
		if err := mailstore.CheckInvariants(ctx, pool); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, n int) {
		t.Helper()
		t.Logf("%s: %d segments cover %d of %d", what, count(t, s, `SELECT count(*) FROM text_segment`),
			count(t, s, `SELECT coalesce(max(first_no + n), 0) FROM text_segment`), count(t, s, `SELECT text_next FROM account`))
		checkSearches(t, s, acct, docs, r, n)
		checkSearches(t, other, acct, docs, r, n)
	}
	index(s)
	if n := count(t, s, `SELECT count(*) FROM text_segment`); n != 0 {
		t.Errorf("%d segments for an account that never searched", n)
	}
	find(t, s, acct, body("anything"))
	index(s)
	if n := count(t, s, `SELECT max(first_no + n) FROM text_segment`); n < 62 {
		t.Errorf("%d of 70 texts are covered", n)
	}
	check("built", 200)
	for i := range 40 { // a few at a time
		d := randomDoc(r, 70+i)
		d.deliver(t, s, acct)
		if docs = append(docs, d); i%9 == 0 {
			index([]*mailstore.Store{s, other}[i%2])
			checkSearches(t, s, acct, docs, r, 20)
		}
	}
	check("some neither packed nor covered", 100)
	if n := count(t, s, `SELECT count(*) FROM text_segment WHERE n >= 40`); n == 0 {
		t.Error("nothing was merged")
	}
	box := inbox(t, s, acct)
	if _, err := s.Copy(ctx, acct, box, mailstore.UIDsBetween(10, 20), acct, "Archive"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(ctx, acct, box, mailstore.UIDsBetween(100, 103), acct, "INBOX"); err != nil { // the same bodies twice
		t.Fatal(err)
	}
	for i := range 4 {
		twin := *docs[99+i]
		docs = append(docs, &twin)
	}
	check("copies", 60)
	if _, err := s.Remove(ctx, acct, box, mailstore.UIDsBetween(5, 70)); err != nil {
		t.Fatal(err)
	}
	check("removed", 60)
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	check("swept", 60)
	index(other)
	if n := count(t, s, `SELECT count(*) FROM text_dead`); n != 0 {
		t.Errorf("%d texts are dead and stay", n)
	}
	check("compacted", 100)

	mailstore.SegmentFormat(1)
	defer mailstore.SegmentFormat(-1)
	check("of an older format", 60)
	for i := range 10 { // what is older is made again when there is enough
		d := randomDoc(r, 200+i)
		d.deliver(t, s, acct)
		docs = append(docs, d)
	}
	index(s)
	check("made again", 100)
	mailstore.SegmentFormat(-1)
	index(s)
	if n := count(t, s, `SELECT count(DISTINCT format) FROM text_segment`); n != 1 {
		t.Errorf("segments of %d formats: an older binary interferes", n)
	}
	check("of a newer format", 60)
	mailstore.SegmentFormat(1)
}

// TestSegmentCases are needles and texts that words divide in odd ways.
func TestSegmentCases(t *testing.T) {
	pool := pgtest.Pool(t)
	mailstore.SmallSegments(t, 8, 20, 3)
	s := storetest.OpenOn(t, pool, mailstore.Options{Index: -1})
	acct := storetest.Account(t, s, "alice@example.test")
	long := strings.Repeat("x", 300)
	for _, text := range []string{
		"It's re-used: under_score, 3.14 and A/B-test",  // 1
		"日本語のテスト",                                       // 2
		"日",                                             // 3
		"x日y 本",                                         // 4
		"한국어 텍스트",                                       // 5
		"ภาษาไทย",                                       // 6
		"👍ok 👍👍 done",                                   // 7
		"cafe\u0301 ガギグ ｶﾞ",                             // 8
		"first line\r\nsecond line",                     // 9
		"before " + long + " after",                     // 10
		"aaa" + long[:125] + " tail",                    // 11: as long as a word may be
		"ends in a word",                                // 12
		"a_b_c __init__ 007 x86_64",                     // 13
		"abc漢字def 漢字kana",                               // 14
		"%d%% $1 & <tag> \"quoted\"",                    // 15
		"\u0e01\u0e33 soft\u00adhyphen zero\u200bwidth", // 16
		"https://example.test/a?b=c&d=e#f user@example.test 10.0.0.1:25", // 17
	} {
		storetest.Append(t, s, acct, "INBOX", "Subject: s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"+text, 0)
	}
	cases := []struct{ needle, want string }{
		{"IT'S", "1"}, {"'", "1"}, {"t's r", "1"}, {"re-used", "1"}, {"e-u", "1"}, {"-", "1"}, {"under_s", "1"}, {"_", "1,13"}, {"3.14", "1"}, {".1", "1,17"}, {"a/b", "1"},
		{"日", "2:4"}, {"本", "2,4"}, {"日本", "2"}, {"日本語", "2"}, {"本日", ""}, {"のテスト", "2"}, {"x日", "4"}, {"日y", "4"}, {"x日y", "4"}, {"y 本", "4"}, {"日 本", ""},
		{"한", "5"}, {"국어", "5"}, {"어 텍", "5"}, {"ไทย", "6"}, {"ภ", "6"}, {"👍", "7"}, {"k 👍👍", "7"}, {"👍ok", "7"},
		{"CAFÉ", "8"}, {"cafe", "8"}, {"ガ", "8"}, {"カ", "8"}, {"ギグ", "8"}, {"ｶﾞ", "8"},
		{"line second", "9"}, {"line\r\nsecond", "9"}, {"st line", "9"}, {"  line", "9"}, {"e\ts", "9"},
		{long, "10"}, {long[:200], "10"}, {long[:125], "10:11"}, {"x after", "10"}, {"before x", "10"}, {long[:126], "10"}, {"aaax", "11"}, {"x tail", "11"},
		{"in a word", "12"}, {"word", "12"}, {"word ", ""}, {" word", "12"},
		{"__init__", "13"}, {"a_b", "13"}, {"007", "13"}, {"07 x", "13"}, {"86_6", "13"}, {"0", "13,17"},
		{"漢字", "14"}, {"c漢", "14"}, {"字k", "14"}, {"漢字d", "14"}, {"bc漢字de", "14"}, {"字", "14"}, {"%d%%", "15"}, {"<tag>", "15"}, {"$1 &", "15"},
		{"กำ", "16"}, {"softhyphen", "16"}, {"zerowidth", "16"}, {"zero\u200bwidth", "16"},
		{"?b=c&", "17"}, {"r@e", "17"}, {"0.0.1:2", "17"}, {"example.test", "17"},
		{"e", "1,7:10,12,14:17"}, {"nowhere", ""}, {"no where", ""},
	}
	find(t, s, acct, body("first of all"))
	for _, state := range []string{"not packed", "covered", "covered, cached"} {
		for _, test := range cases {
			if got := find(t, s, acct, body(test.needle)); got != test.want {
				t.Errorf("%s: %q: %q, want %q", state, test.needle, got, test.want)
			}
			not := mailstore.Criteria{Op: mailstore.SearchNot, Sub: []mailstore.Criteria{body(test.needle)}}
			or := mailstore.Criteria{Op: mailstore.SearchOr, Sub: []mailstore.Criteria{body(test.needle), not}}
			if got := find(t, s, acct, or); got != "1:17" {
				t.Errorf("%s: %q or not: %q", state, test.needle, got)
			}
		}
		if err := s.IndexTexts(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, `SELECT sum(n) FROM text_segment`); n != 17 {
		t.Errorf("%d texts are covered", n)
	}
}

// TestSegmentsByThemselves: the first search of the bodies is followed by segments,
// and later mail by more, while two nodes search and index.
func TestSegmentsByThemselves(t *testing.T) {
	pool := pgtest.Pool(t)
	opt := mailstore.Options{Index: time.Millisecond}
	mailstore.SmallSegments(t, 8, 20, 3)
	nodes := []*mailstore.Store{storetest.OpenOn(t, pool, opt), storetest.OpenOn(t, pool, opt)}
	acct := storetest.Account(t, nodes[0], "alice@example.test")
	find(t, nodes[0], acct, body("anything"))
	var wg sync.WaitGroup
	const n = 150
	wg.Go(func() {
		for i := range n {
			storetest.Append(t, nodes[i%2], acct, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\nnumber %s, of %d", i, []string{"even", "odd"}[i%2], i), 0)
		}
	})
	for _, s := range nodes {
		wg.Go(func() {
			box := inbox(t, s, acct)
			for done := false; !done; {
				v, _, err := s.Load(t.Context(), acct, box)
				if err != nil {
					t.Error(err)
					return
				}
				for _, needle := range []string{"ODD", "odd, of"} {
					c := body(needle)
					got, err := s.Search(t.Context(), acct, box, v, &c)
					if err != nil {
						t.Error(err)
						return
					}
					if got.Len() != v.Len()/2 {
						t.Errorf("%s: %d of %d found: %s", needle, got.Len(), v.Len(), got)
					}
				}
				done = v.Len() == n
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(30 * time.Second); count(t, nodes[0], `SELECT text_next - (SELECT coalesce(max(first_no + n), 0) FROM text_segment) + (SELECT count(*) FROM text_todo) FROM account`) >= 8; {
		if time.Now().After(deadline) {
			t.Fatal("texts are left without a segment")
		}
		find(t, nodes[1], acct, body("odd")) // asks for segments
	}
}

// newAccount creates an account of a store that is not storetest's, which would
// check the damage at the end.
func newAccount(t *testing.T, s *mailstore.Store, pool *pgxpool.Pool, address string) (id mailstore.AccountID) {
	t.Helper()
	ctx := context.Background()
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `INSERT INTO account (address) VALUES ($1) RETURNING id`, address).Scan(&id); err != nil {
			return err
		}
		return s.InitAccount(ctx, tx, id)
	}); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestInvariantsFindSegmentDamage: each kind of damage to segments is found.
func TestInvariantsFindSegmentDamage(t *testing.T) {
	pool, ctx := pgtest.Pool(t), context.Background()
	mailstore.SmallSegments(t, 8, 8, 100)
	s, err := mailstore.Open(ctx, pool, mailstore.Options{Index: -1, Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	alice := newAccount(t, s, pool, "alice@example.test")
	for round := range 2 {
		for i := range 16 {
			storetest.Append(t, s, alice, "INBOX", fmt.Sprintf("Subject: s\r\n\r\nword%d of many, %d", i, round), 0)
		}
		find(t, s, alice, body("word"))
		if err := s.IndexTexts(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := mailstore.CheckInvariants(ctx, pool); err != nil {
		t.Fatalf("before the damage: %v", err)
	}
	for _, damage := range []string{
		`DELETE FROM text_segment WHERE first_no = 0`,
		`UPDATE text_segment SET first_no = first_no + 1 WHERE first_no > 0`,
		`UPDATE text_segment SET n = n - 1 WHERE first_no > 0`,
		`UPDATE text_segment SET n = n + 100 WHERE first_no > 0`,
		`UPDATE text_segment SET format = format + 1 WHERE first_no > 0`,
		`UPDATE text_segment SET post = set_byte(post, 1, 2) WHERE first_no > 0`,
		`UPDATE text_segment SET post = substring(post FOR 3)`,
		`UPDATE text_segment SET skips = ''`,
		`UPDATE text_segment SET ids = ''`,
		`UPDATE text_segment SET vocab = (SELECT z FROM text_pack LIMIT 1)`,
		`UPDATE text_segment g SET ids = (SELECT ids FROM text_segment WHERE first_no = 0)`,
		`UPDATE text_pack SET z = (SELECT z FROM text_pack WHERE first_no = 0)`,
	} {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `CREATE TABLE kept_segment AS TABLE text_segment; CREATE TABLE kept_pack AS TABLE text_pack; `+damage); err != nil {
				t.Errorf("%s: %v", damage, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := mailstore.CheckInvariants(ctx, pool); err == nil || !strings.Contains(err.Error(), "not so") {
			t.Errorf("%s: not found: %v", damage, err)
		}
		if _, err := pool.Exec(ctx, `TRUNCATE text_segment; TRUNCATE text_pack; INSERT INTO text_segment TABLE kept_segment; INSERT INTO text_pack TABLE kept_pack;
			DROP TABLE kept_segment; DROP TABLE kept_pack`); err != nil {
			t.Fatal(err)
		}
	}
	if err := mailstore.CheckInvariants(ctx, pool); err != nil {
		t.Fatalf("after the damage: %v", err)
	}
}

// TestSegmentsOfGoneAccount: nothing is written for an account that was removed,
// and nothing of it stays.
func TestSegmentsOfGoneAccount(t *testing.T) {
	pool, ctx := pgtest.Pool(t), context.Background()
	mailstore.SmallSegments(t, 4, 4, 2)
	s := storetest.OpenOn(t, pool, mailstore.Options{Index: -1, Sweep: -1, Grace: time.Nanosecond})
	alice, bob := storetest.Account(t, s, "alice@example.test"), storetest.Account(t, s, "bob@example.test")
	for _, acct := range []mailstore.AccountID{alice, bob} {
		for i := range 20 {
			storetest.Append(t, s, acct, "INBOX", fmt.Sprintf("Subject: s\r\n\r\nword%d", i), 0)
		}
		find(t, s, acct, body("word"))
	}
	if err := s.IndexTexts(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `DELETE FROM account WHERE id = $1`, alice); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context) error{s.IndexTexts, s.Sweep, s.IndexTexts} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, `SELECT count(*) FROM text_segment WHERE account_id <> $1`, bob); n != 0 {
		t.Errorf("%d segments of nobody", n)
	}
	if got := find(t, s, bob, body("word7")); got != "8" {
		t.Errorf("bob finds %q", got)
	}
}
