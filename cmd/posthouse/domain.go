package main

import (
	"context"
	"strconv"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
	"posthouse/smtp/mailauth"
)

type domainCmd struct {
	Add    domainAddCmd  `cmd:"" help:"Add a domain."`
	List   domainListCmd `cmd:"" help:"List the domains."`
	Show   domainShowCmd `cmd:"" help:"Show a domain."`
	Set    domainSetCmd  `cmd:"" help:"Say where mail for unknown addresses and for postmaster goes, and what the MTA-STS policy asks."`
	Rm     domainRmCmd   `cmd:"" help:"Remove a domain that has no accounts."`
	DNS    domainDNSCmd  `cmd:"" name:"dns" help:"Print the DNS records that a domain needs, or check them."`
	Backup backupCmd     `cmd:"" help:"Domains that live elsewhere, whose mail is kept while their server is away."`
	DKIM   dkimCmd       `cmd:"" name:"dkim" help:"The keys that sign a domain's mail."`
}

// changeFlags are embedded by every command that changes something.
type changeFlags struct {
	DryRun bool `help:"Check and say what would be done, but change nothing."`
}

// context is ctx, or one under which changes are rolled back.
func (f changeFlags) context(ctx context.Context) context.Context {
	if f.DryRun {
		return directory.DryRun(ctx)
	}
	return ctx
}

// done says what was done, or what would have been.
func (f changeFlags) done(con *console, past, conditional string) error {
	if f.DryRun {
		return con.say("would %s (dry run, nothing changed)", conditional)
	}
	return con.say("%s", past)
}

// listFlags are embedded by every command that lists or shows something.
type listFlags struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// domainView is a domain as the commands show it.
type domainView struct {
	Domain     string    `json:"domain"`
	Accounts   int64     `json:"accounts"`
	CatchAll   string    `json:"catch_all,omitempty"`
	Postmaster string    `json:"postmaster,omitempty"`
	MTASTS     string    `json:"mta_sts"`
	Created    time.Time `json:"created"`
}

func viewDomain(d directory.Domain) domainView {
	return domainView{d.Name, d.Accounts, text(d.CatchAll), text(d.Postmaster), d.STSMode, d.Created}
}

// text is an address for people; the zero address is nothing.
func text(a mail.Address) string {
	if a.IsZero() {
		return ""
	}
	return a.String()
}

type domainAddCmd struct {
	Name string `arg:"" help:"The domain, for example example.org."`
	changeFlags
}

func (c *domainAddCmd) Run(ctx context.Context, con *console) error {
	s, err := con.openNew(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.directory.CreateDomain(c.context(ctx), c.Name)
	if err != nil {
		return created(err, "domain", c.Name)
	}
	return c.done(con, "domain "+d.Name+" added", "add domain "+d.Name)
}

type domainListCmd struct{ listFlags }

func (c *domainListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	domains, err := s.directory.Domains(ctx)
	if err != nil {
		return err
	}
	views := make([]domainView, len(domains))
	rows := make([][]string, len(domains))
	for i, d := range domains {
		views[i] = viewDomain(d)
		rows[i] = []string{d.Name, strconv.FormatInt(d.Accounts, 10), text(d.CatchAll)}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("DOMAIN ACCOUNTS CATCH-ALL", rows)
}

type domainShowCmd struct {
	Name string `arg:"" help:"The domain."`
	listFlags
}

func (c *domainShowCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.directory.Domain(ctx, c.Name)
	if err != nil {
		return explain(err, "domain", c.Name)
	}
	v := viewDomain(d)
	if c.JSON {
		return con.json(v)
	}
	return con.fields([][2]string{
		{"domain", v.Domain},
		{"accounts", strconv.FormatInt(v.Accounts, 10)},
		{"catch-all", or(v.CatchAll, "none: unknown addresses are refused")},
		{"postmaster", or(v.Postmaster, "default: the catch-all, else the oldest account")},
		{"MTA-STS policy", v.MTASTS},
		{"created", v.Created.Format(time.DateTime)},
	})
}

type domainSetCmd struct {
	Name       string  `arg:"" help:"The domain."`
	CatchAll   *string `help:"Where mail for unknown addresses goes, or none." placeholder:"ADDRESS"`
	Postmaster *string `help:"Where postmaster@ and abuse@ go, or none for the default." placeholder:"ADDRESS"`
	MTASTS     string  `name:"mta-sts" help:"What the MTA-STS policy asks of senders: testing (report what would fail), enforce (no delivery without TLS and the right certificate), none (take it back)." placeholder:"MODE" enum:",testing,enforce,none" default:""`
	changeFlags
}

func (c *domainSetCmd) Run(ctx context.Context, con *console) error {
	if c.CatchAll == nil && c.Postmaster == nil && c.MTASTS == "" {
		return fail(exitUsage, "nothing to set for %s: give --catch-all, --postmaster or --mta-sts", c.Name)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	for _, set := range []struct {
		what  string
		value *string
		apply func(context.Context, string, mail.Address) error
	}{
		{"catch-all", c.CatchAll, s.directory.SetCatchAll},
		{"postmaster", c.Postmaster, s.directory.SetPostmaster},
	} {
		if set.value == nil {
			continue
		}
		var to mail.Address
		if *set.value != "none" && *set.value != "" {
			if to, err = parseAddress(*set.value); err != nil {
				return err
			}
		}
		if err := set.apply(c.context(ctx), c.Name, to); err != nil {
			return explain(err, "domain", c.Name)
		}
		target := or(text(to), "none")
		if err := c.done(con, set.what+" of "+c.Name+" is now "+target, "set the "+set.what+" of "+c.Name+" to "+target); err != nil {
			return err
		}
	}
	return c.policy(ctx, con, s)
}

// policy switches the mode of the MTA-STS policy, and says which record makes
// senders see it.
func (c *domainSetCmd) policy(ctx context.Context, con *console, s *site) error {
	if c.MTASTS == "" {
		return nil
	}
	if err := s.directory.SetSTSMode(c.context(ctx), c.Name, c.MTASTS); err != nil {
		return explain(err, "domain", c.Name)
	}
	if err := c.done(con, "the MTA-STS policy of "+c.Name+" is now "+c.MTASTS, "set the MTA-STS policy of "+c.Name+" to "+c.MTASTS); err != nil {
		return err
	}
	d, err := s.directory.Domain(ctx, c.Name)
	if err != nil {
		return explain(err, "domain", c.Name)
	}
	for _, r := range mailauth.Records(d.Name, []string{s.config.Hostname}, nil, c.MTASTS) {
		if r.Kind == mailauth.KindSTS {
			return con.say("senders fetch it again when its id changes; publish:\n%s", r.Zone())
		}
	}
	return nil
}

type domainRmCmd struct {
	Name string `arg:"" help:"The domain."`
	changeFlags
}

func (c *domainRmCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.directory.RemoveDomain(c.context(ctx), c.Name); err != nil {
		return explain(err, "domain", c.Name)
	}
	return c.done(con, "domain "+c.Name+" removed", "remove domain "+c.Name)
}
