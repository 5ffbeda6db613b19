package mailstore_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"

	"posthouse/internal/message"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// doc is a message of a corpus, with what it says in plain words.
type doc struct {
	from, subject, tag, body string
	prefix                   string
	date                     string // of the Date field, empty: none
	raw                      string
	internal                 time.Time
	flags                    mailstore.Flags
}

// header is the text of the header as a reader sees it, a line for each field.
func (d *doc) header() []string {
	lines := []string{"From: " + d.from, "Subject: " + d.subject, "MIME-Version: 1.0"}
	if d.tag != "" {
		lines = append(lines, "X-Tag: "+d.tag)
	}
	if d.prefix != "" {
		lines = append(lines, d.prefix)
	}
	return lines
}

var corpusWords = strings.Fields(`invoice Invoice INVOICES report a i to of the Thursday re-use it's 3.14 x@y.example
	Straße STRASSE weiß İstanbul ısı ſpecial Kelvin ﬁne naïve café cafe\u0301 привет Привет мир Ελλάς ς ΣΊΣΥΦΟΣ
	日本語 テスト 中文 漢字 한국어 ไทย שלום مرحبا 👍 emoji... (parens) "quotes" a_b under_score 100% <tag> & ½ ① Ａ`)

func randomText(r *rand.Rand, n int, words []string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString([]string{" ", " ", " ", "\r\n", "  ", "\u00a0"}[r.IntN(6)])
		}
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}

// charsetDoc writes a body in a charset that can say it, in some transfer encoding.
func charsetDoc(r *rand.Rand, d *doc) (headers, body string) {
	choices := []struct {
		name    string
		charset encoding.Encoding
		words   []string
	}{
		{"utf-8", encoding.Nop, corpusWords},
		{"utf-8", encoding.Nop, corpusWords},
		{"iso-8859-1", charmap.ISO8859_1, []string{"Straße", "café", "NAÏVE", "plain", "a"}},
		{"koi8-r", charmap.KOI8R, []string{"привет", "МИР", "plain", "i"}},
		{"gb18030", simplifiedchinese.GB18030, []string{"中文", "漢字", "plain", "café"}},
		{"iso-2022-jp", japanese.ISO2022JP, []string{"日本語", "テスト", "plain"}},
	}
	c := choices[r.IntN(len(choices))]
	d.body = randomText(r, 1+r.IntN(60), c.words)
	text, err := c.charset.NewEncoder().String(d.body)
	if err != nil { // a space that the charset has not
		d.body = strings.ReplaceAll(d.body, "\u00a0", " ")
		if text, err = c.charset.NewEncoder().String(d.body); err != nil {
			panic(err)
		}
	}
	headers = "Content-Type: text/plain; charset=" + c.name + "\r\nContent-Transfer-Encoding: "
	if r.IntN(2) == 0 {
		return headers + "base64\r\n", base64.StdEncoding.EncodeToString([]byte(text))
	}
	return headers + "8bit\r\n", text
}

func randomDoc(r *rand.Rand, n int) *doc {
	d := &doc{
		from:     fmt.Sprintf("%s <user%d@example.test>", strings.NewReplacer("\"", "", "<", "", ">", "", "(", "", ")", "", "@", "").Replace(corpusWords[r.IntN(len(corpusWords))]), n%7),
		subject:  strings.ReplaceAll(randomText(r, 1+r.IntN(8), corpusWords), "\r\n", " "),
		internal: time.Date(2026, 11, 1+r.IntN(20), r.IntN(24), 0, 0, 0, time.UTC),
		flags:    mailstore.Flags(r.IntN(32)),
	}
	if r.IntN(2) == 0 {
		d.tag = corpusWords[r.IntN(12)] + " " + corpusWords[r.IntN(12)]
	}
	if r.IntN(3) == 0 {
		d.prefix = fmt.Sprintf("Delivered-To: prefix%d@example.test", r.IntN(3))
	}
	headers, body := charsetDoc(r, d)
	raw := "From: " + mime.QEncoding.Encode("utf-8", d.from) + "\r\nSubject: " + mime.BEncoding.Encode("utf-8", d.subject) + "\r\nMIME-Version: 1.0\r\n"
	if d.tag != "" {
		raw += "X-Tag: " + mime.QEncoding.Encode("utf-8", d.tag) + "\r\n"
	}
	if r.IntN(4) > 0 {
		zone := 5 - r.IntN(11)
		at := time.Date(2026, 10, 1+r.IntN(28), r.IntN(24), 30, 0, 0, time.FixedZone("", zone*3600))
		d.date = at.Format("2006-01-02")
		raw += "Date: " + at.Format(time.RFC1123Z) + "\r\n"
	}
	d.raw = raw + headers + "\r\n" + body
	return d
}

