package main

import (
	"fmt"
	"time"
)

// benchMailbox measures reading and changing a mailbox of n messages of about 2
// KB (default 10,000), first access and again.
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
	t := newTable("dovecot")
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

// step is a timed command; "first" steps are reported for round 0 alone.
type step struct {
	metric, command string
	first           bool
	settle          bool // what it sets off in the background is waited for
}

const subset = "BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT MESSAGE-ID)]"

func mailboxRound(s *server, t *table, n, round int) error {
	c, err := dialIMAP(s.imap, false, address(0))
	if err != nil {
		return err
	}
	defer c.close()
	steps := []step{
		{"SELECT and first FETCH FLAGS, cold", "SELECT INBOX\x00FETCH 1:* (UID FLAGS)", true, false},
		{"FETCH ENVELOPE, first access", "FETCH 1:* (UID ENVELOPE)", true, false},
		{"FETCH header subset, first access", "FETCH 1:* (UID " + subset + ")", true, false},
		{"SELECT, warm", "SELECT INBOX", false, false},
		{"SELECT and first FETCH of one, warm", "SELECT INBOX\x00FETCH 1 (FLAGS)", false, false},
		{"FETCH FLAGS", "FETCH 1:* (UID FLAGS)", false, false},
		{"FETCH FLAGS and size", "FETCH 1:* (UID FLAGS RFC822.SIZE)", false, false},
		{"FETCH ENVELOPE", "FETCH 1:* (UID ENVELOPE)", false, false},
		{"FETCH BODYSTRUCTURE", "FETCH 1:* (UID BODYSTRUCTURE)", false, false},
		{"FETCH header subset", "FETCH 1:* (UID " + subset + ")", false, false},
		{"FETCH 1,000 bodies", "UID FETCH 1:1000 (BODY.PEEK[])", false, false},
		{"STORE 10k flags", fmt.Sprintf("STORE 1:%d %sFLAGS.SILENT (\\Flagged)", min(n, 10000), []string{"+", "-"}[round%2]), false, false},
		{"SEARCH SUBJECT", "SEARCH SUBJECT \"ester\"", false, false},
		{"SEARCH BODY, first", "SEARCH BODY \"qzxkj\"", true, true},
		{"SEARCH BODY, rare", "SEARCH BODY \"zqxjk\"", false, false},
		{"SEARCH BODY, common", "SEARCH BODY \"eta\"", false, false},
	}
	if err := c.create(round); err != nil {
		return err
	}
	steps = append(steps,
		step{"COPY 1,000", fmt.Sprintf("COPY 1:1000 copy%d", round), false, false},
		step{"SELECT copies, EXPUNGE 1,000", fmt.Sprintf("SELECT copy%d\x00STORE 1:* +FLAGS.SILENT (\\Deleted)\x00EXPUNGE", round), false, false})
	for _, st := range steps {
		if st.first && round > 0 {
			continue
		}
		took, err := c.timed(st.command)
		if err != nil {
			return fmt.Errorf("%s: %w", st.metric, err)
		}
		t.add(s.name, st.metric, "ms", float64(took.Microseconds())/1000)
		if st.settle {
			if err := s.settle(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *imapConn) create(round int) error {
	_, err := c.do("CREATE copy%d", round)
	return err
}

// timed runs commands parted by NUL, one after the other.
func (c *imapConn) timed(commands string) (time.Duration, error) {
	began := time.Now()
	for command := range splitNUL(commands) {
		if _, err := c.do("%s", command); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
