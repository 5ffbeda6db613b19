package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

type backupCmd struct {
	Add        backupAddCmd        `cmd:"" help:"Be backup MX for a domain that lives elsewhere."`
	List       backupListCmd       `cmd:"" help:"List the domains that this server is backup for."`
	Rm         backupRmCmd         `cmd:"" help:"Stop being backup for a domain."`
	Recipients backupRecipientsCmd `cmd:"" help:"List, add or remove the recipients that are known without asking; show or forget what was asked."`
}

// backupView is a backup domain as the commands show it.
type backupView struct {
	Domain     string    `json:"domain"`
	Primary    []string  `json:"primary"` // empty: by MX records
	Recipients string    `json:"recipients"`
	WhenDown   string    `json:"when_down"`
	KnownFor   string    `json:"known_for"`
	UnknownFor string    `json:"unknown_for"`
	Listed     int64     `json:"listed"`
	Created    time.Time `json:"created"`
}

func viewBackup(b directory.BackupDomain) backupView {
	v := backupView{b.Name, []string{}, string(b.Recipients), "defer", b.KnownFor.String(), b.UnknownFor.String(), b.Listed, b.Created}
	for _, h := range b.Hosts {
		v.Primary = append(v.Primary, h.String())
	}
	if b.AcceptDown {
		v.WhenDown = "accept"
	}
	return v
}

func noBackup(err error, name string) error {
	if errors.Is(err, directory.ErrNotFound) {
		return fail(exitNotFound, "backup domain %s: %w; `posthouse domain backup list` shows what there is", name, err)
	}
	return explain(err, "backup domain", name)
}

// period is a duration on the command line, with days.
type period time.Duration

func (p *period) UnmarshalText(text []byte) error {
	d, err := config.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no time: write 30m, 12h or 7d", text)
	}
	*p = period(d)
	return nil
}

type backupAddCmd struct {
	Name       string   `arg:"" help:"The domain."`
	Primary    []string `help:"Where it lives, tried in order (default: the MX records that stand before ours)." placeholder:"HOST[:PORT]"`
	Recipients string   `help:"Who is taken. callout: whom the primary says it knows, asked once and remembered, and the list; list: the list alone; any: everybody." enum:"callout,list,any" default:"callout"`
	WhenDown   string   `help:"What becomes of recipients that nobody knows of while the primary is away: defer (451, the sender tries again) or accept." enum:"defer,accept" default:"defer"`
	KnownFor   period   `help:"How long the primary's yes is believed." default:"7d" placeholder:"TIME"`
	UnknownFor period   `help:"How long its no is." default:"1h" placeholder:"TIME"`
	Replace    bool     `help:"Change a domain that is there; its list stays."`
	changeFlags
}

func (c *backupAddCmd) Help() string {
	return `Mail for the domain is taken, queued, and handed to the primary, for as long as
the queue keeps mail. Name this server in the domain's MX records, behind the
primary, and tell the primary not to greylist or rate-limit it.

What the primary refuses after this server took it bounces, and most of that is
spam with a forged sender: the bounces hit people who wrote nothing. That is why
unknown recipients are refused at once, by asking the primary (callout), and why
one that cannot be asked about is deferred and not accepted. Take any or accept
only for a primary that takes every recipient, too.`
}

