package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/events"
)

type hookCmd struct {
	Add    hookAddCmd    `cmd:"" help:"Tell a URL of events, by POST. The secret that signs the requests is printed once."`
	List   hookListCmd   `cmd:"" help:"List the webhooks."`
	Show   hookShowCmd   `cmd:"" help:"Show a webhook and its latest failures."`
	Test   hookTestCmd   `cmd:"" help:"Send a made-up event to a webhook, now and from here."`
	Enable hookEnableCmd `cmd:"" help:"Let a webhook go on that was disabled or is left alone because it fails."`
	Rm     hookRmCmd     `cmd:"" help:"Remove a webhook."`
}

// hooks opens the webhooks of a site for a command.
func (s *site) hooks(ctx context.Context) (*events.Hooks, error) {
	_, shared, err := s.key(ctx)
	if err != nil {
		return nil, err
	}
	return events.NewHooks(s.pool, events.HookOptions{Key: shared, AllowPrivate: s.config.Local})
}

// withHooks runs fn on the webhooks of the site.
func (con *console) withHooks(ctx context.Context, fn func(*site, *events.Hooks) error) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	h, err := s.hooks(ctx)
	if err != nil {
		return err
	}
	return fn(s, h)
}

// explainHook gives an error its exit code.
func explainHook(err error, id int64) error {
	switch {
	case errors.Is(err, events.ErrNotFound):
		return fail(exitNotFound, "hook %d does not exist; `posthouse hook list` shows those that do", id)
	case errors.Is(err, events.ErrInvalid):
		return fail(exitUsage, "%w", err)
	case errors.Is(err, events.ErrNoKey):
		return fail(exitConfig, "%w", err)
	}
	return err
}

type hookAddCmd struct {
	URL          string   `arg:"" help:"Where events are sent: https://…"`
	Kinds        []string `help:"Of what: received, stored, delivered, deferred, bounced, suppressed, complained (default: what becomes of mail that was sent)." placeholder:"KIND"`
	Account      string   `help:"Only of mail that this account submitted." placeholder:"ADDRESS"`
	AllowPrivate bool     `help:"The URL may lead into a private network, and begin with http."`
	JSON         bool     `name:"json" help:"Print JSON."`
	changeFlags
}

func (c *hookAddCmd) Run(ctx context.Context, con *console) error {
	return con.withHooks(ctx, func(s *site, hooks *events.Hooks) error {
		hook := events.Hook{URL: c.URL, AllowPrivate: c.AllowPrivate}
		var err error
		if hook.Kinds, err = parseKinds(c.Kinds, events.HookKinds); err != nil {
			return err
		}
		if hook.AccountID, err = s.accountID(ctx, c.Account); err != nil {
			return err
		}
		if c.DryRun {
			if err := hooks.Check(hook); err != nil {
				return explainHook(err, 0)
			}
			return c.done(con, "", "tell "+c.URL+" of events")
		}
		made, secret, err := hooks.Add(ctx, hook)
		if err != nil {
			return explainHook(err, 0)
		}
		if c.JSON {
			return con.json(struct {
				events.Hook
				Secret string `json:"secret"`
			}{made, secret})
		}
		return con.say("hook %d tells %s of %s\nsecret  %s\nThe secret signs each request and is not shown again; docs/webhooks.md says how to check it.", made.ID, made.URL, kindList(made.Kinds), secret)
	})
}

// accountID finds the account with an address; 0 for none.
func (s *site) accountID(ctx context.Context, address string) (int64, error) {
	if address == "" {
		return 0, nil
	}
	addr, err := parseAddress(address)
	if err != nil {
		return 0, err
	}
	a, err := s.directory.Account(ctx, addr)
	if err != nil {
		return 0, explain(err, "account", address)
	}
	return a.ID, nil
}

