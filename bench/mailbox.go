package main

import (
	"errors"
	"fmt"
	"time"
)

// benchMailbox measures reading and changing a mailbox of n messages of about 2
// KB (default 10,000), first access and again. CPU is that of all processes of a
// server while the command ran, with what it left to be done.
func benchMailbox(o options) error {
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if o.n == 0 {
		o.n = 10000
	}
	for _, s := range all {
		if err := fill(s, o.n); err != nil {
			return fmt.Errorf("%s: fill the mailbox: %w", s.name, err)
		}
		if err := s.settle(); err != nil {
			return err
		}
	}
	t := &costs{newTable("dovecot"), newTable("dovecot")}
	for round := range o.rounds {
		for _, s := range all {
			if err := mailboxRound(s, t, o.n, round); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Printf("mailbox of %d messages\n", o.n)
	t.print()
	return nil
}

// step is a timed command; "first" steps are done in round 0 alone.
type step struct {
	metric, command string
	first           bool
	settle          bool // what it sets off in the background is waited for, and its CPU counts
}

const subset = "BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT MESSAGE-ID)]"

// mailboxSteps are those of a round in a mailbox of n messages. Commands of a
// step are parted by NUL.
func mailboxSteps(n, round int) []step {
	sign := []string{"+", "-"}[round%2]
	return []step{
		{"SELECT and first FETCH FLAGS, cold", "SELECT INBOX\x00FETCH 1:* (UID FLAGS)", true, false},
		{"FETCH FLAGS and size, first access", "FETCH 1:* (UID FLAGS RFC822.SIZE)", true, false},
		{"FETCH ENVELOPE, first access", "FETCH 1:* (UID ENVELOPE)", true, false},
		{"FETCH header subset, first access", "FETCH 1:* (UID " + subset + ")", true, false},
		{"FETCH BODYSTRUCTURE, first access", "FETCH 1:* (UID BODYSTRUCTURE)", true, false},
		{"SORT (SUBJECT), first access", "UID SORT (SUBJECT) UTF-8 ALL", true, false},
		{"THREAD REFERENCES, first access", "UID THREAD REFERENCES UTF-8 ALL", true, false},
		{"SELECT, warm", "SELECT INBOX", false, false},
		{"SELECT and first FETCH of one, warm", "SELECT INBOX\x00FETCH 1 (FLAGS)", false, false},
		{"FETCH FLAGS", "FETCH 1:* (UID FLAGS)", false, false},
		{"FETCH FLAGS and size", "FETCH 1:* (UID FLAGS RFC822.SIZE)", false, false},
		{"FETCH ENVELOPE", "FETCH 1:* (UID ENVELOPE)", false, false},
		{"FETCH BODYSTRUCTURE", "FETCH 1:* (UID BODYSTRUCTURE)", false, false},
		{"FETCH header subset", "FETCH 1:* (UID " + subset + ")", false, false},
		{"SORT (SUBJECT)", "UID SORT (SUBJECT) UTF-8 ALL", false, false},
		{"SORT (DATE)", "UID SORT (DATE) UTF-8 ALL", false, false},
		{"SORT (FROM)", "UID SORT (FROM) UTF-8 ALL", false, false},
		{"SORT (ARRIVAL)", "UID SORT (ARRIVAL) UTF-8 ALL", false, false},
		{"THREAD REFERENCES", "UID THREAD REFERENCES UTF-8 ALL", false, false},
		{"THREAD ORDEREDSUBJECT", "UID THREAD ORDEREDSUBJECT UTF-8 ALL", false, false},
		{"FETCH 1,000 bodies", "UID FETCH 1:1000 (BODY.PEEK[])", false, false},
		{"STORE 10k flags", fmt.Sprintf("STORE 1:%d %sFLAGS.SILENT (\\Flagged)", min(n, 10000), sign), false, true},
		{"STORE 10k flags, answered", fmt.Sprintf("STORE 1:%d %sFLAGS (\\Answered)", min(n, 10000), sign), false, true},
		{"STORE one flag", fmt.Sprintf("STORE %d %sFLAGS (\\Answered)", n, sign), false, false},
		{"COPY 1,000", fmt.Sprintf("COPY 1:1000 copy%d", round), false, true},
		{"MOVE 1,000", fmt.Sprintf("SELECT copy%d\x00MOVE 1:1000 moved%d", round, round), false, true},
		{"STORE \\Deleted of 1,000", fmt.Sprintf("SELECT moved%d\x00STORE 1:* +FLAGS.SILENT (\\Deleted)", round), false, false},
		{"EXPUNGE 1,000", "EXPUNGE", false, true},
	}
}

func mailboxRound(s *server, t *costs, n, round int) error {
	c, err := dialIMAP(s.imap, false, address(0))
	if err != nil {
		return err
	}
	defer c.close()
	for _, name := range []string{"copy", "moved"} {
		if _, err := c.do("CREATE %s%d", name, round); err != nil {
			return err
		}
	}
	for _, st := range mailboxSteps(n, round) {
		if st.first && round > 0 {
			continue
		}
		err := t.measure(s, st.metric, 1, func() error {
			for command := range splitNUL(st.command) {
				if _, err := c.do("%s", command); err != nil {
					return err
				}
			}
			return nil
		}, st.settle)
		if err != nil {
			return fmt.Errorf("%s: %w", st.metric, err)
		}
	}
	for _, conns := range []int{1, 8, 32} {
		if err := appendRound(s, t, conns, round); err != nil {
			return fmt.Errorf("APPEND: %w", err)
		}
	}
	return nil
}

// appends is how many messages are appended, by all connections together.
const appends = 320

// appendRound appends from several connections, each message answered before the
// next is sent.
func appendRound(s *server, t *costs, conns, round int) error {
	var clients []*imapConn
	for i := range conns {
		c, err := dialIMAP(s.imap, false, address(1+i/16)) // an account has 30 at most
		if err != nil {
			return err
		}
		defer c.close()
		clients = append(clients, c)
	}
	return t.measure(s, fmt.Sprintf("APPEND, %d connections, each", conns), appends, func() error {
		errs := make(chan error, conns)
		for i, c := range clients {
			words := newCorpus(uint64(100*round + i))
			go func() {
				var err error
				for range appends / conns {
					if err = c.append("INBOX", func() []byte { return words.message(2000) }, 1); err != nil {
						break
					}
				}
				errs <- err
			}()
		}
		var failed error
		for range clients {
			failed = errors.Join(failed, <-errs)
		}
		return failed
	}, true)
}

// costs are times and the servers' CPU.
type costs struct{ time, cpu *table }

// measure takes the time of something done n times, and the CPU it costs the
// server; with settle, also of what it leaves to be done.
func (t *costs) measure(s *server, metric string, n float64, work func() error, settle bool) error {
	cpu := s.running()
	began := time.Now()
	if err := work(); err != nil {
		return err
	}
	took := time.Since(began)
	if settle {
		if err := s.settle(); err != nil {
			return err
		}
	}
	t.time.add(s.name, metric, "ms", float64(took.Microseconds())/1000/n)
	t.cpu.add(s.name, metric, "ms", float64((s.running()-cpu).Microseconds())/1000/n)
	return nil
}

func (t *costs) print() {
	fmt.Printf("%-38s %10s %10s %7s  %10s %10s %7s\n", "median, ms", "posthouse", t.time.other, "ratio", "CPU", "", "ratio")
	for _, metric := range t.time.order {
		line := fmt.Sprintf("%-38s", metric)
		for _, one := range []*table{t.time, t.cpu} {
			p, pOK := median(one.values[metric]["posthouse"])
			d, dOK := median(one.values[metric][one.other])
			ratio := "-"
			if pOK && dOK && d != 0 {
				ratio = fmt.Sprintf("%.2f", p/d)
			}
			line += fmt.Sprintf(" %10s %10s %7s ", figure(p, pOK), figure(d, dOK), ratio)
		}
		fmt.Println(line)
	}
}
