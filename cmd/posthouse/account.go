package main

import (
	"context"
	"strconv"
	"strings"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

type accountCmd struct {
	Add       accountAddCmd       `cmd:"" help:"Add an account to a domain."`
	List      accountListCmd      `cmd:"" help:"List the accounts."`
	Show      accountShowCmd      `cmd:"" help:"Show an account."`
	Passwd    accountPasswdCmd    `cmd:"" help:"Change the password, which ends every open session."`
	Disable   accountDisableCmd   `cmd:"" help:"Refuse its logins and mail, and end every open session."`
	Enable    accountEnableCmd    `cmd:"" help:"Undo disable."`
	Rm        accountRmCmd        `cmd:"" help:"Remove an account and all its mail."`
	Quota     accountQuotaCmd     `cmd:"" help:"Limit what an account may keep."`
	Retention accountRetentionCmd `cmd:"" help:"Say what a deletion by POP3 does."`
	Limits    accountLimitsCmd    `cmd:"" help:"Limit to how many recipients an account writes."`
	Block     accountBlockCmd     `cmd:"" help:"Refuse what an account sends; it can still log in and read."`
	Unblock   accountUnblockCmd   `cmd:"" help:"Undo block, the server's own too."`
	Link      accountLinkCmd      `cmd:"" help:"Make a link by which the password is set, once."`

	Capabilities accountCapabilitiesCmd `cmd:"" help:"What IMAP can do that its mail programs are not told of."`
}

// accountView is an account as the commands show it.
type accountView struct {
	Address       string `json:"address"`
	Disabled      bool   `json:"disabled"`
	QuotaBytes    *int64 `json:"quota_bytes"`
	QuotaMessages *int64 `json:"quota_messages"`
	Retention     string `json:"retention"`
	Pop3MarksSeen bool   `json:"pop3_marks_seen"`
	SendBlocked   bool   `json:"sending_blocked"`
	Shared        bool   `json:"shared"`
}

func viewAccount(a directory.Account) accountView {
	return accountView{a.Address.String(), a.Disabled, a.QuotaBytes, a.QuotaMessages, a.Retention.String(), a.Pop3MarksSeen, a.SendBlocked, a.Shared}
}

func (v accountView) state() string {
	if v.Disabled {
		return "disabled"
	}
	if v.SendBlocked {
		return "sending-blocked"
	}
	if v.Shared {
		return "shared"
	}
	return "active"
}

// parseAddress is mail.ParseAddress for arguments.
func parseAddress(s string) (mail.Address, error) {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return mail.Address{}, fail(exitUsage, "%q is not a mail address: write user@domain", s)
	}
	return a, nil
}

// change opens the site and applies a change to the account at address.
func (f changeFlags) change(ctx context.Context, con *console, address string, apply func(context.Context, *site, mail.Address) (past, conditional string, err error)) error {
	addr, err := parseAddress(address)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	past, conditional, err := apply(f.context(ctx), s, addr)
	if err != nil {
		return explain(err, "account", address)
	}
	return f.done(con, past, conditional)
}

type accountAddCmd struct {
	Address string `arg:"" help:"The address, for example alice@example.org; the domain must exist."`
	Shared  bool   `help:"Nobody logs in to it: others get rights in its mailboxes (posthouse acl set), and find them below Shared/."`
	passwordFlag
	linkFlags
	changeFlags
}

