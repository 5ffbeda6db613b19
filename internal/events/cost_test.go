package events

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

func one(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	c := pool.Config()
	c.MaxConns = 1
	p, err := pgxpool.NewWithConfig(t.Context(), c)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

// cpu is the time that a process has used.
func cpu(t testing.TB, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	must(t, err)
	f := strings.Fields(string(stat))
	n, err := strconv.ParseInt(f[0], 10, 64)
	must(t, err)
	return time.Duration(n)
}

func own() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sample(n int) []Event {
	list := make([]Event, n)
	for i := range list {
		id := mail.NewID()
		if i%2 == 0 {
			list[i] = Event{Kind: Received, Message: id, HeaderID: "<" + id + id + "@mail.example.org>", From: fmt.Sprintf("alice.%d@example.org", i%9999), Subject: "Re: minutes of the meeting on Tuesday", Remote: "mail.example.org [192.0.2.1]:38221", TLS: "TLS1.3", Size: 23456, Duration: 3e6}
		} else {
			list[i] = Event{Kind: Stored, Message: list[i-1].Message, From: list[i-1].From, Recipient: fmt.Sprintf("bob.%d@example.test", i%7777), Text: "INBOX", Size: 23456}
		}
	}
	return list
}

func BenchmarkCost(b *testing.B) {
	for _, n := range []int{1, 2, 3, 50, 500} {
		for _, mode := range []string{"pool", "tx"} {
			b.Run(fmt.Sprintf("%s/%d", mode, n), func(b *testing.B) {
				l := node(b, one(b, pgtest.Pool(b)), "node-a")
				ctx := context.Background()
				var pid int
				must(b, l.pool.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid))
				var g, p time.Duration
				events := 0
				run := func(k int) {
					for range k {
						list := sample(n)
						g0, p0 := own(), cpu(b, pid)
						if mode == "pool" {
							must(b, l.insert(ctx, l.pool, cleaned(list, l.node)))
						} else {
							tx, err := l.pool.Begin(ctx)
							must(b, err)
							g0, p0 = own(), cpu(b, pid)
							must(b, l.AddTx(ctx, tx, list...))
							g += own() - g0
							p += cpu(b, pid) - p0
							must(b, tx.Commit(ctx))
							events += n
							continue
						}
						g += own() - g0
						p += cpu(b, pid) - p0
						events += n
					}
				}
				run(100)
				g, p, events = 0, 0, 0
				b.ResetTimer()
				run(b.N)
				b.ReportMetric(float64(g.Microseconds())/float64(events), "go-µs/event")
				b.ReportMetric(float64(p.Microseconds())/float64(events), "pg-µs/event")
			})
		}
	}
}

var _ pgx.Tx
