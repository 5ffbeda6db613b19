package main

import (
	"context"
	"strings"

	"posthouse/internal/directory"
	"posthouse/internal/mail"
)

type aliasCmd struct {
	Add  aliasAddCmd  `cmd:"" help:"Make an alias, or add targets to one."`
	List aliasListCmd `cmd:"" help:"List the aliases."`
	Show aliasShowCmd `cmd:"" help:"Show an alias."`
	Rm   aliasRmCmd   `cmd:"" help:"Remove targets of an alias, or all of it."`
}

// aliasView is an alias as the commands show it.
type aliasView struct {
	Alias   string   `json:"alias"`
	Targets []string `json:"targets"`
}

func viewAlias(a directory.Alias) aliasView {
	v := aliasView{a.Address.String(), make([]string, len(a.Targets))}
	for i, t := range a.Targets {
		v.Targets[i] = t.String()
	}
	return v
}

func parseAddresses(args []string) ([]mail.Address, error) {
	list := make([]mail.Address, len(args))
	for i, arg := range args {
		var err error
		if list[i], err = parseAddress(arg); err != nil {
			return nil, err
		}
	}
	return list, nil
}

type aliasAddCmd struct {
	Alias   string   `arg:"" help:"The address of the alias."`
	Targets []string `arg:"" help:"Where its mail goes: one address or several, here or elsewhere."`
	changeFlags
}

func (c *aliasAddCmd) Run(ctx context.Context, con *console) error {
	targets, err := parseAddresses(c.Targets)
	if err != nil {
		return err
	}
	alias, err := parseAddress(c.Alias)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.directory.Domain(ctx, alias.Domain); err != nil {
		return explain(err, "domain", alias.Domain)
	}
	a, err := s.directory.AddAlias(c.context(ctx), alias, targets...)
	if err != nil {
		return explain(err, "alias", c.Alias)
	}
	leads := c.Alias + " to " + strings.Join(viewAlias(a).Targets, ", ")
	return c.done(con, "alias "+leads, "lead "+leads)
}

type aliasListCmd struct {
	Domain string `help:"Only those of this domain."`
	listFlags
}

func (c *aliasListCmd) Run(ctx context.Context, con *console) error {
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
	aliases, err := s.directory.Aliases(ctx, c.Domain)
	if err != nil {
		return err
	}
	views := make([]aliasView, len(aliases))
	rows := make([][]string, len(aliases))
	for i, a := range aliases {
		views[i] = viewAlias(a)
		rows[i] = []string{views[i].Alias, strings.Join(views[i].Targets, ", ")}
	}
	if c.JSON {
		return con.json(views)
	}
	return con.table("ALIAS TARGETS", rows)
}

type aliasShowCmd struct {
	Alias string `arg:"" help:"The address of the alias."`
	listFlags
}

func (c *aliasShowCmd) Run(ctx context.Context, con *console) error {
	addr, err := parseAddress(c.Alias)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := s.directory.Alias(ctx, addr)
	if err != nil {
		return explain(err, "alias", c.Alias)
	}
	v := viewAlias(a)
	if c.JSON {
		return con.json(v)
	}
	return con.fields([][2]string{{"alias", v.Alias}, {"targets", strings.Join(v.Targets, ", ")}})
}

type aliasRmCmd struct {
	Alias   string   `arg:"" help:"The address of the alias."`
	Targets []string `arg:"" optional:"" help:"The targets to remove; all of the alias when none is given."`
	changeFlags
}

func (c *aliasRmCmd) Run(ctx context.Context, con *console) error {
	targets, err := parseAddresses(c.Targets)
	if err != nil {
		return err
	}
	return c.change(ctx, con, c.Alias, func(ctx context.Context, s *site, alias mail.Address) (string, string, error) {
		what := "alias " + c.Alias
		if len(targets) > 0 {
			what = strings.Join(c.Targets, ", ") + " of " + what
		}
		return what + " removed", "remove " + what, explain(s.directory.RemoveAlias(ctx, alias, targets...), "alias", c.Alias)
	})
}
