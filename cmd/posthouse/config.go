package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"posthouse/internal/config"
	"posthouse/internal/directory"
)

type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Check the site's configuration file, and a document if one is given."`
	Export configExportCmd `cmd:"" help:"Print what the database holds of configuration, as one TOML document."`
	Diff   configDiffCmd   `cmd:"" help:"Show what differs between a document and the database."`
	Apply  configApplyCmd  `cmd:"" help:"Make the database what a document says."`
}

type configCheckCmd struct {
	File string `arg:"" optional:"" help:"A document, as export writes it; - is standard input."`
}

func (c *configCheckCmd) Run(con *console) error {
	site, err := con.place.resolve()
	if err != nil {
		return err
	}
	if c.File == "" {
		file := con.place.Config
		if file == "" {
			if _, err := os.Stat(config.File); err == nil && con.place.Data == "" {
				file = config.File
			}
		}
		return con.say("%s is in order: host name %s, data in %s", or(file, "the configuration without a file"), site.Hostname, site.Data)
	}
	d, err := readDocument(con, c.File)
	if err != nil {
		return err
	}
	return con.say("%s is in order: %d domains, %d accounts, %d aliases", c.File, len(d.Domains), len(d.Accounts), len(d.Aliases))
}

// maxDocument bounds a document, in octets.
const maxDocument = 256 << 20

func readDocument(con *console, file string) (*document, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(io.LimitReader(con.in, maxDocument))
	} else {
		text, err = os.ReadFile(file)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fail(exitNotFound, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(text)
	return d, wrap(err, "%s", file)
}

type configExportCmd struct{}

func (c *configExportCmd) Run(ctx context.Context, con *console) error {
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.stored(ctx)
	if err != nil {
		return err
	}
	text, err := d.encode()
	if err != nil {
		return err
	}
	_, err = con.out.Write(text)
	return err
}

type configDiffCmd struct {
	File string `arg:"" help:"The document; - is standard input."`
	listFlags
}

// Help says what the exit code means.
func (c *configDiffCmd) Help() string {
	return `+ is what the document adds, - what the database has beyond it, ~ what is there and differs. The exit code is 0 when there is no difference, else 1.`
}

func (c *configDiffCmd) Run(ctx context.Context, con *console) error {
	want, err := readDocument(con, c.File)
	if err != nil {
		return err
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	have, err := s.stored(ctx)
	if err != nil {
		return err
	}
	list, err := compare(have, want)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := con.json(append([]delta{}, list...)); err != nil {
			return err
		}
	} else {
		for _, d := range list {
			fmt.Fprint(con.out, d.text())
		}
	}
	if len(list) > 0 {
		return fail(exitFailed, "the database differs from %s in %d places", c.File, len(list))
	}
	if c.JSON {
		return nil
	}
	return con.say("no difference")
}

type configApplyCmd struct {
	File          string `arg:"" help:"The document; - is standard input."`
	Prune         bool   `help:"Remove what the document does not name, but no account."`
	PruneAccounts bool   `help:"Remove accounts that the document does not name, with all their mail."`
	changeFlags
}

// Help says what is done and what is not.
func (c *configApplyCmd) Help() string {
	return `Each change takes effect at once, on every node. Doing it again changes nothing. When one change fails those before it stand, and the command can be run again. A new account has no password: set one with account passwd, or let its owner do so by account link. A new relay with a user takes its password from the file that password_file names, a new issuer that is asked for each token its secret from secret_file.`
}

func (c *configApplyCmd) Run(ctx context.Context, con *console) error {
	want, err := readDocument(con, c.File)
	if err != nil {
		return err
	}
	s, err := con.openNew(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	have, err := s.stored(ctx)
	if err != nil {
		return err
	}
	list, err := compare(have, want)
	if err != nil {
		return err
	}
	a := &applier{con: con, site: s, have: have, want: want}
	if a.hooks, err = s.hooks(ctx); err != nil {
		return err
	}
	list, kept := a.order(list, c.Prune, c.PruneAccounts)
	for _, d := range list {
		if c.DryRun {
			fmt.Fprint(con.out, d.text())
			continue
		}
		if err := a.apply(ctx, d); err != nil {
			return wrap(explainApply(err), "%s", d.ID)
		}
		fmt.Fprint(con.out, d.text())
	}
	for _, d := range kept {
		if err := con.say("  %s stays: the document does not name it (%s removes it)", d.ID, keptBecause(d)); err != nil {
			return err
		}
	}
	return a.done(ctx, c.changeFlags, len(list))
}

func keptBecause(d delta) string {
	if _, ok := d.have.(*docAccount); ok {
		return "--prune-accounts"
	}
	return "--prune"
}

// done says what was done.
func (a *applier) done(ctx context.Context, f changeFlags, n int) error {
	past := fmt.Sprintf("%d changes made", n)
	if n == 0 {
		past = "nothing to change"
	}
	if a.routed {
		return f.doneRoutes(ctx, a.con, a.site, past, fmt.Sprintf("make %d changes", n))
	}
	return f.done(a.con, past, fmt.Sprintf("make %d changes", n))
}

func explainApply(err error) error {
	if errors.Is(err, directory.ErrNotFound) {
		return fail(exitNotFound, "%w: the document names what is neither in it nor in the database", err)
	}
	return err
}
