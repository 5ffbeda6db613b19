package main

import (
	"context"
	"errors"
	"strings"

	"posthouse/mailstore"
)

type aclCmd struct {
	Set  aclSetCmd  `cmd:"" help:"Give somebody rights in a mailbox of an account."`
	Rm   aclRmCmd   `cmd:"" help:"Take somebody's entry out of the rights in a mailbox."`
	List aclListCmd `cmd:"" help:"List the rights in the mailboxes of an account."`
	Show aclShowCmd `cmd:"" help:"Show what an account sees of others' mailboxes."`
}

// allMailboxes is what stands for all mailboxes of an account.
const allMailboxes = "*"

// aclTarget is embedded by the commands that change rights.
type aclTarget struct {
	Address string `arg:"" help:"The account whose mailbox it is."`
	Mailbox string `arg:"" help:"The mailbox, for example INBOX; '*' for all that the account has."`
	Who     string `arg:"" help:"The address of an account, or anyone: everybody in the domain of the mailbox's account. With - before it the rights are taken away instead."`
}

// boxes are the mailboxes that a command is about.
func (t *aclTarget) boxes(ctx context.Context, s *site) ([]mailstore.Mailbox, error) {
	owner, err := s.account(ctx, t.Address)
	if err != nil {
		return nil, err
	}
	if t.Mailbox == allMailboxes {
		return s.store.Mailboxes(ctx, owner)
	}
	m, err := s.store.Mailbox(ctx, owner, t.Mailbox)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return nil, fail(exitNotFound, "%s has no mailbox %s; `posthouse account show %s` shows those that there are", t.Address, t.Mailbox, t.Address)
	}
	return []mailstore.Mailbox{m}, err
}

// account finds an account's key.
func (s *site) account(ctx context.Context, address string) (mailstore.AccountID, error) {
	addr, err := parseAddress(address)
	if err != nil {
		return 0, err
	}
	a, err := s.directory.Account(ctx, addr)
	return mailstore.AccountID(a.ID), explain(err, "account", address)
}

// grantee finds who an entry is about.
func (s *site) grantee(ctx context.Context, who string) (g mailstore.Grantee, err error) {
	name, negative := strings.CutPrefix(who, "-")
	g.Negative = negative
	if name != mailstore.Anyone {
		g.Account, err = s.account(ctx, name)
	}
	return g, err
}

// apply makes one change to each mailbox.
func (t *aclTarget) apply(ctx context.Context, con *console, f changeFlags, op mailstore.RightsOp, rights mailstore.Rights, past, conditional string) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	boxes, err := t.boxes(ctx, s)
	if err != nil {
		return err
	}
	who, err := s.grantee(ctx, t.Who)
	if err != nil {
		return err
	}
	for _, m := range boxes {
		if f.DryRun {
			break
		}
		if err := s.store.SetACL(ctx, m.ID, who, op, rights); err != nil {
			return err
		}
	}
	where := t.Mailbox + " of " + t.Address
	if t.Mailbox == allMailboxes {
		where = "all mailboxes of " + t.Address
	}
	return f.done(con, past+" in "+where, conditional+" in "+where)
}

type aclSetCmd struct {
	aclTarget
	Rights string `arg:"" help:"Letters of RFC 4314: l see it, r read, s \\Seen, w other flags, i insert, p send as a shared account, k create below, x delete it, t mark deleted, e expunge, a change rights. With + before them they are added, with - taken from those that are there."`
	changeFlags
}

func (c *aclSetCmd) Run(ctx context.Context, con *console) error {
	op, text := mailstore.SetRights, c.Rights
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		op, text = mailstore.AddRights, rest
	} else if rest, ok := strings.CutPrefix(text, "-"); ok {
		op, text = mailstore.RemoveRights, rest
	}
	rights, ok := mailstore.ParseRights(text)
	if !ok {
		return fail(exitUsage, "%q are no rights: write letters of lrswipkxtea", c.Rights)
	}
	return c.apply(ctx, con, c.changeFlags, op, rights, "rights "+c.Rights+" set for "+c.Who, "set rights "+c.Rights+" for "+c.Who)
}

type aclRmCmd struct {
	aclTarget
	changeFlags
}

func (c *aclRmCmd) Run(ctx context.Context, con *console) error {
	return c.apply(ctx, con, c.changeFlags, mailstore.SetRights, 0, "rights of "+c.Who+" removed", "remove the rights of "+c.Who)
}

// aclView is an entry as the commands show it.
type aclView struct {
	Mailbox string `json:"mailbox"`
	Who     string `json:"who,omitempty"`
	Rights  string `json:"rights"`
}

type aclListCmd struct {
	Address string `arg:"" help:"The account whose mailboxes they are."`
	Mailbox string `arg:"" optional:"" default:"*" help:"Only this mailbox."`
	listFlags
}

func (c *aclListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	boxes, err := (&aclTarget{Address: c.Address, Mailbox: c.Mailbox}).boxes(ctx, s)
	if err != nil {
		return err
	}
	views := []aclView{}
	for _, m := range boxes {
		list, err := s.store.ACL(ctx, m.ID)
		if err != nil {
			return err
		}
		for _, g := range list {
			if g.Account == m.Account && !g.Negative && g.Rights == mailstore.AllRights && c.Mailbox == allMailboxes {
				continue // as ever
			}
			views = append(views, aclView{m.Name, g.Identifier(), g.Rights.String()})
		}
	}
	return printRights(con, c.listFlags, views)
}

func printRights(con *console, f listFlags, views []aclView) error {
	if f.JSON {
		return con.json(views)
	}
	rows := make([][]string, len(views))
	for i, v := range views {
		rows[i] = []string{v.Mailbox, v.Who, v.Rights}
	}
	return con.table("MAILBOX WHO RIGHTS", rows)
}

type aclShowCmd struct {
	Address string `arg:"" help:"The account that sees them."`
	listFlags
}

func (c *aclShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	who, err := s.account(ctx, c.Address)
	if err != nil {
		return err
	}
	boxes, err := s.store.Visible(ctx, who)
	if err != nil {
		return err
	}
	views := make([]aclView, len(boxes))
	for i, m := range boxes {
		views[i] = aclView{Mailbox: m.Name, Rights: m.Rights.String()}
	}
	if c.JSON {
		return con.json(views)
	}
	rows := make([][]string, len(views))
	for i, v := range views {
		rows[i] = []string{v.Mailbox, v.Rights}
	}
	return con.table("MAILBOX RIGHTS", rows)
}
