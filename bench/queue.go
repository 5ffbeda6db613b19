package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/test/dnstest"
	"posthouse/internal/test/nexthop"
)

const (
	behind  = 300  // mails whose wait is measured
	stalled = 5000 // mails in front of them, to a host that says nothing
)

// benchQueue measures what waits cost those who need not wait: 300 mails behind
// 5,000 to a stalled host; and the start, the memory and the wait of new mail
// with --n messages queued for 1,000 dead destinations.
func benchQueue(o options) error {
	if o.n == 0 {
		o.n = 100000
	}
	w, err := newHops()
	if err != nil {
		return err
	}
	defer w.close()
	dir, err := os.MkdirTemp("", "posthouse-bench-")
	if err != nil {
		return err
	}
	defer atEnd(func() { os.RemoveAll(dir) })()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	args := append(w.flags(), "--data", filepath.Join(dir, "data"), "--account", address(0)+":"+password)
	s, err := runPosthouse(o.binary, dir, args)
	if err != nil {
		return err
	}
	defer func() { s.end() }()
	if err := w.behindStalled(s); err != nil {
		return err
	}
	if err := seed(s, o.n); err != nil {
		return fmt.Errorf("fill the queue: %w", err)
	}
	s.end()

	began := time.Now()
	if s, err = runPosthouse(o.binary, dir, args); err != nil {
		return err
	}
	fmt.Printf("%-52s %10.2f s\n", fmt.Sprintf("start with %d messages queued", o.n), time.Since(began).Seconds())
	for _, after := range []time.Duration{0, 15 * time.Second} {
		time.Sleep(after)
		fmt.Printf("%-52s %10.1f MB\n", fmt.Sprintf("memory of the server (PSS), %s after the start", after), float64(pssOf(s.root))/1024)
	}
	waits, err := w.waits(s, 1)
	if err != nil {
		return err
	}
	show(fmt.Sprintf("new mail with %d queued, one at a time: wait", o.n), waits)
	fmt.Printf("%-52s %10.1f MB\n", "memory of the server (PSS) afterwards", float64(pssOf(s.root))/1024)
	return claims(s)
}

// hops are the other servers: one that takes, and one that never says a word.
type hops struct {
	dns         *dnstest.Server
	quick, mute *nexthop.Hop
	mu          sync.Mutex
	came        map[string]time.Time // by subject
	changed     chan struct{}
	series      int
}

func newHops() (w *hops, err error) {
	w = &hops{came: make(map[string]time.Time), changed: make(chan struct{}, 1)}
	if w.dns, err = dnstest.Listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	if w.quick, err = nexthop.Listen("127.0.0.1:0", nexthop.Script{Forget: true, Taken: w.take}); err != nil {
		return nil, err
	}
	port := strconv.Itoa(int(w.quick.Addr.Port()))
	if w.mute, err = nexthop.Listen("127.0.0.2:"+port, nexthop.Script{Forget: true, Replies: map[string]string{"CONNECT": nexthop.Stall}}); err != nil {
		return nil, err
	}
	w.dns.Add("quick.example. MX 10 mx.quick.example.", "mx.quick.example. A 127.0.0.1",
		"stalled.example. MX 10 mx.stalled.example.", "*.stalled.example. MX 10 mx.stalled.example.", "mx.stalled.example. A 127.0.0.2",
		"*.dead.example. MX 10 mx.dead.example.", "mx.dead.example. A 127.0.0.3") // nobody listens there
	return w, nil
}

func (w *hops) close() {
	w.quick.Close()
	w.mute.Close()
	w.dns.Close()
}

func (w *hops) flags() []string {
	return []string{"--deliver", "--dns", w.dns.Addr().String(), "--relay-port", strconv.Itoa(int(w.quick.Addr.Port()))}
}

func (w *hops) take(m *nexthop.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.came[m.Field("Subject")] = time.Now()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *hops) behindStalled(s *server) error {
	mails := make([][]byte, stalled)
	for i := range mails {
		mails[i] = small("stalled", i)
	}
	if err := submitTo(s, "stalled.example", mails); err != nil {
		return err
	}
	waits, err := w.waits(s, 8)
	if err != nil {
		return err
	}
	show(fmt.Sprintf("%d mails behind %d to a stalled host: wait", behind, stalled), waits)
	return nil
}

