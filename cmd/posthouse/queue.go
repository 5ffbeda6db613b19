package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/config"
	"posthouse/smtp/queue"
)

type queueCmd struct {
	List    queueListCmd    `cmd:"" help:"List the mail that waits to leave, oldest first, with the reason."`
	Show    queueShowCmd    `cmd:"" help:"Show one message: each recipient, why it waits, when it is tried next."`
	Retry   queueRetryCmd   `cmd:"" help:"Try now, whatever the schedule says."`
	Hold    queueHoldCmd    `cmd:"" help:"Keep mail back until it is released."`
	Release queueReleaseCmd `cmd:"" help:"Let go what was held."`
	Bounce  queueBounceCmd  `cmd:"" help:"Give mail up: its senders get a report."`
}

// queueFilter are the flags that select mail.
type queueFilter struct {
	Sender      string `help:"Only mail with this reverse-path; @DOMAIN for all of a domain, <> for reports." placeholder:"ADDR"`
	Recipient   string `help:"Only for this recipient; @DOMAIN for all of a domain." placeholder:"ADDR"`
	Domain      string `help:"Only for recipients of this domain."`
	Destination string `help:"Only what goes to this destination: a domain, or relay:NAME." placeholder:"NAME"`
	Account     string `help:"Only what this account submitted." placeholder:"ADDR"`
	Message     string `help:"Only the message that the client was given this id for." placeholder:"ID"`
	OlderThan   string `help:"Only what was accepted longer ago than this: 90s, 4h, 2d." placeholder:"TIME"`
	Held        bool   `help:"Only what is held."`
	Deferred    bool   `help:"Only what was tried in vain."`
}

// filter makes it one of the queue's.
func (c *queueFilter) filter(ctx context.Context, s *site, ids []int64) (queue.Filter, error) {
	f := queue.Filter{IDs: ids, Ref: c.Message, Sender: c.Sender, Recipient: c.Recipient, Destination: strings.ToLower(c.Destination), Held: c.Held, Deferred: c.Deferred}
	if c.Domain != "" {
		if f.Recipient != "" {
			return f, fail(exitUsage, "--domain and --recipient say the same: give one of them")
		}
		f.Recipient = "@" + strings.TrimPrefix(c.Domain, "@")
	}
	if c.OlderThan != "" {
		var err error
		if f.OlderThan, err = config.ParseDuration(c.OlderThan); err != nil || f.OlderThan <= 0 {
			return f, fail(exitUsage, "--older-than %s: write a time such as 90s, 4h or 2d", c.OlderThan)
		}
	}
	if c.Account != "" {
		addr, err := parseAddress(c.Account)
		if err != nil {
			return f, err
		}
		a, err := s.directory.Account(ctx, addr)
		if err != nil {
			return f, explain(err, "account", c.Account)
		}
		f.Account = a.ID
	}
	return f, nil
}

// selects reports whether any flag is given.
func (c *queueFilter) selects() bool { return *c != queueFilter{} }

// queuePage is how many entries are read at once.
const queuePage = 1000

type queueListCmd struct {
	queueFilter
	Limit int `help:"How many at most." default:"1000"`
	listFlags
}

func (c *queueListCmd) Run(ctx context.Context, con *console) error {
	if c.Limit < 1 {
		return fail(exitUsage, "--limit %d: take 1 or more", c.Limit)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	f, err := c.filter(ctx, s, nil)
	if err != nil {
		return err
	}
	q := queue.New(queue.Config{Pool: s.pool})
	entries := []queue.Entry{}
	for len(entries) < c.Limit {
		f.Limit = min(queuePage, c.Limit-len(entries))
		page, err := q.List(ctx, f)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		entries = append(entries, page...)
		f.After = page[len(page)-1].ID
	}
	if c.JSON {
		return con.json(entries)
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		rows[i] = []string{strconv.FormatInt(e.ID, 10), e.Ref, or(e.From, "<>"), brief(e.Recipients), strconv.FormatInt(e.Size, 10), ago(e.Created), stateOf(e.State, e.Next), e.Reason}
	}
	return con.table("ID MESSAGE FROM TO SIZE AGE STATE REASON", rows)
}

// brief names the first recipients.
func brief(list []string) string {
	if len(list) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
	}
	return strings.Join(list, ", ")
}

// ago is an age for people.
func ago(t time.Time) string { return rough(time.Since(t)) }

// rough is a time in its two largest units.
func rough(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return d.String()
}

// stateOf says what a recipient waits for.
func stateOf(state string, next time.Time) string {
	switch state {
	case "held", "sending", "bouncing":
		return state
	}
	if d := time.Until(next); d > time.Second {
		return fmt.Sprintf("%s, next in %s", state, rough(d))
	}
	return state + ", due now"
}

type queueShowCmd struct {
	ID int64 `arg:"" help:"The number of the message in queue list."`
	listFlags
}

