package mailstore_test

import (
	"context"
	"fmt"
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
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for k := next.Add(1); k <= int64(n); k = next.Add(1) {
				body := spool.New("", spool.Memory)
				if _, err := body.Write([]byte(letter(int(k)))); err != nil {
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

// BenchmarkSearch packs the texts of 10,000 letters of 12 KB, then searches.
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
		b.Run(fmt.Sprintf("%s=10k", q.name), func(b *testing.B) {
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
