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

	"posthouse/internal/mail"
	"posthouse/internal/test/pgtest"
)

// sample are events as deliveries give them: a message and its one copy.
func sample(n int) []Event {
	list := make([]Event, n)
	for i := range list {
		id := mail.NewID()
		if i%2 == 0 {
			list[i] = Event{Kind: Received, Message: id, HeaderID: "<" + id + id + "@mail.example.org>", From: fmt.Sprintf("alice.%d@example.org", i%9999),
				Subject: "Re: minutes of the meeting on Tuesday", Remote: "mail.example.org [192.0.2.1]:38221", TLS: "TLS1.3", Size: 23456, Duration: 3e6}
		} else {
			list[i] = Event{Kind: Stored, Message: list[i-1].Message, From: list[i-1].From, Recipient: fmt.Sprintf("bob.%d@example.test", i%7777), Size: 23456}
		}
	}
	return list
}

// BenchmarkRecord measures the CPU that an event costs here and in Postgres: by
// Add, which writes hundreds at once, and by AddTx with the two or so of one
// message, which is a round trip; with a webhook that wants a part of them.
func BenchmarkRecord(b *testing.B) {
	for _, n := range []int{2, 500} {
		for _, hooked := range []bool{false, true} {
			b.Run(fmt.Sprintf("events=%d/hook=%v", n, hooked), func(b *testing.B) { benchRecord(b, n, hooked) })
		}
	}
}

func benchRecord(b *testing.B, n int, hooked bool) {
	l := node(b, pgtest.Pool(b), "node-a")
	ctx := context.Background()
	if hooked {
		_, err := l.pool.Exec(ctx, `INSERT INTO hook (url, kinds, secret) VALUES ('https://example.org/', '{bounced}', '')`)
		must(b, err)
		must(b, l.askHooks(ctx))
	}
	conn, err := l.pool.Acquire(ctx)
	must(b, err)
	defer conn.Release()
	var pid int
	must(b, conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid))
	list := sample(n)
	var here, there time.Duration
	for b.Loop() {
		tx, err := conn.Begin(ctx)
		must(b, err)
		h, p := ownCPU(), backendCPU(b, pid)
		must(b, l.AddTx(ctx, tx, list...))
		here, there = here+ownCPU()-h, there+backendCPU(b, pid)-p
		must(b, tx.Commit(ctx))
	}
	total := float64(b.N * n)
	b.ReportMetric(float64(here.Nanoseconds())/1000/total, "go-µs/event")
	b.ReportMetric(float64(there.Nanoseconds())/1000/total, "pg-µs/event")
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// backendCPU is the time that a process has run.
func backendCPU(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	must(b, err)
	ran, err := strconv.ParseInt(strings.Fields(string(stat))[0], 10, 64)
	must(b, err)
	return time.Duration(ran)
}