// corpus delivers docs to an account's mailbox; docs[uid-1].
func corpus(t testing.TB, s *mailstore.Store, acct mailstore.AccountID, r *rand.Rand, n int) []*doc {
	t.Helper()
	docs := make([]*doc, n)
	for i := range docs {
		d := randomDoc(r, i)
		docs[i] = d
		d.deliver(t, s, acct)
	}
	return docs
}

func (d *doc) deliver(t testing.TB, s *mailstore.Store, acct mailstore.AccountID) {
	t.Helper()
	prefix := ""
	if d.prefix != "" {
		prefix = d.prefix + "\r\n"
	}
	if _, err := s.Deliver(context.Background(), &mailstore.Delivery{Body: storetest.Body(t, d.raw), Targets: []mailstore.Target{
		{Account: acct, Mailbox: "INBOX", Flags: d.flags, Prefix: []byte(prefix), InternalDate: d.internal, NoFallback: true}}}); err != nil {
		t.Fatal(err)
	}
}

// naive decides criteria from the plain words, one message at a time.
func naive(d *doc, uid mailstore.UID, c *mailstore.Criteria) bool {
	contains := func(text string) bool { return strings.Contains(message.Fold(text), message.Fold(c.Text)) }
	day := func(at time.Time) string { return at.Format("2006-01-02") }
	switch c.Op {
	case mailstore.SearchAll:
		return true
	case mailstore.SearchAnd:
		return !slices.ContainsFunc(c.Sub, func(sub mailstore.Criteria) bool { return !naive(d, uid, &sub) })
	case mailstore.SearchOr:
		return slices.ContainsFunc(c.Sub, func(sub mailstore.Criteria) bool { return naive(d, uid, &sub) })
	case mailstore.SearchNot:
		return !naive(d, uid, &c.Sub[0])
	case mailstore.SearchUIDs:
		return c.UIDs.Contains(uid)
	case mailstore.SearchFlags:
		return d.flags&c.Flags == c.Flags
	case mailstore.SearchBefore:
		return day(d.internal) < day(c.Date)
	case mailstore.SearchOn:
		return day(d.internal) == day(c.Date)
	case mailstore.SearchSince:
		return day(d.internal) >= day(c.Date)
	case mailstore.SearchSentBefore:
		return d.date != "" && d.date < day(c.Date)
	case mailstore.SearchSentOn:
		return d.date == day(c.Date)
	case mailstore.SearchSentSince:
		return d.date >= day(c.Date)
	case mailstore.SearchLarger:
		return int64(d.size()) > c.Size
	case mailstore.SearchSmaller:
		return int64(d.size()) < c.Size
	case mailstore.SearchBody:
		return contains(d.body)
	case mailstore.SearchText:
		return contains(d.body) || slices.ContainsFunc(d.header(), contains) || d.technical(c.Text)
	case mailstore.SearchHeader:
		return slices.ContainsFunc(d.header(), func(line string) bool {
			name, value, _ := strings.Cut(line, ": ")
			return strings.EqualFold(name, c.Field) && contains(value)
		})
	}
	panic("an operator without meaning")
}

func (d *doc) size() int {
	if d.prefix == "" {
		return len(d.raw)
	}
	return len(d.prefix) + 2 + len(d.raw)
}

// technical decides for TEXT the fields that header does not list: Date,
// Content-Type and Content-Transfer-Encoding, which are plain ASCII.
func (d *doc) technical(text string) bool {
	head, _, _ := strings.Cut(d.raw, "\r\n\r\n")
	return slices.ContainsFunc(strings.Split(head, "\r\n"), func(line string) bool {
		name, _, _ := strings.Cut(line, ": ")
		return (name == "Date" || strings.HasPrefix(name, "Content-")) && strings.Contains(message.Fold(line), message.Fold(text))
	})
}

// randomNeedle is often a piece of a message, in another case.
func randomNeedle(r *rand.Rand, docs []*doc) string {
	d := docs[r.IntN(len(docs))]
	text := []rune([]string{d.body, d.subject, d.from, d.tag + "x"}[r.IntN(4)])
	from := r.IntN(len(text))
	n := min(1+r.IntN(6), len(text)-from)
	needle := strings.TrimSpace(string(text[from : from+n]))
	switch r.IntN(5) {
	case 0:
		needle = strings.ToUpper(needle)
	case 1:
		needle = strings.Map(unicode.ToLower, needle)
	case 2:
		if r.IntN(3) == 0 {
			needle += "q"
		}
	}
	if needle == "" {
		return "e"
	}
	return needle
}

