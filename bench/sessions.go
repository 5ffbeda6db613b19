package main

import (
	"fmt"
	"iter"
	"net"
	"strings"
	"time"
)

func splitNUL(s string) iter.Seq[string] { return strings.SplitSeq(s, "\x00") }

// benchIdle opens n TLS sessions (default 1,000), lets them IDLE in INBOX, and
// divides the growth of the server's memory. They come from several loopback
// addresses and accounts, so that no cap is met.
func benchIdle(o options) error {
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if o.n == 0 {
		o.n = 1000
	}
	t := newTable("dovecot")
	for _, s := range all {
		if err := idleRound(s, t, o.n); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	t.print()
	return nil
}

func idleRound(s *server, t *table, n int) error {
	warm, err := dialIMAP(s.imaps, true, address(0))
	if err != nil {
		return err
	}
	defer warm.close()
	time.Sleep(time.Second)
	before := s.pss()
	for i := range n {
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%50))}}
		conn, err := from.Dial("tcp", s.imaps)
		if err != nil {
			return err
		}
		defer conn.Close()
		c, err := newIMAP(conn, true, address(i%accounts))
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		if _, err := c.do("SELECT INBOX"); err != nil {
			return err
		}
		fmt.Fprintf(c.w, "i IDLE\r\n")
		if err := c.w.Flush(); err != nil {
			return err
		}
		if line, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+") {
			return fmt.Errorf("IDLE: %q, %v", line, err)
		}
	}
	time.Sleep(15 * time.Second) // buffers and garbage go
	t.add(s.name, fmt.Sprintf("memory per idle TLS session of %d", n), "KiB", float64(s.pss()-before)/float64(n))
	return nil
}

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
