package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"posthouse/internal/transfer"
	"posthouse/mailstore"
)

type mailImportCmd struct {
	Account       string   `arg:"" help:"The account that the mail goes to."`
	Source        string   `arg:"" help:"maildir:PATH, mbox:FILE or mbox:DIR, imaps://user@host[:port][/folder], or imap:// for STARTTLS."`
	FolderPrefix  string   `help:"Put all folders below this one instead of beside those that are there." placeholder:"NAME"`
	Folder        []string `help:"Only this folder, by its name here; may be repeated." placeholder:"NAME"`
	PasswordStdin bool     `help:"Read the password of the IMAP server from standard input instead of asking."`
	Again         bool     `help:"Forget what was imported into this account before, and import everything once more."`
	InsecureTLS   bool     `name:"insecure-tls" help:"Accept any certificate of the IMAP server."`
	NoTLS         bool     `name:"no-tls" help:"Speak to the IMAP server without TLS, the password included."`
	changeFlags
	listFlags
}

// Help says what the command promises.
func (c *mailImportCmd) Help() string {
	return `Flags, keywords, dates and folders are kept. It works while the server runs, and can be interrupted and run again: what was imported once is not imported again, not even after it was deleted here. Nothing changes at the source. Mail that keeps arriving there is fetched by running it once more.`
}

func (c *mailImportCmd) Run(ctx context.Context, con *console) error {
	s, account, ctx, done, err := con.mailbox(ctx, c.Account)
	if err != nil {
		return err
	}
	defer done()
	source, err := c.open(ctx, con)
	if err != nil {
		return err
	}
	if c.Again && !c.DryRun {
		if _, err := s.store.ForgetImports(ctx, account); err != nil {
			return err
		}
	}
	p := newProgress(con, "imported")
	var only []string
	for _, name := range c.Folder {
		only = append(only, mailstore.CanonicalName(name))
	}
	figures, err := transfer.Import(ctx, s.store, account, source, transfer.Options{
		Prefix: strings.Trim(c.FolderPrefix, "/"), Only: only, DryRun: c.DryRun, Progress: p.show, Note: p.note,
	})
	p.end()
	if err == nil {
		err = wrap(source.Close(), "leave the source") // after an error it may hang
	}
	return errors.Join(transferred(con, c.JSON, figures, c.DryRun, "imported"), transferError(err, c.Account))
}

// open opens the source.
func (c *mailImportCmd) open(ctx context.Context, con *console) (source transfer.Source, err error) {
	kind, path, ok := strings.Cut(c.Source, ":")
	switch {
	case ok && kind == "maildir":
		source, err = transfer.OpenMaildir(path)
	case ok && kind == "mbox":
		source, err = transfer.OpenMbox(path)
	case ok && (kind == "imap" || kind == "imaps"):
		return c.openIMAP(ctx, con)
	default:
		return nil, fail(exitUsage, "%q is no source: write maildir:PATH, mbox:FILE, mbox:DIR, imaps://user@host or imap://user@host", c.Source)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fail(exitNotFound, "%w", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fail(exitFailed, "%w: start the server first, so that this command can keep your rights, or make the files readable for the user that runs it", err)
	}
	return source, err
}

func (c *mailImportCmd) openIMAP(ctx context.Context, con *console) (transfer.Source, error) {
	server, err := transfer.ParseIMAP(c.Source)
	if err != nil {
		return nil, fail(exitUsage, "%w", err)
	}
	if c.NoTLS && server.TLS {
		return nil, fail(exitUsage, "--no-tls goes with imap://, not with imaps://")
	}
	server.Plain = c.NoTLS
	if c.InsecureTLS {
		server.Config = &tls.Config{InsecureSkipVerify: true} // asked for in so many words
	}
	if server.Password, err = c.password(con, server.User+" at "+server.Address); err != nil {
		return nil, err
	}
	source, err := transfer.OpenIMAP(ctx, server)
	if _, unknown := errors.AsType[*tls.CertificateVerificationError](err); unknown {
		return nil, fmt.Errorf("%w; --insecure-tls takes any, on a network that is your own", err)
	}
	return source, err
}

// password gets the password of the other server, which is asked for once.
func (c *mailImportCmd) password(con *console, whose string) (string, error) {
	if c.PasswordStdin {
		line, err := bufio.NewReader(io.LimitReader(con.in, maxPassword)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", fail(exitUsage, "standard input holds no password for %s", whose)
		}
		return line, nil
	}
	in, ok := con.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fail(exitUsage, "there is no terminal to ask for the password of %s: give it with --password-stdin", whose)
	}
	return ask(con, in, "Password of "+whose+": ")
}
