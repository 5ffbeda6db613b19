package mailstore_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/spool"
	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/storetest"
	"posthouse/mailstore"
)

// serverCPU is the processor time that the backends of a pool's server have used.
func serverCPU(b *testing.B, pool *pgxpool.Pool) time.Duration {
	rows, err := pool.Query(context.Background(), `SELECT pid FROM pg_stat_activity`)
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		b.Fatal(err)
	}
	var ticks int64
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, s := range f[11:13] {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// letter is a mail of about 12 KB that compresses like one.
func letter(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from a.example.org by b.example.test; Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: Alice <alice@example.test>\r\nTo: Bob <bob@example.test>\r\nSubject: letter number %d\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", n, n)
	x := uint32(n)*2654435761 + 1
	for b.Len() < 12<<10 {
		for range 10 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			fmt.Fprintf(&b, "word%d ", x%5000)
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

func quiet(b *testing.B) (*mailstore.Store, *pgxpool.Pool) {
	return quietWith(b, mailstore.Options{})
}

func quietWith(b *testing.B, opt mailstore.Options) (*mailstore.Store, *pgxpool.Pool) {
	cfg := pgtest.Pool(b).Config()
	cfg.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return storetest.OpenOn(b, pool, opt), pool
}

func BenchmarkDeliver(b *testing.B) {
	for _, clients := range []int{1, 8, 32} {
		for _, boxes := range []string{"own", "one"} {
			b.Run(fmt.Sprintf("clients=%d/mailbox=%s", clients, boxes), func(b *testing.B) {
				s, pool := quiet(b)
				var accts []mailstore.AccountID
				for i := range clients {
					accts = append(accts, storetest.Account(b, s, fmt.Sprintf("user%d@example.test", i)))
				}
				texts := make([]string, 64)
				for i := range texts {
					texts[i] = letter(i)
				}
				for i := range 20 { // statements prepared, relations cached
					storetest.Append(b, s, accts[i%len(accts)], "INBOX", texts[i], 0)
				}
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				pg, own, start := serverCPU(b, pool), ownCPU(), time.Now()
				for c := range clients {
					wg.Go(func() {
						acct := accts[c]
						if boxes == "one" {
							acct = accts[0]
						}
						for {
							n := next.Add(1)
							if n > int64(b.N) {
								return
							}
							body := spool.New("", spool.Memory)
							body.Write([]byte(texts[n%64]))
							if _, err := s.Deliver(context.Background(), &mailstore.Delivery{Body: body, Targets: []mailstore.Target{{Account: acct, Mailbox: "INBOX"}}}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				n := float64(b.N)
				b.ReportMetric(n/time.Since(start).Seconds(), "msg/s")
				b.ReportMetric(float64(ownCPU()-own)/1e6/n, "go-ms/msg")
				b.ReportMetric(float64(serverCPU(b, pool)-pg)/1e6/n, "pg-ms/msg")
			})
		}
	}
}

// fill makes a mailbox of n messages by copying.
func fill(b *testing.B, s *mailstore.Store, acct mailstore.AccountID, n int) mailstore.MailboxID {
	m, err := s.Mailbox(context.Background(), acct, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		storetest.Append(b, s, acct, "INBOX", letter(i), 0)
	}
	for have := 100; have < n; {
		k := min(have, n-have)
		if _, err := s.Copy(context.Background(), acct, m.ID, mailstore.UIDsBetween(1, mailstore.UID(k)), acct, "INBOX"); err != nil {
			b.Fatal(err)
		}
		have += k
	}
	return m.ID
}

func BenchmarkMailbox(b *testing.B) {
	s, pool := quiet(b)
	ctx := context.Background()
	acct := storetest.Account(b, s, "alice@example.test")
	const n = 100_000
	box := fill(b, s, acct, n)
	if _, err := pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	b.Run("load=100k", func(b *testing.B) {
		for b.Loop() {
			s.ForgetViews()
			v, _, err := s.Load(ctx, acct, box)
			if err != nil || v.Len() != n {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("load-again=100k", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := s.Load(ctx, acct, box); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("envelope=100k", func(b *testing.B) {
		for b.Loop() {
			k := 0
			if err := s.Messages(ctx, acct, box, mailstore.UIDsBetween(1, n), mailstore.FieldEnvelope, func(*mailstore.Message) error { k++; return nil }); err != nil || k != n {
				b.Fatal(k, err)
			}
		}
	})
	v, _, err := s.Load(ctx, acct, box)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("advance-nothing", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := s.Advance(ctx, v, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	op := mailstore.AddFlags
	b.Run("store=10k", func(b *testing.B) {
		for b.Loop() {
			if res, err := s.StoreFlags(ctx, acct, box, mailstore.UIDsBetween(1, 10000), mailstore.FlagChange{Op: op, Flags: mailstore.FlagFlagged}); err != nil || res.Changed.Len() != 10000 {
				b.Fatal(res.Changed.Len(), err)
			}
			op = mailstore.AddFlags + mailstore.RemoveFlags - op
		}
	})
	b.Run("store=1", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.StoreFlags(ctx, acct, box, mailstore.UIDs(77), mailstore.FlagChange{Op: op, Flags: mailstore.FlagSeen}); err != nil {
				b.Fatal(err)
			}
			op = mailstore.AddFlags + mailstore.RemoveFlags - op
		}
	})
	b.Run("copy=1k", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Copy(ctx, acct, box, mailstore.UIDsBetween(1, 1000), acct, "Archive"); err != nil {
				b.Fatal(err)
			}
		}
	})
	first := mailstore.UID(1)
	b.Run("move=1k", func(b *testing.B) {
		for b.Loop() {
			if res, err := s.Move(ctx, acct, box, mailstore.UIDsBetween(first, first+999), acct, "Trash"); err != nil || len(res.Src) != 1000 {
				b.Fatal(res, err)
			}
			first += 1000
		}
	})
	b.Run("expunge=1k", func(b *testing.B) {
		for b.Loop() {
			if set, err := s.Remove(ctx, acct, box, mailstore.UIDsBetween(first, first+999)); err != nil || set.Len() != 1000 {
				b.Fatal(set, err)
			}
			first += 1000
		}
	})
}
