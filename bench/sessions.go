package main

import (
	"fmt"
	"iter"
	"strings"
	"time"
)

func splitNUL(s string) iter.Seq[string] { return strings.SplitSeq(s, "\x00") }

// benchLogin logs in and out n times (default 1,000), over eight accounts.
func benchLogin(o options) error {
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if o.n == 0 {
		o.n = 1000
	}
	t := newTable("dovecot")
	for range o.rounds {
		for _, s := range all {
			cpu := s.cpu()
			for i := range o.n {
				c, err := dialIMAP(s.imap, false, address(i%spread))
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				c.close()
			}
			time.Sleep(300 * time.Millisecond)
			t.add(s.name, "CPU per login", "ms", float64((s.cpu()-cpu).Microseconds())/1000/float64(o.n))
		}
	}
	t.print()
	return nil
}

// benchMemory reports the server's memory idle, and at its height while ten
// mails of 25 MB are in flight together.
func benchMemory(o options) error {
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	t := newTable("dovecot")
	for _, s := range all {
		time.Sleep(3 * time.Second)
		t.add(s.name, "idle, database included", "MB", float64(s.pss())/1024)
		mails := make([][]byte, 10)
		c := newCorpus(1)
		for i := range mails {
			mails[i] = c.message(25 << 20)
		}
		done := make(chan error, 1)
		go func() { done <- sendAll(s.smtp, mails, len(mails)) }()
		var all, own int64
		for sending := true; sending; {
			select {
			case err := <-done:
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				sending = false
			case <-time.After(50 * time.Millisecond):
				all, own = max(all, s.pss()), max(own, pssOf(s.root))
			}
		}
		t.add(s.name, "height with ten 25 MB mails, server process", "MB", float64(own)/1024)
		t.add(s.name, "the same, database included", "MB", float64(all)/1024)
	}
	t.print()
	return nil
}