func (c *queueShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := queue.New(queue.Config{Pool: s.pool}).Show(ctx, c.ID)
	if errors.Is(err, queue.ErrNotFound) {
		return fail(exitNotFound, "message %d is not in the queue; `posthouse queue list` shows what is, `posthouse trace find` what was", c.ID)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return con.json(d)
	}
	pairs := [][2]string{{"id", strconv.FormatInt(d.ID, 10)}, {"message", d.Ref}, {"from", or(d.From, "<>")}}
	if d.Via != "" {
		pairs = append(pairs, [2]string{"forwarded by", d.Via})
	}
	pairs = append(pairs, [2]string{"size", strconv.FormatInt(d.Size, 10)},
		[2]string{"accepted", fmt.Sprintf("%s, %s ago, for %d recipients of which %d wait", d.Created.Format(time.DateTime), ago(d.Created), d.Accepted, len(d.Waiting))})
	if d.Priority != 0 {
		pairs = append(pairs, [2]string{"priority", strconv.Itoa(d.Priority)})
	}
	if d.HoldUntil != nil {
		pairs = append(pairs, [2]string{"not before", d.HoldUntil.Format(time.DateTime)})
	}
	if d.DeliverBy != nil {
		pairs = append(pairs, [2]string{"deliver by", d.DeliverBy.Format(time.DateTime)})
	}
	for _, w := range d.Waiting {
		pairs = append(pairs, [2]string{"", ""}, [2]string{"recipient", w.Address})
		if w.Destination != w.Address[strings.LastIndexByte(w.Address, '@')+1:] {
			pairs = append(pairs, [2]string{"by way of", w.Destination})
		}
		pairs = append(pairs, [2]string{"state", stateOf(w.State, w.Next)})
		if w.Tried != nil {
			pairs = append(pairs, [2]string{"last tried", fmt.Sprintf("%s, %s ago, attempts: %d", w.Tried.Format(time.DateTime), ago(*w.Tried), w.Attempts)})
		}
		if w.Reason != "" {
			pairs = append(pairs, [2]string{"reason", w.Reason})
		}
		if w.Backoff != nil {
			pairs = append(pairs, [2]string{"destination", fmt.Sprintf("does not answer (%d times in a row), left alone for %s", w.Failures, rough(time.Until(*w.Backoff)))})
		}
	}
	return con.fields(pairs)
}

// queueSelection is what the commands that change the queue are told.
type queueSelection struct {
	IDs []int64 `arg:"" optional:"" name:"id" help:"Numbers of messages in queue list."`
	queueFilter
	All bool `help:"All of the queue."`
	changeFlags
	listFlags
}

// run carries out a change on what is selected.
func (c *queueSelection) run(ctx context.Context, con *console, past, conditional string, change func(*queue.Queue, queue.Filter, queue.Operator) (queue.Change, error)) error {
	if len(c.IDs) == 0 && !c.selects() && !c.All {
		return fail(exitUsage, "say which mail: numbers from `posthouse queue list`, flags such as --domain, or --all")
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	f, err := c.filter(ctx, s, c.IDs)
	if err != nil {
		return err
	}
	trace, err := s.trace()
	if err != nil {
		return err
	}
	defer trace.Close()
	done, err := change(queue.New(queue.Config{Pool: s.pool}), f, queue.Operator{DryRun: c.DryRun, Events: trace})
	if err != nil {
		return err
	}
	if len(c.IDs) > 0 && done.Messages == 0 {
		return fail(exitNotFound, "no such mail in the queue, or nothing to change about it; `posthouse queue list` shows what there is")
	}
	if c.JSON {
		return con.json(struct {
			queue.Change
			DryRun bool `json:"dry_run"`
		}{done, c.DryRun})
	}
	what := fmt.Sprintf("%d recipients of %d messages", done.Recipients, done.Messages)
	return c.done(con, what+" "+past, conditional+" "+what)
}

type queueRetryCmd struct{ queueSelection }

func (c *queueRetryCmd) Run(ctx context.Context, con *console) error {
	return c.run(ctx, con, "are tried now", "try now", func(q *queue.Queue, f queue.Filter, op queue.Operator) (queue.Change, error) {
		return q.Retry(ctx, f, op)
	})
}

type queueHoldCmd struct{ queueSelection }

func (c *queueHoldCmd) Run(ctx context.Context, con *console) error {
	return c.run(ctx, con, "held", "hold", func(q *queue.Queue, f queue.Filter, op queue.Operator) (queue.Change, error) {
		return q.Hold(ctx, f, op)
	})
}

type queueReleaseCmd struct{ queueSelection }

func (c *queueReleaseCmd) Run(ctx context.Context, con *console) error {
	return c.run(ctx, con, "released", "release", func(q *queue.Queue, f queue.Filter, op queue.Operator) (queue.Change, error) {
		return q.Release(ctx, f, op)
	})
}

type queueBounceCmd struct {
	queueSelection
	Text string `help:"What the senders are told." default:"Given up by the postmaster"`
}

func (c *queueBounceCmd) Run(ctx context.Context, con *console) error {
	return c.run(ctx, con, "bounce", "bounce", func(q *queue.Queue, f queue.Filter, op queue.Operator) (queue.Change, error) {
		return q.Bounce(ctx, f, c.Text, op)
	})
}
