package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"posthouse/smtp/queue"
)

type queueCmd struct {
	List queueListCmd `cmd:"" help:"List the mail that waits to leave, oldest first."`
}

// queuePage is how many entries are read at once.
const queuePage = 1000

type queueListCmd struct {
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
	q := queue.New(s.pool)
	entries := []queue.Entry{}
	for after := int64(0); len(entries) < c.Limit; {
		page, err := q.List(ctx, after, min(queuePage, c.Limit-len(entries)))
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		entries = append(entries, page...)
		after = page[len(page)-1].ID
	}
	if c.JSON {
		return con.json(entries)
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		state := "due " + e.Next.Format(time.DateTime)
		if e.Held {
			state = "held"
		}
		rows[i] = []string{strconv.FormatInt(e.ID, 10), e.Ref, or(e.From, "<>"), strings.Join(e.Recipients, ", "), strconv.FormatInt(e.Size, 10), state}
	}
	return con.table("ID MESSAGE FROM TO SIZE STATE", rows)
}
