package main

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// benchIsolation measures the p99 of a delivery over eight connections, first
// alone, then while one account stores flags on n messages (default 100,000),
// copies a tenth of them and appends.
func benchIsolation(o options) error {
	o.only = "posthouse"
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if o.n == 0 {
		o.n = 100000
	}
	s := all[0]
	if err := fill(s, o.n); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	alone, err := latencies(s, 20*time.Second)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	busy := make(chan error, 1)
	go func() { busy <- beBusy(s, o.n, &stop) }()
	beside, err := latencies(s, 20*time.Second)
	stop.Store(true)
	if err := <-busy; err != nil {
		return fmt.Errorf("the busy account: %w", err)
	}
	if err != nil {
		return err
	}
	for _, p := range []float64{0.5, 0.99} {
		a, b := quantile(alone, p), quantile(beside, p)
		fmt.Printf("p%.0f of a delivery: alone %v, beside the busy account %v, ratio %.2f\n", p*100, a, b, float64(b)/float64(a))
	}
	return nil
}

// latencies delivers at a steady rate to the accounts that are not busy.
func latencies(s *server, span time.Duration) ([]time.Duration, error) {
	const conns = 8
	var mu sync.Mutex
	var all []time.Duration
	errs := make(chan error, conns)
	until := time.Now().Add(span)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			words := newCorpus(uint64(i))
			c, err := dialSMTP(s.smtp)
			if err != nil {
				errs <- err
				return
			}
			defer c.close()
			for time.Now().Before(until) {
				m := words.message(words.size(12000))
				began := time.Now()
				if err := c.send(address(1+i), m); err != nil {
					errs <- err
					return
				}
				took := time.Since(began)
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	close(errs)
	return all, <-errs
}

func beBusy(s *server, n int, stop *atomic.Bool) error {
	c, err := dialIMAP(s.imap, false, address(0))
	if err != nil {
		return err
	}
	defer c.close()
	words := newCorpus(99)
	if _, err := c.do("SELECT INBOX"); err != nil {
		return err
	}
	for round := 0; !stop.Load(); round++ {
		sign := []string{"+", "-"}[round%2]
		if _, err := c.do("STORE 1:%d %sFLAGS.SILENT (\\Flagged)", n, sign); err != nil {
			return err
		}
		if _, err := c.do("CREATE work%d", round); err != nil {
			return err
		}
		if _, err := c.do("COPY 1:%d work%d", n/10, round); err != nil {
			return err
		}
		if err := c.append("INBOX", func() []byte { return words.message(words.size(12000)) }, 200); err != nil {
			return err
		}
	}
	return nil
}

func quantile(v []time.Duration, p float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	return v[min(int(float64(len(v))*p), len(v)-1)]
}