func randomCriteria(r *rand.Rand, docs []*doc, depth int) mailstore.Criteria {
	c := mailstore.Criteria{Op: mailstore.SearchOp(r.IntN(int(mailstore.SearchText) + 1))}
	switch c.Op {
	case mailstore.SearchAnd, mailstore.SearchOr, mailstore.SearchNot:
		if depth == 0 {
			return mailstore.Criteria{Op: mailstore.SearchBody, Text: randomNeedle(r, docs)}
		}
		n := r.IntN(4)
		if c.Op == mailstore.SearchNot {
			n = 1
		}
		for range n {
			c.Sub = append(c.Sub, randomCriteria(r, docs, depth-1))
		}
	case mailstore.SearchUIDs:
		for range r.IntN(4) {
			lo := mailstore.UID(1 + r.IntN(len(docs)))
			c.UIDs.AddRange(lo, lo+mailstore.UID(r.IntN(30)))
		}
	case mailstore.SearchFlags:
		c.Flags = mailstore.Flags(r.IntN(32))
	case mailstore.SearchKeyword:
		return mailstore.Criteria{Op: mailstore.SearchAll}
	case mailstore.SearchLarger, mailstore.SearchSmaller:
		c.Size = int64(docs[r.IntN(len(docs))].size())
	case mailstore.SearchHeader:
		c.Field = []string{"From", "subject", "X-TAG", "Delivered-To", "Cc", "Nowhere", "not a name"}[r.IntN(7)]
		if r.IntN(4) > 0 {
			c.Text = randomNeedle(r, docs)
		}
	case mailstore.SearchBody, mailstore.SearchText:
		c.Text = randomNeedle(r, docs)
	default:
		c.Date = time.Date(2026, time.Month(10+r.IntN(2)), 1+r.IntN(28), 0, 0, 0, 0, time.UTC)
	}
	return c
}

// checkSearches compares random searches with the naive scan.
func checkSearches(t *testing.T, s *mailstore.Store, acct mailstore.AccountID, docs []*doc, r *rand.Rand, n int) {
	t.Helper()
	ctx := context.Background()
	box, err := s.Mailbox(ctx, acct, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := s.Load(ctx, acct, box.ID)
	if err != nil {
		t.Fatal(err)
	}
	hits := 0
	for range n {
		c := randomCriteria(r, docs, 2)
		got, err := s.Search(ctx, acct, box.ID, v, &c)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		var want mailstore.UIDSet
		v.Each(1, v.Len(), func(_ int, uid mailstore.UID, _ mailstore.Flags) bool {
			if naive(docs[uid-1], uid, &c) {
				want.Add(uid)
			}
			return true
		})
		hits += want.Len()
		if got.String() != want.String() {
			t.Errorf("%+v\n got %s\nwant %s", c, got, want)
			for uid := range got.Subtract(want).Union(want.Subtract(got)).Each {
				t.Logf("%d: %+v", uid, *docs[uid-1])
			}
			return
		}
	}
	if hits == 0 {
		t.Error("no search found anything")
	}
}

// TestSearchAgainstNaive searches a mailbox whose texts are not packed, partly
// packed, all packed, and after messages went.
func TestSearchAgainstNaive(t *testing.T) {
	pool := pgtest.Pool(t)
	s := storetest.OpenOn(t, pool, mailstore.Options{Index: -1, Grace: time.Nanosecond, Sweep: -1})
	other := storetest.OpenOn(t, pool, mailstore.Options{Index: -1, Sweep: -1})
	ctx := context.Background()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	acct := storetest.Account(t, s, "alice@example.test")
	docs := corpus(t, s, acct, r, 60)
	checkSearches(t, s, acct, docs, r, 150)
	index := func(s *mailstore.Store) {
		t.Helper()
		if err := s.IndexTexts(ctx); err != nil {
			t.Fatal(err)
		}
	}
	index(s)
	if n := count(t, s, `SELECT count(*) FROM text_todo`); n != 0 {
		t.Errorf("%d texts are pending", n)
	}
	if n := count(t, s, `SELECT sum(n) FROM text_pack`); n != 60 {
		t.Errorf("%d texts are packed", n)
	}
	checkSearches(t, s, acct, docs, r, 300)
	for i := range 40 { // a few at a time, to make small packs
		d := randomDoc(r, 60+i)
		d.deliver(t, s, acct)
		if docs = append(docs, d); i%3 == 0 && i < 30 {
			index(s)
		}
	}
	if n := count(t, s, `SELECT count(*) FROM text_pack`); n > 12 {
		t.Errorf("%d packs of 100 texts", n)
	}
	checkSearches(t, other, acct, docs, r, 300)

	box, err := s.Mailbox(ctx, acct, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(ctx, acct, box.ID, mailstore.UIDsBetween(10, 20), acct, "Archive"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, acct, box.ID, mailstore.UIDsBetween(5, 70)); err != nil {
		t.Fatal(err)
	}
	checkSearches(t, s, acct, docs, r, 100)
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	checkSearches(t, s, acct, docs, r, 100)
	index(other)
	if n := count(t, s, `SELECT sum(n) FROM text_pack`); n != 34+11 {
		t.Errorf("%d texts are packed after the sweep", n)
	}
	if n := count(t, s, `SELECT count(*) FROM text_dead`); n != 0 {
		t.Errorf("%d texts are dead and stay", n)
	}
	checkSearches(t, s, acct, docs, r, 200)
}
