package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// benchSearch measures SEARCH with every kind of needle in a mailbox of n
// messages of about 2 KB (default 10,000). The first search of the bodies is
// measured by itself: after it Posthouse indexes words, which is waited for. Where
// the servers find different numbers of messages that is said below the table:
// Posthouse also finds a phrase that is broken over two lines.
func benchSearch(o options) error {
	all, err := start(o)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if o.n == 0 {
		o.n = 10000
	}
	for _, s := range all {
		if err := fillWith(s, o.n, func(conn int) func() []byte { return newSearchCorpus(conn).next }); err != nil {
			return fmt.Errorf("%s: fill the mailbox: %w", s.name, err)
		}
		if err := s.settle(); err != nil {
			return err
		}
	}
	t := newTable("dovecot")
	found := make(map[string]map[string]int) // metric → server
	for round := range o.rounds {
		for _, s := range all {
			if err := searchRound(s, t, found, o.n, round); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Printf("mailbox of %d messages\n", o.n)
	t.print()
	for _, metric := range t.order {
		if by := found[metric]; len(by) == 2 && by["posthouse"] != by["dovecot"] {
			fmt.Printf("%s: posthouse finds %d, dovecot %d\n", metric, by["posthouse"], by["dovecot"])
		}
	}
	return nil
}

// searchCorpus makes mail with words that can be looked for: a ticket number of
// its own in each, and something that one in 500 has.
type searchCorpus struct {
	*corpus
	made, step int
}

func newSearchCorpus(conn int) *searchCorpus {
	return &searchCorpus{corpus: newCorpus(uint64(1000 + conn)), made: conn, step: fillConns}
}

func (c *searchCorpus) next() []byte {
	at := c.made
	c.made += c.step
	m := c.message(c.size(2000))
	head, body, _ := bytes.Cut(m, []byte("\r\n\r\n"))
	var b bytes.Buffer
	fmt.Fprintf(&b, "X-Ticket: tag%06d %s\r\n%s\r\n\r\nticket%06d\r\n", at, c.word(), head, at)
	if at%500 == 0 {
		b.WriteString("the foo-bar of a@b.c, 会議の資料を送ります。\r\n")
	}
	b.Write(body)
	return b.Bytes()
}

// needles are the searches, as (metric, program). The words of a corpus come more
// seldom the further behind they stand.
func needles(n int) [][2]string {
	w := newCorpus(1000).words
	return [][2]string{
		{"BODY rare word", fmt.Sprintf("BODY ticket%06d", n/2)},
		{"BODY seldom word", "BODY " + w[9000]},
		{"BODY common word", "BODY " + w[1]},
		{"BODY 1 letter", "BODY q"},
		{"BODY 2 letters", "BODY qj"},
		{"BODY word that is not there", "BODY nowhere"},
		{"BODY phrase of seldom words", fmt.Sprintf("BODY %q", w[700]+" "+w[300])},
		{"BODY phrase of common words", fmt.Sprintf("BODY %q", w[0]+" "+w[2])},
		{"BODY phrase of three words", fmt.Sprintf("BODY %q", w[0]+" "+w[5]+" "+w[3])},
		{"BODY foo-bar", `BODY "foo-bar"`},
		{"BODY a@b.c", `BODY "a@b.c"`},
		{"BODY comma", `BODY ", "`},
		{"BODY CJK", "CHARSET UTF-8 BODY {6+}\r\n会議"},
		{"TEXT rare word", fmt.Sprintf("TEXT ticket%06d", n/2)},
		{"TEXT rare word of a header", fmt.Sprintf("TEXT tag%06d", n/2)},
		{"TEXT common word", "TEXT " + w[1]},
		{"TEXT word that is not there", "TEXT nowhere"},
		{"TEXT phrase of common words", fmt.Sprintf("TEXT %q", w[0]+" "+w[2])},
		{"SUBJECT", "SUBJECT " + w[5000]},
		{"FROM", "FROM " + w[5000]},
		{"HEADER Message-ID", "HEADER Message-ID <17."},
		{"HEADER X", fmt.Sprintf("HEADER X-Ticket tag%06d", n/2)},
		{"HEADER X that is not there", "HEADER X-Nowhere word"},
	}
}

func searchRound(s *server, t *table, found map[string]map[string]int, n, round int) error {
	c, err := dialIMAP(s.imap, false, address(0))
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.do("SELECT INBOX"); err != nil {
		return err
	}
	list := needles(n)
	if round == 0 {
		list = append([][2]string{{"BODY, the first search ever", "BODY zqxjk"}}, list...)
	}
	for i, needle := range list {
		var answer bytes.Buffer
		began := time.Now()
		if _, _, err := c.run(&answer, "SEARCH %s", needle[1]); err != nil {
			return fmt.Errorf("%s: %w", needle[0], err)
		}
		t.add(s.name, needle[0], "ms", float64(time.Since(began).Microseconds())/1000)
		if found[needle[0]] == nil {
			found[needle[0]] = make(map[string]int)
		}
		found[needle[0]][s.name] = countFound(answer.Bytes())
		if round == 0 && i == 0 {
			if err := s.settleWords(); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleWords waits until Posthouse has indexed the words of all mail, and merged
// what it merges: nothing happened for three seconds.
func (s *server) settleWords() error {
	if err := s.settle(); err != nil || s.database == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	db, err := pgx.Connect(ctx, s.database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	last, since := "", time.Now()
	for time.Since(since) < 3*time.Second {
		var now string
		if err := db.QueryRow(ctx, `SELECT concat(count(*), '/', max(id)) FROM text_segment`).Scan(&now); err != nil {
			return err
		}
		if now != last {
			last, since = now, time.Now()
		}
		time.Sleep(100 * time.Millisecond)
	}
	var sizes string
	if err := db.QueryRow(ctx, `SELECT format('%s segments, octets a message: %s of words, %s of their places, %s of texts', count(*),
		sum(octet_length(vocab)) / sum(n), sum(octet_length(post)) / sum(n), (SELECT sum(octet_length(z) + octet_length(heads)) / sum(n) FROM text_pack)) FROM text_segment`).Scan(&sizes); err != nil {
		return err
	}
	fmt.Println(s.name+":", sizes)
	return nil
}

// countFound counts the numbers of a SEARCH response.
func countFound(answer []byte) int {
	_, numbers, _ := bytes.Cut(answer, []byte("* SEARCH"))
	line, _, _ := bytes.Cut(numbers, []byte("\r\n"))
	return len(bytes.Fields(line))
}