func kindList(kinds []events.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// hookState says how a hook does.
func hookState(h *events.Hook, now time.Time) string {
	switch {
	case h.Disabled != nil:
		return "disabled: " + h.DisabledWhy
	case h.BlockedUntil != nil && h.BlockedUntil.After(now):
		return "fails since " + h.FailingSince.Local().Format(time.DateTime) + ", tried next at " + h.BlockedUntil.Local().Format(time.DateTime)
	case h.FailingSince != nil:
		return "fails since " + h.FailingSince.Local().Format(time.DateTime)
	}
	return "ok"
}

type hookListCmd struct {
	Account string `help:"Only those of this account." placeholder:"ADDRESS"`
	listFlags
}

func (c *hookListCmd) Run(ctx context.Context, con *console) error {
	return con.withHooks(ctx, func(s *site, hooks *events.Hooks) error {
		account, err := s.accountID(ctx, c.Account)
		if err != nil {
			return err
		}
		list, err := hooks.List(ctx, account)
		if err != nil {
			return err
		}
		if c.JSON {
			return con.json(append([]events.Hook{}, list...))
		}
		rows := make([][]string, len(list))
		for i := range list {
			h := &list[i]
			rows[i] = []string{strconv.FormatInt(h.ID, 10), h.URL, or(h.Account, "all"), kindList(h.Kinds), strconv.FormatInt(h.Waiting, 10), hookState(h, time.Now())}
		}
		return con.table("ID URL ACCOUNT KINDS WAITING STATE", rows)
	})
}

type hookShowCmd struct {
	ID    int64 `arg:"" help:"Number of the hook."`
	Limit int   `help:"How many failures at most." default:"10"`
	listFlags
}

func (c *hookShowCmd) Run(ctx context.Context, con *console) error {
	return con.withHooks(ctx, func(_ *site, hooks *events.Hooks) error {
		h, err := hooks.Hook(ctx, c.ID)
		if err != nil {
			return explainHook(err, c.ID)
		}
		failures, err := hooks.Failures(ctx, c.ID, max(0, min(c.Limit, events.MaxLimit)))
		if err != nil {
			return err
		}
		if c.JSON {
			return con.json(struct {
				events.Hook
				Failures []events.HookFailure `json:"failures"`
			}{h, append([]events.HookFailure{}, failures...)})
		}
		private := "no"
		if h.AllowPrivate {
			private = "yes"
		}
		if err := con.fields([][2]string{
			{"url", h.URL}, {"kinds", kindList(h.Kinds)}, {"account", or(h.Account, "all")}, {"state", hookState(&h, time.Now())},
			{"waiting", strconv.FormatInt(h.Waiting, 10)}, {"given up", strconv.FormatInt(h.GivenUp, 10)},
			{"last success", showMoment(h.Succeeded)}, {"private networks", private},
		}); err != nil {
			return err
		}
		for i := range failures {
			if err := con.say("%s", failureLine(&failures[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

func failureLine(f *events.HookFailure) string {
	what := f.Error
	if f.Code != 0 {
		what = strconv.Itoa(f.Code) + " " + what
	}
	next := "tried next"
	at := f.Next
	if f.GivenUp != nil {
		next, at = "given up", f.GivenUp
	}
	return fmt.Sprintf("%s  event %d of message %s, attempt %d: %s; %s at %s", f.Tried.Local().Format(time.DateTime), f.Event, or(f.Message, "-"),
		f.Attempts, what, next, at.Local().Format(time.DateTime))
}

type hookTestCmd struct {
	ID int64 `arg:"" help:"Number of the hook."`
}

func (c *hookTestCmd) Run(ctx context.Context, con *console) error {
	return con.withHooks(ctx, func(_ *site, hooks *events.Hooks) error {
		code, err := hooks.Test(ctx, c.ID)
		if err != nil {
			return explainHook(err, c.ID)
		}
		return con.say("hook %d took the test event: %d", c.ID, code)
	})
}

type hookEnableCmd struct {
	ID int64 `arg:"" help:"Number of the hook."`
	changeFlags
}

func (c *hookEnableCmd) Run(ctx context.Context, con *console) error {
	return c.on(ctx, con, c.ID, (*events.Hooks).Enable, "enabled", "enable")
}

type hookRmCmd struct {
	ID int64 `arg:"" help:"Number of the hook."`
	changeFlags
}

func (c *hookRmCmd) Run(ctx context.Context, con *console) error {
	return c.on(ctx, con, c.ID, (*events.Hooks).Remove, "removed", "remove")
}

// on changes a hook.
func (f changeFlags) on(ctx context.Context, con *console, id int64, change func(*events.Hooks, context.Context, int64) error, past, verb string) error {
	return con.withHooks(ctx, func(_ *site, hooks *events.Hooks) error {
		if f.DryRun {
			if _, err := hooks.Hook(ctx, id); err != nil {
				return explainHook(err, id)
			}
		} else if err := change(hooks, ctx, id); err != nil {
			return explainHook(err, id)
		}
		return f.done(con, fmt.Sprintf("hook %d %s", id, past), fmt.Sprintf("%s hook %d", verb, id))
	})
}
