package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

type suppressCmd struct {
	List suppressListCmd `cmd:"" help:"List the addresses that the HTTP API sends nothing to."`
	Add  suppressAddCmd  `cmd:"" help:"Put an address on the list."`
	Rm   suppressRmCmd   `cmd:"" help:"Take an address off the list."`
}

type suppressListCmd struct {
	Account string `help:"Only the entries of this account; site: only those of the whole site." placeholder:"ADDRESS"`
	Address string `help:"Only addresses that contain this." placeholder:"TEXT"`
	Reason  string `help:"Only for this reason: bounced, complained, unsubscribed, manual." enum:",bounced,complained,unsubscribed,manual" default:""`
	Limit   int    `help:"How many at most." default:"1000"`
	listFlags
}

func (c *suppressListCmd) Run(ctx context.Context, con *console) error {
	if c.Limit < 1 || c.Limit > events.MaxLimit {
		return fail(exitUsage, "--limit %d: take 1 to %d", c.Limit, events.MaxLimit)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	q := events.SuppressionQuery{Contains: c.Address, Reason: events.Reason(c.Reason), Limit: c.Limit}
	if q.SiteToo = c.Account == "site"; !q.SiteToo {
		if q.Account, err = s.accountID(ctx, c.Account); err != nil {
			return err
		}
	}
	list, err := events.NewSuppressions(s.pool).List(ctx, q)
	if err != nil {
		return err
	}
	if c.JSON {
		return con.json(append([]events.Suppression{}, list...))
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{e.Address, or(e.Account, "site"), or(e.List, "-"), string(e.Reason), e.Added.Local().Format(time.DateTime), e.Note}
	}
	return con.table("ADDRESS ACCOUNT LIST REASON SINCE NOTE", rows)
}

type suppressAddCmd struct {
	Address string `arg:"" help:"The address to send nothing to."`
	Account string `help:"Only what this account sends; without it, what anybody does." placeholder:"ADDRESS"`
	ForList string `name:"list" help:"Only what is sent for this list." placeholder:"NAME"`
	Note    string `help:"Why." placeholder:"TEXT"`
	changeFlags
}

func (c *suppressAddCmd) Run(ctx context.Context, con *console) error {
	return c.suppression(ctx, con, c.Address, c.Account, func(ctx context.Context, s *site, addr mail.Address, account int64) (string, string, error) {
		conditional := "put " + c.Address + " on the suppression list"
		if c.DryRun {
			return "", conditional, nil
		}
		added, err := events.NewSuppressions(s.pool).Add(ctx, addr, events.Suppression{AccountID: account, List: c.ForList, Reason: events.ReasonManual, Note: c.Note})
		if err != nil {
			return "", "", err
		}
		if !added {
			return "", "", fail(exitConflict, "%s is on the suppression list already; `posthouse suppress list --address %s` says why", c.Address, c.Address)
		}
		return c.Address + " is on the suppression list", conditional, nil
	})
}

type suppressRmCmd struct {
	Address string `arg:"" help:"The address to send to again."`
	Account string `help:"The account whose entry it is; without it, that of the whole site." placeholder:"ADDRESS"`
	changeFlags
}

func (c *suppressRmCmd) Run(ctx context.Context, con *console) error {
	return c.suppression(ctx, con, c.Address, c.Account, func(ctx context.Context, s *site, addr mail.Address, account int64) (string, string, error) {
		list := events.NewSuppressions(s.pool)
		var err error
		if c.DryRun {
			var found []events.Suppression
			found, err = list.List(ctx, events.SuppressionQuery{Account: account, SiteToo: account == 0, Contains: events.SuppressionKey(addr)})
			if err == nil && len(found) == 0 {
				err = events.ErrNotFound
			}
		} else {
			_, err = list.Remove(ctx, account, addr)
		}
		if errors.Is(err, events.ErrNotFound) {
			err = fail(exitNotFound, "%s is not on %s; `posthouse suppress list --address %s` shows where it is", c.Address, suppressionOf(c.Account), c.Address)
		}
		return c.Address + " is off " + suppressionOf(c.Account), "take " + c.Address + " off " + suppressionOf(c.Account), err
	})
}

func suppressionOf(account string) string {
	if account == "" {
		return "the site's suppression list"
	}
	return fmt.Sprintf("the suppression list of %s", account)
}

// suppression opens the site and applies a change to the entry of addr.
func (f changeFlags) suppression(ctx context.Context, con *console, address, account string, change func(context.Context, *site, mail.Address, int64) (past, conditional string, err error)) error {
	addr, err := parseAddress(address)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	id, err := s.accountID(ctx, account)
	if err != nil {
		return err
	}
	past, conditional, err := change(ctx, s, addr, id)
	if err != nil {
		return err
	}
	return f.done(con, past, conditional)
}
