package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// mailboxes that the delivery benchmark spreads its mail over.
const spread = 8

// benchDelivery sends n mails over each number of connections and waits until
// STATUS counts them all; the CPU figure includes Postgres and, for Posthouse,
// the folding of the texts until none is left to do.
func benchDelivery(o options) error {
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if o.n == 0 {
		o.n = 1500
	}
	t := newTable("dovecot")
	for round := range o.rounds {
		for _, conns := range strings.Split(o.conns, ",") {
			n, err := strconv.Atoi(conns)
			if err != nil {
				return fmt.Errorf("--conns: %w", err)
			}
			mails := makeMails(uint64(round*100+n), o.n)
			for _, s := range all {
				if err := deliveryRound(s, t, mails, n); err != nil {
					return fmt.Errorf("%s, %d connections: %w", s.name, n, err)
				}
			}
		}
	}
	t.print()
	return nil
}

func makeMails(seed uint64, n int) [][]byte {
	c := newCorpus(seed)
	mails := make([][]byte, n)
	for i := range mails {
		mails[i] = c.message(c.size(12000))
	}
	return mails
}

func deliveryRound(s *server, t *table, mails [][]byte, conns int) error {
	before, err := countAll(s)
	if err != nil {
		return err
	}
	cpu, own, began := s.cpu(), cpuOf(s.root, 2), time.Now()
	if err := sendAll(s.smtp, mails, conns); err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		now, err := countAll(s)
		if err != nil {
			return err
		}
		if now == before+len(mails) {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d mails visible after two minutes", now-before, len(mails))
		}
	}
	took := time.Since(began)
	if err := s.settle(); err != nil {
		return err
	}
	label := fmt.Sprintf("%d connections: ", conns)
	t.add(s.name, label+"delivered and visible", "messages/s", float64(len(mails))/took.Seconds())
	perMessage := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(len(mails)) }
	t.add(s.name, label+"CPU per message", "ms", perMessage(s.cpu()-cpu))
	if s.database != "" {
		t.add(s.name, label+"of it outside Postgres", "ms", perMessage(cpuOf(s.root, 2)-own))
	}
	return nil
}

// sendAll spreads the mails over connections and mailboxes.
func sendAll(addr string, mails [][]byte, conns int) error {
	work := make(chan int, len(mails))
	for i := range mails {
		work <- i
	}
	close(work)
	errs := make(chan error, conns)
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			c, err := dialSMTP(addr)
			if err != nil {
				errs <- err
				return
			}
			defer c.close()
			for i := range work {
				if err := c.send(address(i%spread), mails[i]); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func countAll(s *server) (int, error) {
	sum := 0
	for i := range spread {
		c, err := dialIMAP(s.imap, false, address(i))
		if err != nil {
			return 0, err
		}
		n, err := c.messages()
		c.close()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// settle waits until Posthouse's flags and texts are folded, and those that were searched
// have their word segments; Dovecot has no such work.
func (s *server) settle() error {
	if s.database == "" {
		time.Sleep(300 * time.Millisecond) // its processes end and are waited for
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	db, err := pgx.Connect(ctx, s.database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	for {
		var left int
		if err := db.QueryRow(ctx, `SELECT (SELECT count(*) FROM text_todo) + (SELECT count(*) FROM mailbox WHERE fold_from IS NOT NULL) + (SELECT count(*) FROM account a WHERE body_searched_at IS NOT NULL
			AND text_next >= 1024 + coalesce((SELECT max(first_no + n) FROM text_segment s WHERE s.account_id = a.id), 0))`).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}