func (c *accountAddCmd) Run(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	password := ""
	if c.Shared {
		if c.Link || c.PasswordStdin {
			return fail(exitUsage, "a shared account has no password")
		}
	} else if !c.Link {
		if password, err = c.read(con, c.Address); err != nil {
			return err
		}
	} else if c.PasswordStdin {
		return fail(exitUsage, "give --link or --password-stdin")
	}
	s, err := con.openNew(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.directory.Domain(ctx, addr.Domain); err != nil {
		return explain(err, "domain", addr.Domain)
	}
	create := func(ctx context.Context) error {
		_, err := s.directory.CreateAccount(ctx, addr, password)
		return err
	}
	if c.Shared {
		create = func(ctx context.Context) error {
			_, err := s.directory.CreateSharedAccount(ctx, addr)
			return err
		}
	}
	if err := create(c.context(ctx)); err != nil {
		return created(err, "account", c.Address)
	}
	if err := c.done(con, "account "+c.Address+" added", "add account "+c.Address); err != nil || !c.Link || c.DryRun {
		return err
	}
	return c.say(ctx, con, s, addr)
}

type accountListCmd struct {
	Domain string `help:"Only those of this domain."`
	listFlags
}

func (c *accountListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if c.Domain != "" {
		if _, err := s.directory.Domain(ctx, c.Domain); err != nil {
			return explain(err, "domain", c.Domain)
		}
	}
	accounts, err := s.directory.Accounts(ctx, c.Domain)
	if err != nil {
		return err
	}
	views := make([]accountView, len(accounts))
	rows := make([][]string, len(accounts))
	for i, a := range accounts {
		v := viewAccount(a)
		views[i] = v
		rows[i] = []string{v.Address, v.state(), size(v.QuotaBytes), count(v.QuotaMessages), v.Retention}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("ACCOUNT STATE QUOTA MESSAGES RETENTION", rows)
}

type accountShowCmd struct {
	Address string `arg:"" help:"The address."`
	listFlags
}

func (c *accountShowCmd) Run(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := s.directory.Account(ctx, addr)
	if err != nil {
		return explain(err, "account", c.Address)
	}
	used, err := s.usage(ctx, a.ID)
	if err != nil {
		return err
	}
	sending, err := s.directory.Sending(ctx, a.ID)
	if err != nil {
		return err
	}
	v := viewAccount(a)
	if c.JSON {
		return con.json(struct {
			accountView
			Sending   sendingView   `json:"sending"`
			Bytes     int64         `json:"bytes"`
			Messages  int64         `json:"messages"`
			Mailboxes []mailboxView `json:"mailboxes"`
		}{v, viewSending(sending), used.bytes, used.messages, used.mailboxes})
	}
	seen := "leaves messages unread"
	if v.Pop3MarksSeen {
		seen = "marks messages read"
	}
	if err := con.fields(append([][2]string{
		{"account", v.Address},
		{"state", v.state()},
		{"quota", size(v.QuotaBytes) + ", " + count(v.QuotaMessages) + " messages"},
		{"used", strconv.FormatInt(used.bytes, 10) + " bytes, " + strconv.FormatInt(used.messages, 10) + " messages"},
		{"retention", v.Retention + "; POP3 " + seen},
	}, viewSending(sending).fields()...)); err != nil {
		return err
	}
	rows := make([][]string, len(used.mailboxes))
	for i, m := range used.mailboxes {
		rows[i] = []string{m.Name, strconv.FormatInt(m.Messages, 10), strconv.FormatInt(m.Unseen, 10), strconv.FormatInt(m.Bytes, 10)}
	}
	if err := con.say(""); err != nil {
		return err
	}
	return con.table("MAILBOX MESSAGES UNSEEN BYTES", rows)
}

type accountPasswdCmd struct {
	Address string `arg:"" help:"The address."`
	passwordFlag
	changeFlags
}

func (c *accountPasswdCmd) Run(ctx context.Context, con *console) error {
	password, err := c.read(con, c.Address)
	if err != nil {
		return err
	}
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		return "password of " + c.Address + " changed", "change the password of " + c.Address, s.directory.SetPassword(ctx, a, password)
	})
}

type accountDisableCmd struct {
	Address string `arg:"" help:"The address."`
	changeFlags
}

func (c *accountDisableCmd) Run(ctx context.Context, con *console) error {
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		return "account " + c.Address + " disabled", "disable account " + c.Address, s.directory.SetDisabled(ctx, a, true)
	})
}

type accountEnableCmd struct {
	Address string `arg:"" help:"The address."`
	changeFlags
}

func (c *accountEnableCmd) Run(ctx context.Context, con *console) error {
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		return "account " + c.Address + " enabled", "enable account " + c.Address, s.directory.SetDisabled(ctx, a, false)
	})
}

type accountRmCmd struct {
	Address string `arg:"" help:"The address."`
	changeFlags
}

func (c *accountRmCmd) Run(ctx context.Context, con *console) error {
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		return "account " + c.Address + " removed, with its mail", "remove account " + c.Address + " with its mail", s.directory.RemoveAccount(ctx, a)
	})
}

type accountQuotaCmd struct {
	Address  string    `arg:"" help:"The address."`
	Bytes    *sizeFlag `help:"Limit in bytes (500M, 2G) or none." placeholder:"SIZE"`
	Messages *sizeFlag `help:"Limit in messages or none." placeholder:"N"`
	changeFlags
}

func (c *accountQuotaCmd) Run(ctx context.Context, con *console) error {
	if c.Bytes == nil && c.Messages == nil {
		return fail(exitUsage, "nothing to set for %s: give --bytes or --messages", c.Address)
	}
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, addr mail.Address) (string, string, error) {
		a, err := s.directory.Account(ctx, addr)
		if err != nil {
			return "", "", err
		}
		bytes, messages := a.QuotaBytes, a.QuotaMessages
		if c.Bytes != nil {
			bytes = c.Bytes.limit
		}
		if c.Messages != nil {
			messages = c.Messages.limit
		}
		quota := size(bytes) + ", " + count(messages) + " messages"
		return "quota of " + c.Address + " is now " + quota, "set the quota of " + c.Address + " to " + quota,
			s.directory.SetQuota(ctx, addr, bytes, messages)
	})
}

type accountRetentionCmd struct {
	Address   string   `arg:"" help:"The address."`
	Policy    []string `arg:"" help:"delete: gone for IMAP too (the default); keep: hidden from POP3 only; archive: moved to Archive; expire DAYS: gone DAYS after it was first retrieved."`
	MarksSeen *bool    `help:"Whether retrieving by POP3 marks a message read." negatable:""`
	changeFlags
}

func (c *accountRetentionCmd) Run(ctx context.Context, con *console) error {
	policy, err := mail.ParseRetention(strings.Join(c.Policy, " "))
	if err != nil {
		return fail(exitUsage, "%w", err)
	}
	return c.change(ctx, con, c.Address, func(ctx context.Context, s *site, a mail.Address) (string, string, error) {
		err := s.directory.SetRetention(ctx, a, policy)
		if err == nil && c.MarksSeen != nil {
			err = s.directory.SetPop3MarksSeen(ctx, a, *c.MarksSeen)
		}
		return "retention of " + c.Address + " is now " + policy.String(), "set the retention of " + c.Address + " to " + policy.String(), err
	})
}
