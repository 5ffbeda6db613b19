package main

import (
	"context"
	"strconv"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

type apikeyCmd struct {
	Add  apikeyAddCmd  `cmd:"" help:"Make a key with which a program sends as an account over HTTP; it is printed once."`
	List apikeyListCmd `cmd:"" help:"List the keys."`
	Rm   apikeyRmCmd   `cmd:"" help:"Remove a key, which ends its use at once."`
}

// apikeyView is a key as the commands show it: not the key itself.
type apikeyView struct {
	ID      int64      `json:"id"`
	Account string     `json:"account"`
	Name    string     `json:"name"`
	Hint    string     `json:"hint"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"`
	Used    *time.Time `json:"used"`
}

func viewAPIKey(k directory.APIKey) apikeyView {
	return apikeyView{k.ID, k.Address.String(), k.Name, k.Hint, k.Created.UTC(), moment(k.Expires), moment(k.Used)}
}

// moment is t in UTC; nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func showMoment(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Format(time.RFC3339)
}

type apikeyAddCmd struct {
	Account string `arg:"" help:"The account's address."`
	Name    string `help:"What the key is for."`
	Expires string `help:"When it ends: a time (2027-01-31T00:00:00Z), a date, or a duration from now (90d, 12h). Without this it never does." placeholder:"WHEN"`
	JSON    bool   `name:"json" help:"Print JSON."`
	changeFlags
}

func (c *apikeyAddCmd) Run(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Account)
	if err != nil {
		return err
	}
	expires, err := parseEnd(c.Expires, time.Now())
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	secret, k, err := s.directory.AddAPIKey(c.context(ctx), addr, c.Name, expires)
	switch {
	case err != nil:
		return explain(err, "account", c.Account)
	case c.DryRun:
		return c.done(con, "", "make a key for "+c.Account)
	case c.JSON:
		return con.json(struct {
			Key string `json:"key"`
			apikeyView
		}{secret, viewAPIKey(k)})
	}
	// The key stands alone on stdout, so that a script can take it.
	return con.say("%s", secret)
}

// parseEnd reads the end of a key's life; zero for "".
func parseEnd(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if days, err := strconv.Atoi(s[:len(s)-1]); err == nil && s[len(s)-1] == 'd' && days > 0 && days < 100_000 {
		return now.AddDate(0, 0, days), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, fail(exitUsage, "%q is no end: write 2027-01-31, 2027-01-31T12:00:00Z, 90d or 12h", s)
}

type apikeyListCmd struct {
	Account string `arg:"" optional:"" help:"Only those of this account."`
	listFlags
}

func (c *apikeyListCmd) Run(ctx context.Context, con *console) error {
	var addr mail.Address
	if c.Account != "" {
		var err error
		if addr, err = parseAddress(c.Account); err != nil {
			return err
		}
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	keys, err := s.directory.APIKeys(ctx, addr)
	if err != nil {
		return explain(err, "account", c.Account)
	}
	views := make([]apikeyView, len(keys))
	rows := make([][]string, len(keys))
	for i, k := range keys {
		v := viewAPIKey(k)
		views[i] = v
		rows[i] = []string{strconv.FormatInt(v.ID, 10), v.Account, or(v.Name, "-"), v.Hint + "...", showMoment(v.Expires), showMoment(v.Used)}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("ID ACCOUNT NAME KEY EXPIRES USED", rows)
}

type apikeyRmCmd struct {
	ID int64 `arg:"" help:"The key's number, as list shows it."`
	changeFlags
}

func (c *apikeyRmCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	id := strconv.FormatInt(c.ID, 10)
	if err := s.directory.RemoveAPIKey(c.context(ctx), c.ID); err != nil {
		return explain(err, "apikey", id)
	}
	return c.done(con, "key "+id+" removed", "remove key "+id)
}
