package main

import (
	"context"
	"strings"
	"time"

	"posthouse/internal/events"
	"posthouse/smtp/queue"
)

type traceShowCmd struct {
	ID string `arg:"" help:"Id of the message: what the client heard in the reply, or from trace find; or its Message-ID field."`
	listFlags
}

// traceView is what trace show prints for programs.
type traceView struct {
	events.Message
	Events  []events.Event  `json:"events"`
	Waiting []queue.Waiting `json:"waiting"`
}

func (c *traceShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	log, err := s.trace()
	if err != nil {
		return err
	}
	defer log.Close()
	id := c.ID
	if strings.ContainsAny(id, "@<") {
		found, err := log.Messages(ctx, events.Query{HeaderID: id, Limit: 2})
		if err != nil {
			return err
		}
		if len(found) == 2 {
			return fail(exitConflict, "there are several messages with that Message-ID: see `posthouse trace find --message-id '%s'`, and show one by its id", id)
		}
		if len(found) == 1 {
			id = found[0].ID
		}
	}
	list, err := log.Events(ctx, id)
	if err != nil {
		return err
	}
	waiting, err := s.waiting(ctx, id)
	if err != nil {
		return err
	}
	if len(list) == 0 && len(waiting) == 0 {
		return fail(exitNotFound, "no message %s is known; look for it with `posthouse trace find`", c.ID)
	}
	v := traceView{events.Summarize(list), list, waiting}
	v.ID = id
	if c.JSON {
		return con.json(v)
	}
	return v.print(con)
}

func (v *traceView) print(con *console) error {
	head := [][2]string{{"message", v.ID}, {"from", or(v.From, "<>")}}
	for _, p := range [][2]string{{"subject", v.Subject}, {"message-id", v.HeaderID}} {
		if p[1] != "" {
			head = append(head, p)
		}
	}
	if err := con.fields(head); err != nil {
		return err
	}
	if err := con.say(""); err != nil {
		return err
	}
	for i := range v.Events {
		e := &v.Events[i]
		who := ""
		if e.Recipient != "" {
			who = e.Recipient + ": "
		}
		if err := con.say("%s  %s%s", e.At.Local().Format(time.DateTime), who, e.Describe()); err != nil {
			return err
		}
	}
	for i := range v.Waiting {
		if err := con.say("%s", waitsFor(&v.Waiting[i], time.Now())); err != nil {
			return err
		}
	}
	return nil
}
