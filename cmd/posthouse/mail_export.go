package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"posthouse/internal/transfer"
)

type mailExportCmd struct {
	Account string   `arg:"" help:"The account."`
	Path    string   `arg:"" help:"A folder for a Maildir or for one mbox a mailbox; a name that ends in .mbox for one mailbox in one file."`
	Folder  []string `help:"Only this mailbox; may be repeated." placeholder:"NAME"`
	Format  string   `enum:"auto,maildir,mbox" default:"auto" help:"maildir or mbox (by default mbox where the path ends in .mbox, else maildir)."`
	changeFlags
	listFlags
}

// Help says what the command promises.
func (c *mailExportCmd) Help() string {
	return `Flags, keywords and dates are kept. A Maildir gets sub-folders as Maildir++ has them, and Dovecot takes it over as it is, UIDs included; exporting to it again adds what came since and brings flags up to date. An mbox is written once. It works while the server runs.`
}

func (c *mailExportCmd) Run(ctx context.Context, con *console) error {
	s, account, ctx, done, err := con.mailbox(ctx, c.Account)
	if err != nil {
		return err
	}
	defer done()
	single := strings.HasSuffix(c.Path, ".mbox")
	mbox := c.Format == "mbox" || c.Format == "auto" && single
	only := c.Folder
	if mbox && single {
		if len(only) > 1 {
			return fail(exitUsage, "one mbox file holds one mailbox: give one --folder, or a path that does not end in .mbox for a folder of files")
		}
		if len(only) == 0 {
			only = []string{"INBOX"}
		}
	}
	p := newProgress(con, "exported")
	var to transfer.Target
	switch {
	case c.DryRun:
	case mbox:
		to = transfer.NewMbox(c.Path, single)
	default:
		if to, err = transfer.NewMaildir(c.Path, p.note); err != nil {
			return err
		}
	}
	figures, err := transfer.Export(ctx, s.store, account, to, transfer.ExportOptions{Only: only, DryRun: c.DryRun, Progress: p.show, Note: p.note})
	p.end()
	if errors.Is(err, fs.ErrExist) {
		return fail(exitConflict, "%w: an mbox is not written over; remove it or choose another name", err)
	}
	return errors.Join(transferred(con, c.JSON, figures, c.DryRun, "exported"), transferError(err, c.Account))
}
