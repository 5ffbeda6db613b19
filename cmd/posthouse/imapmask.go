package main

import (
	"context"
	"strings"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

type imapCmd struct {
	Mask imapMaskCmd `cmd:"" help:"Capabilities that some mail programs are not told of."`
}

type imapMaskCmd struct {
	Add  imapMaskAddCmd  `cmd:"" help:"Hide capabilities from programs by the name that they give; of one account, see account capabilities."`
	List imapMaskListCmd `cmd:"" help:"List what is hidden, and from whom."`
	Rm   imapMaskRmCmd   `cmd:"" help:"Hide nothing more from those programs."`
}

// maskView is a mask as the commands show it.
type maskView struct {
	Account      string   `json:"account"` // empty: all
	Client       string   `json:"client"`  // empty: every program
	Capabilities []string `json:"capabilities"`
}

// showMasks lists masks.
func (con *console) showMasks(list []directory.Mask, asJSON bool) error {
	views := make([]maskView, len(list))
	rows := make([][]string, len(list))
	for i, m := range list {
		views[i] = maskView{m.Account, m.Client, m.Capabilities}
		rows[i] = []string{or(m.Account, "all"), or(m.Client, "every"), strings.Join(m.Capabilities, " ")}
	}
	if asJSON {
		return con.json(views)
	}
	return con.table("ACCOUNT PROGRAM HIDDEN", rows)
}

type imapMaskAddCmd struct {
	Client       string   `required:"" help:"The program's name as it says it by ID (RFC 2971), whatever the case; * stands for anything." placeholder:"PATTERN"`
	Capabilities []string `arg:"" help:"What to hide: MOVE, QRESYNC, … In the place of what was hidden for this pattern."`
	changeFlags
}

func (c *imapMaskAddCmd) Run(ctx context.Context, con *console) error {
	return c.mask(ctx, con, mail.Address{}, c.Client, split(c.Capabilities))
}

// mask sets a mask; none ends it.
func (f changeFlags) mask(ctx context.Context, con *console, addr mail.Address, client string, capabilities []string) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	whose := "programs " + client
	if !addr.IsZero() {
		whose = strings.TrimSpace("account " + addr.String() + " " + client)
	}
	if err := s.directory.SetMask(f.context(ctx), addr, client, capabilities); err != nil {
		if len(capabilities) == 0 {
			return fail(exitNotFound, "nothing is hidden from %s; `posthouse imap mask list` shows what is", whose)
		}
		return explain(err, "account", addr.String())
	}
	if len(capabilities) == 0 {
		return f.done(con, "nothing is hidden from "+whose+" any more", "hide nothing from "+whose+" any more")
	}
	what := strings.ToUpper(strings.Join(capabilities, " "))
	return f.done(con, what+" hidden from "+whose+", from their next CAPABILITY on", "hide "+what+" from "+whose)
}

// split takes lists between commas apart.
func split(words []string) (list []string) {
	for _, w := range words {
		for part := range strings.SplitSeq(w, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	}
	return list
}

type imapMaskListCmd struct{ listFlags }

func (c *imapMaskListCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	list, err := s.directory.Masks(ctx, mail.Address{})
	if err != nil {
		return err
	}
	return con.showMasks(list, c.JSON)
}

type imapMaskRmCmd struct {
	Client string `required:"" help:"The pattern." placeholder:"PATTERN"`
	changeFlags
}

func (c *imapMaskRmCmd) Run(ctx context.Context, con *console) error {
	return c.mask(ctx, con, mail.Address{}, c.Client, nil)
}

type accountCapabilitiesCmd struct {
	Address string   `arg:"" help:"The address."`
	Mask    []string `help:"Hide these from its mail programs, in the place of what was hidden." placeholder:"CAPABILITY"`
	Clear   bool     `help:"Hide nothing."`
	Client  string   `help:"Only from programs of this name; * stands for anything." placeholder:"PATTERN"`
	listFlags
	changeFlags
}

func (c *accountCapabilitiesCmd) Run(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	if capabilities := split(c.Mask); len(capabilities) > 0 || c.Clear {
		if len(capabilities) > 0 && c.Clear {
			return fail(exitUsage, "give --mask or --clear")
		}
		return c.mask(ctx, con, addr, c.Client, capabilities)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.directory.Account(ctx, addr); err != nil {
		return explain(err, "account", c.Address)
	}
	list, err := s.directory.Masks(ctx, addr)
	if err != nil {
		return err
	}
	return con.showMasks(list, c.JSON)
}