// waits submits mails over some connections and gives how long each took from
// its 250 to the next hop.
func (w *hops) waits(s *server, connections int) ([]time.Duration, error) {
	w.series++
	name := fmt.Sprint("quick", w.series)
	accepted := make([]time.Time, behind)
	work := make(chan int, behind)
	for i := range behind {
		work <- i
	}
	close(work)
	errs := make(chan error, connections)
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			c, err := dialSubmission(s, address(0))
			if err != nil {
				errs <- err
				return
			}
			defer c.close()
			for i := range work {
				if err := c.send("bob@quick.example", small(name, i)); err != nil {
					errs <- err
					return
				}
				accepted[i] = time.Now()
				if connections == 1 {
					if err := w.await(name, i+1); err != nil {
						errs <- err
						return
					}
				}
			}
		})
	}
	senders.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return nil, err
	}
	if err := w.await(name, behind); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []time.Duration
	for i := range behind {
		list = append(list, max(0, w.came[fmt.Sprintf("%s %d", name, i)].Sub(accepted[i])))
	}
	return list, nil
}

// await waits until n mails of a series have come.
func (w *hops) await(name string, n int) error {
	late := time.After(2 * time.Minute)
	for {
		w.mu.Lock()
		got := 0
		for subject := range w.came {
			if strings.HasPrefix(subject, name+" ") {
				got++
			}
		}
		w.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-w.changed:
		case <-late:
			return fmt.Errorf("%d of %d mails came within two minutes", got, n)
		}
	}
}

func small(name string, i int) []byte {
	return fmt.Appendf(nil, "From: <%s>\r\nTo: <bob@example.org>\r\nSubject: %s %d\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s.%d@example.test>\r\n\r\n%s\r\n",
		address(0), name, i, name, i, bytes.Repeat([]byte("text "), 100))
}

// submitTo submits mails for one domain over 8 connections.
func submitTo(s *server, domain string, mails [][]byte) error {
	work := make(chan []byte, len(mails))
	for _, m := range mails {
		work <- m
	}
	close(work)
	errs := make(chan error, relaySenders)
	var senders sync.WaitGroup
	for range relaySenders {
		senders.Go(func() {
			c, err := dialSubmission(s, address(0))
			if err != nil {
				errs <- err
				return
			}
			defer c.close()
			for m := range work {
				if err := c.send("bob@"+domain, m); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	senders.Wait()
	close(errs)
	return <-errs
}

// seed fills the queue up to n messages with copies of one that waits, spread
// over 1,000 domains: submitting them would take minutes.
func seed(s *server, n int) error {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, s.database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	columns := func(table string, without ...string) (string, error) {
		rows, err := db.Query(ctx, `SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL($2)`, table, without)
		if err != nil {
			return "", err
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		return strings.Join(list, ", "), err
	}
	message, err := columns("queue_message", "id")
	if err != nil {
		return err
	}
	rcpt, err := columns("queue_rcpt", "message_id", "address", "destination", "session_id")
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var have int
		var model int64
		if err := tx.QueryRow(ctx, `SELECT count(*), max(id) FROM queue_message`).Scan(&have, &model); err != nil {
			return err
		}
		if have == 0 {
			return errors.New("nothing is queued to make copies of")
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf(`WITH m AS (INSERT INTO queue_message (%s) SELECT %[1]s FROM queue_message, generate_series(1, %d) WHERE id = %d RETURNING id)
			INSERT INTO queue_rcpt (message_id, address, destination, %s)
			SELECT m.id, 'bob@d' || m.id %% 1000 || '.dead.example', 'd' || m.id %% 1000 || '.dead.example', %[4]s FROM m, (SELECT * FROM queue_rcpt WHERE message_id = %[3]d) r`,
			message, max(0, n-have), model, rcpt)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO queue_destination (name, next_at) SELECT DISTINCT destination, NULL::timestamptz FROM queue_rcpt ON CONFLICT DO NOTHING`)
		return err
	})
}

func show(what string, waits []time.Duration) {
	slices.Sort(waits)
	fmt.Printf("%-52s %10.1f ms median, %.1f at 95 %%, %.1f at most\n", what, ms(waits[len(waits)/2]), ms(waits[len(waits)*95/100]), ms(waits[len(waits)-1]))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

var claimFigures = regexp.MustCompile(`(?m)^posthouse_queue_claim_seconds_(sum|count) (\S+)$`)

// claims tells what the server measured of its claims.
func claims(s *server) error {
	resp, err := http.Get("http://" + s.http + "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	figures := make(map[string]float64)
	for _, m := range claimFigures.FindAllStringSubmatch(string(text), -1) {
		figures[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	if figures["count"] == 0 {
		return errors.New("the server measured no claims")
	}
	fmt.Printf("%-52s %10.2f ms mean of %.0f\n", "a claim", 1000*figures["sum"]/figures["count"], figures["count"])
	return nil
}