func (c *backupAddCmd) Run(ctx context.Context, con *console) error {
	b := directory.BackupDomain{Name: c.Name, Recipients: directory.Recipients(c.Recipients), AcceptDown: c.WhenDown == "accept",
		KnownFor: time.Duration(c.KnownFor), UnknownFor: time.Duration(c.UnknownFor)}
	for _, s := range c.Primary {
		h, err := directory.ParseHost(s)
		if err != nil {
			return err
		}
		b.Hosts = append(b.Hosts, h)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if b, err = s.directory.AddBackup(c.context(ctx), b, c.Replace); err != nil {
		return noBackup(err, c.Name)
	}
	if c.Replace {
		return c.doneRoutes(ctx, con, s, "backup domain "+b.Name+" changed", "change backup domain "+b.Name)
	}
	return c.doneRoutes(ctx, con, s, "backup domain "+b.Name+" added", "add backup domain "+b.Name)
}

type backupListCmd struct{ listFlags }

func (c *backupListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	list, err := s.directory.Backups(ctx)
	if err != nil {
		return err
	}
	views := make([]backupView, len(list))
	rows := make([][]string, len(list))
	for i, b := range list {
		v := viewBackup(b)
		views[i] = v
		rows[i] = []string{v.Domain, or(strings.Join(v.Primary, ", "), "by MX records"), v.Recipients, v.WhenDown, strconv.FormatInt(v.Listed, 10)}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("DOMAIN PRIMARY RECIPIENTS UNKNOWN-WHEN-DOWN LISTED", rows)
}

type backupRmCmd struct {
	Name string `arg:"" help:"The domain."`
	changeFlags
}

func (c *backupRmCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.directory.RemoveBackup(c.context(ctx), c.Name); err != nil {
		return noBackup(err, c.Name)
	}
	return c.doneRoutes(ctx, con, s, "backup domain "+c.Name+" removed; what waits for it is still delivered", "remove backup domain "+c.Name)
}

type backupRecipientsCmd struct {
	Name   string   `arg:"" help:"The domain."`
	Add    []string `help:"Put an address on the list." placeholder:"ADDRESS"`
	Remove []string `help:"Take an address off the list." placeholder:"ADDRESS"`
	Stdin  bool     `help:"Put the addresses on standard input, one a line, on the list."`
	Asked  bool     `help:"Show what the primary said when it was asked."`
	Forget bool     `help:"Forget what the primary said: it is asked again."`
	changeFlags
	listFlags
}

func (c *backupRecipientsCmd) Run(ctx context.Context, con *console) error {
	add, err := parseAddresses(c.Add)
	if err != nil {
		return err
	}
	remove, err := parseAddresses(c.Remove)
	if err != nil {
		return err
	}
	if c.Stdin {
		more, err := readAddresses(con)
		if err != nil {
			return err
		}
		add = append(add, more...)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.directory.Backup(ctx, c.Name); err != nil {
		return noBackup(err, c.Name)
	}
	switch {
	case len(add)+len(remove) > 0:
		if err := s.directory.ListRecipients(c.context(ctx), c.Name, add, remove); err != nil {
			return noBackup(err, c.Name)
		}
		return c.done(con, fmt.Sprintf("recipients of %s: %d added, %d removed", c.Name, len(add), len(remove)),
			fmt.Sprintf("add %d recipients of %s and remove %d", len(add), c.Name, len(remove)))
	case c.Forget:
		n, err := s.directory.ForgetCallouts(c.context(ctx), c.Name, mail.Address{})
		if err != nil {
			return err
		}
		return c.done(con, fmt.Sprintf("%d answers of the primary of %s forgotten", n, c.Name), fmt.Sprintf("forget %d answers of the primary of %s", n, c.Name))
	case c.Asked:
		return c.asked(ctx, con, s)
	}
	list, err := s.directory.Recipients(ctx, c.Name)
	if err != nil {
		return err
	}
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.String()
	}
	if c.JSON {
		return con.json(names)
	}
	for _, n := range names {
		if err := con.say("%s", n); err != nil {
			return err
		}
	}
	return nil
}

// maxAsked bounds what is shown of a primary's answers.
const maxAsked = 10_000

func (c *backupRecipientsCmd) asked(ctx context.Context, con *console, s *site) error {
	list, err := s.directory.Asked(ctx, c.Name, maxAsked)
	if err != nil {
		return err
	}
	type askedView struct {
		Address string    `json:"address"`
		Known   bool      `json:"known"`
		Reply   string    `json:"reply"`
		Checked time.Time `json:"checked"`
	}
	views := make([]askedView, len(list))
	rows := make([][]string, len(list))
	for i, a := range list {
		views[i] = askedView{a.Address.String(), a.Known, a.Reply, a.Checked}
		rows[i] = []string{a.Address.String(), map[bool]string{true: "yes", false: "no"}[a.Known], a.Checked.UTC().Format(time.DateTime), a.Reply}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("ADDRESS KNOWN ASKED REPLY", rows)
}

// readAddresses reads standard input, one address a line; empty lines and those
// that begin with # are passed over.
func readAddresses(con *console) ([]mail.Address, error) {
	var list []mail.Address
	in := bufio.NewScanner(con.in)
	for n := 1; in.Scan(); n++ {
		s := strings.TrimSpace(in.Text())
		if s == "" || s[0] == '#' {
			continue
		}
		a, err := mail.ParseAddress(s)
		if err != nil {
			return nil, fail(exitUsage, "line %d: %q is not a mail address", n, s)
		}
		list = append(list, a)
	}
	return list, wrap(in.Err(), "read standard input")
}
