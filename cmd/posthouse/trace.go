package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/events"
)

type traceCmd struct {
	Find traceFindCmd `cmd:"" help:"Find mail by its addresses, subject or Message-ID, newest first."`
	Show traceShowCmd `cmd:"" help:"Say what happened to a message, to each of its recipients."`
}

// trace opens the event log of a site for a command.
func (s *site) trace() (*events.Log, error) {
	return events.Open(s.pool, events.Options{Node: "command"})
}

type traceFindCmd struct {
	From      string   `help:"Sender: an address, a domain, or a part of one." placeholder:"ADDRESS"`
	To        string   `help:"Recipient: an address, a domain, or a part of one." placeholder:"ADDRESS"`
	MessageID string   `name:"message-id" help:"Message-ID field of the mail." placeholder:"ID"`
	Subject   string   `help:"A part of the subject." placeholder:"TEXT"`
	Account   string   `help:"Only what this account submitted." placeholder:"ADDRESS"`
	Since     string   `help:"Not before: 2h, 7d, 2026-11-24, or 2026-11-24T08:30:00Z." placeholder:"WHEN"`
	Until     string   `help:"Not after." placeholder:"WHEN"`
	Kind      []string `help:"Only mail to which this happened: received, refused, stored, queued, delivered, deferred, bounced, suppressed, complained, held, …" placeholder:"KIND"`
	Limit     int      `help:"How many messages at most." default:"20"`
	listFlags
}

func (c *traceFindCmd) query(ctx context.Context, s *site) (events.Query, error) {
	q := events.Query{From: c.From, Recipient: c.To, HeaderID: c.MessageID, Subject: c.Subject, Limit: c.Limit}
	if c.Limit < 1 || c.Limit > events.MaxLimit {
		return q, fail(exitUsage, "--limit %d: take 1 to %d", c.Limit, events.MaxLimit)
	}
	var err error
	if q.Since, err = parseWhen("--since", c.Since); err != nil {
		return q, err
	}
	if q.Until, err = parseWhen("--until", c.Until); err != nil {
		return q, err
	}
	if q.Kinds, err = parseKinds(c.Kind, events.Kinds); err != nil {
		return q, err
	}
	q.Account, err = s.accountID(ctx, c.Account)
	return q, err
}

func (c *traceFindCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	q, err := c.query(ctx, s)
	if err != nil {
		return err
	}
	log, err := s.trace()
	if err != nil {
		return err
	}
	defer log.Close()
	found, err := log.Messages(ctx, q)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fail(exitNotFound, "no mail is known that fits: it never came here, or longer ago than events are kept, or was refused at once for all its recipients, which only the log tells (`posthouse trace find` without flags lists the latest)")
	}
	if c.JSON {
		return con.json(found)
	}
	var rows [][]string
	for _, m := range found {
		rows = append(rows, traceRows(m)...)
	}
	return con.table("ID TIME FROM TO STATUS SUBJECT", rows)
}

// traceRows shows a message in a row for each recipient, at most ten.
func traceRows(m events.Message) [][]string {
	first := []string{m.ID, m.At.Local().Format(time.DateTime), or(m.From, "<>"), "", "", m.Subject}
	rows := [][]string{}
	for i, r := range m.Recipients {
		row := []string{"", "", "", r.Address, traceStatus(&r.Last), ""}
		if i == 0 {
			row = append(first[:3:3], r.Address, traceStatus(&r.Last), m.Subject)
		}
		if i == 10 {
			return append(rows, []string{"", "", "", fmt.Sprintf("… and %d more", len(m.Recipients)-i), "", ""})
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		rows = append(rows, first)
	}
	return rows
}

// traceStatus is a word, and the reply where there was one.
func traceStatus(e *events.Event) string {
	words := []string{string(e.Kind)}
	if e.Code != 0 {
		words = append(words, strconv.Itoa(e.Code))
	}
	if e.Enhanced != "" {
		words = append(words, e.Enhanced)
	}
	return strings.Join(words, " ")
}

// parseWhen reads a time: how long ago, a date, or a time in full. Empty is zero.
func parseWhen(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	ago := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			return time.Now().AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", time.DateTime} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fail(exitUsage, "%s %q is not a time: write 2h or 7d for that long ago, a date such as 2026-11-24, or 2026-11-24T08:30:00Z", flag, s)
	}
	return t, nil
}

// parseKinds reads kinds of events, of those allowed.
func parseKinds(names []string, allowed []events.Kind) ([]events.Kind, error) {
	var kinds []events.Kind
names:
	for _, name := range names {
		for _, k := range allowed {
			if strings.EqualFold(name, string(k)) {
				kinds = append(kinds, k)
				continue names
			}
		}
		all := make([]string, len(allowed))
		for i, k := range allowed {
			all[i] = string(k)
		}
		return nil, fail(exitUsage, "%q is not a kind of event: take one of %s", name, strings.Join(all, ", "))
	}
	return kinds, nil
}
