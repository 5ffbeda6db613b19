package mailstore_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthouse/internal/spool"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// deliverLetters fills INBOX with n different letters over 8 connections.
func deliverLetters(b *testing.B, s *mailstore.Store, acct mailstore.AccountID, n int) mailstore.MailboxID {
	b.Helper()
	return deliverTo(b, s, acct, n, func(int) func(int) string { return letter })
}

// deliverTo fills INBOX with n messages over 8 connections; write gives each of
// these what it writes with.
func deliverTo(b *testing.B, s *mailstore.Store, acct mailstore.AccountID, n int, write func(connection int) func(n int) string) mailstore.MailboxID {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			message := write(i)
			for k := next.Add(1); k <= int64(n); k = next.Add(1) {
				body := spool.New("", spool.Memory)
				if _, err := body.Write([]byte(message(int(k)))); err != nil {
					b.Error(err)
				}
				if _, err := s.Deliver(context.Background(), &mailstore.Delivery{Body: body, Targets: []mailstore.Target{{Account: acct, Mailbox: "INBOX"}}}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return inbox(b, s, acct)
}

func inbox(b testing.TB, s *mailstore.Store, acct mailstore.AccountID) mailstore.MailboxID {
	m, err := s.Mailbox(context.Background(), acct, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	return m.ID
}

// BenchmarkSearch packs the texts of 10,000 letters of 12 KB, then searches: in
// the packs alone, then with segments.
func BenchmarkSearch(b *testing.B) {
	s, pool := quietWith(b, mailstore.Options{Index: -1, Sweep: -1})
	ctx := context.Background()
	acct := storetest.Account(b, s, "alice@example.test")
	const n = 10_000
	box := deliverLetters(b, s, acct, n)
	pg, own, start := serverCPU(b, pool), ownCPU(), time.Now()
	if err := s.IndexTexts(ctx); err != nil {
		b.Fatal(err)
	}
	b.Logf("packing: %.3f ms/message, processor: Go %.3f ms, PostgreSQL %.3f ms", float64(time.Since(start))/1e6/n,
		float64(ownCPU()-own)/1e6/n, float64(serverCPU(b, pool)-pg)/1e6/n)
	if _, err := pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	var packs, octets int64
	if err := pool.QueryRow(ctx, `SELECT count(*), sum(length(z) + length(heads)) FROM text_pack`).Scan(&packs, &octets); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d packs, %.0f octets/message", packs, float64(octets)/n)
	v, _, err := s.Load(ctx, acct, box)
	if err != nil {
		b.Fatal(err)
	}
	for _, way := range []string{"packs", "segments"} {
		for _, q := range []struct {
			name string
			c    mailstore.Criteria
		}{
			{"body-rare", mailstore.Criteria{Op: mailstore.SearchBody, Text: "word4711 word"}},
			{"body-none", mailstore.Criteria{Op: mailstore.SearchBody, Text: "nowhere to be found"}},
			{"body-common", mailstore.Criteria{Op: mailstore.SearchBody, Text: "word"}},
			{"text-none", mailstore.Criteria{Op: mailstore.SearchText, Text: "nowhere to be found"}},
			{"header-message-id", mailstore.Criteria{Op: mailstore.SearchHeader, Field: "Message-ID", Text: "<4711@example.test>"}},
			{"subject", mailstore.Criteria{Op: mailstore.SearchHeader, Field: "Subject", Text: "number 4711"}},
			{"since", mailstore.Criteria{Op: mailstore.SearchSince, Date: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}},
		} {
			b.Run(fmt.Sprintf("%s=10k/%s", q.name, way), func(b *testing.B) {
				pg, own := serverCPU(b, pool), ownCPU()
				for b.Loop() {
					if _, err := s.Search(ctx, acct, box, v, &q.c); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(ownCPU()-own)/1e6/float64(b.N), "go-ms/op")
				b.ReportMetric(float64(serverCPU(b, pool)-pg)/1e6/float64(b.N), "pg-ms/op")
			})
		}
		if err := s.IndexTexts(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// notes writes mail of about 2 KB, lognormal as mail is, from a vocabulary with a
// long tail, and a few words of its own.
type notes struct {
	r     *rand.Rand
	words []string
}

func newNotes(seed uint64) *notes {
	const letters = "etaoinshrdlucmfwypvbgkjqxz"
	words := rand.New(rand.NewPCG(1, 1))
	w := &notes{r: rand.New(rand.NewPCG(seed, 2))}
	for range 40_000 {
		var b strings.Builder
		for range 2 + words.IntN(9) {
			b.WriteByte(letters[int(float64(len(letters))*math.Pow(words.Float64(), 1.7))])
		}
		w.words = append(w.words, b.String())
	}
	return w
}

func (w *notes) next(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Alice <alice@example.test>\r\nTo: Bob <bob@example.test>\r\nSubject: note %d\r\nMessage-ID: <%d@example.test>\r\n\r\nticket%06d %x\r\n", n, n, n, w.r.Uint64())
	for size := b.Len() + int(min(2000*math.Exp(1.3*w.r.NormFloat64()), 1<<20)); b.Len() < size; {
		for range 12 {
			b.WriteString(w.words[int(float64(len(w.words))*math.Pow(w.r.Float64(), 3))])
			b.WriteString([]string{" ", " ", " ", ", ", ". "}[w.r.IntN(5)])
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

// BenchmarkSearchBody searches the bodies of a mailbox of notes: in the packs
// alone, then with segments, whose vocabularies are read each time, or are in memory.
func BenchmarkSearchBody(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) { benchmarkSearchBody(b, n) })
	}
}

func benchmarkSearchBody(b *testing.B, n int) {
	s, pool := quietWith(b, mailstore.Options{Index: -1, Sweep: -1})
	ctx := context.Background()
	acct := storetest.Account(b, s, "alice@example.test")
	box := deliverTo(b, s, acct, n, func(seed int) func(int) string { return newNotes(uint64(seed)).next })
	if err := s.IndexTexts(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	v, _, err := s.Load(ctx, acct, box)
	if err != nil {
		b.Fatal(err)
	}
	vocabulary := newNotes(0).words
	search := func(b *testing.B, way string, before func()) {
		for _, q := range []struct {
			name string
			c    mailstore.Criteria
		}{
			{"rare", body(fmt.Sprintf("ticket%06d", n/2))},
			{"common", body(vocabulary[1])},
			{"letters", body("qj")},
			{"phrase", body(vocabulary[700] + " " + vocabulary[300])},
			{"phrase-common", body(vocabulary[0] + " " + vocabulary[2])},
			{"none", body("nowhere")},
			{"text-rare", mailstore.Criteria{Op: mailstore.SearchText, Text: fmt.Sprintf("ticket%06d", n/2)}},
		} {
			b.Run(q.name+"/"+way, func(b *testing.B) {
				pg, own := serverCPU(b, pool), ownCPU()
				found := 0
				for b.Loop() {
					before()
					uids, err := s.Search(ctx, acct, box, v, &q.c)
					if err != nil {
						b.Fatal(err)
					}
					found = uids.Len()
				}
				b.ReportMetric(float64(ownCPU()-own)/1e6/float64(b.N), "go-ms/op")
				b.ReportMetric(float64(serverCPU(b, pool)-pg)/1e6/float64(b.N), "pg-ms/op")
				b.ReportMetric(float64(found), "found")
			})
		}
	}
	search(b, "packs", func() {})
	pg, own, start := serverCPU(b, pool), ownCPU(), time.Now()
	if err := s.IndexTexts(ctx); err != nil {
		b.Fatal(err)
	}
	b.Logf("segments: %.3f ms/message, processor: Go %.3f ms, PostgreSQL %.3f ms", float64(time.Since(start))/1e6/float64(n),
		float64(ownCPU()-own)/1e6/float64(n), float64(serverCPU(b, pool)-pg)/1e6/float64(n))
	var segments, covered, vocab, post, packs int64
	if err := pool.QueryRow(ctx, `SELECT count(*), sum(n), sum(octet_length(vocab)), sum(octet_length(post) + octet_length(skips) + octet_length(ids)),
		(SELECT sum(octet_length(z)) FROM text_pack) FROM text_segment`).Scan(&segments, &covered, &vocab, &post, &packs); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d segments of %d texts: octets/message %.0f of vocabulary, %.0f of postings; packs have %.0f", segments, covered,
		float64(vocab)/float64(n), float64(post)/float64(n), float64(packs)/float64(n))
	search(b, "segments-read", func() { s.ForgetSearches(48 << 20) })
	search(b, "segments", func() {})
}

// BenchmarkSearchColumns scans 100,000 messages.
func BenchmarkSearchColumns(b *testing.B) {
	s, pool := quietWith(b, mailstore.Options{Index: -1, Sweep: -1})
	ctx := context.Background()
	acct := storetest.Account(b, s, "alice@example.test")
	box := fill(b, s, acct, 100_000)
	if _, err := pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	v, _, err := s.Load(ctx, acct, box)
	if err != nil {
		b.Fatal(err)
	}
	for _, q := range []struct {
		name string
		c    mailstore.Criteria
	}{
		{"subject", mailstore.Criteria{Op: mailstore.SearchHeader, Field: "Subject", Text: "number 77"}},
		{"subject-none", mailstore.Criteria{Op: mailstore.SearchHeader, Field: "Subject", Text: "nowhere"}},
		{"larger", mailstore.Criteria{Op: mailstore.SearchLarger, Size: 100}},
	} {
		b.Run(q.name+"=100k", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Search(ctx, acct, box, v, &q.c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
