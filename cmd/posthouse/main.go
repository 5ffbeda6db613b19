// Posthouse is a mail server in one program: mail comes in by SMTP, is kept in
// Postgres, and is read by IMAP and POP3.
//
// Each command noun has a file of its own here; serve.go does all the wiring.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// cli is the command line: one field for each noun.
type cli struct {
	Place place `embed:""`

	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Quickstart quickstartCmd `cmd:"" help:"Set up a server for a domain: configuration, unit, keys, account, DNS records."`
	Doctor     doctorCmd     `cmd:"" help:"Look at everything and say what is wrong; try a connection; follow a mail."`
	Status     statusCmd     `cmd:"" help:"Say what runs here and what it holds."`
	Domain     domainCmd     `cmd:"" help:"Domains whose mail ends here."`
	Account    accountCmd    `cmd:"" help:"Accounts: mailboxes with a password."`
	Alias      aliasCmd      `cmd:"" help:"Aliases: addresses that lead to others."`
	ACL        aclCmd        `cmd:"" name:"acl" help:"Rights of others in mailboxes; what is shared."`
	APIKey     apikeyCmd     `cmd:"" name:"apikey" help:"Keys of the HTTP API."`
	Issuer     issuerCmd     `cmd:"" help:"OpenID Connect issuers, by whose tokens accounts log in."`
	IMAP       imapCmd       `cmd:"" name:"imap" help:"What mail programs are told by IMAP."`
	Relay      relayCmd      `cmd:"" help:"Smarthosts and other next hops, and which mail takes them."`
	Queue      queueCmd      `cmd:"" help:"Mail that waits to leave."`
	Trace      traceCmd      `cmd:"" help:"What happened to a mail."`
	Hook       hookCmd       `cmd:"" help:"Webhooks: URLs that are told what becomes of mail."`
	Suppress   suppressCmd   `cmd:"" help:"Addresses that the HTTP API sends nothing to."`
	Mail       mailCmd       `cmd:"" help:"Import, export and undelete mail."`
	Settings   configCmd     `cmd:"" name:"config" help:"Configuration as a file: check, export, diff, apply."`
	Backup     siteBackupCmd `cmd:"" help:"Write the site into one file, look into it, and bring it back: all, an account, a message."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database to this version's schema."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
	place    *place
}

// newParser makes the parser of a command line. exit is called by --help.
func newParser(c *cli, out, errOut io.Writer, exit func(code int)) *kong.Kong {
	parser, err := kong.New(c,
		kong.Name("posthouse"),
		kong.Description("A mail server in one program: SMTP in, Postgres inside, IMAP and POP3 out."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(out, errOut),
		kong.Exit(exit),
	)
	if err != nil {
		panic(err) // the struct above is wrong: no user can cause it
	}
	return parser
}

func run(args []string, in io.Reader, out, errOut io.Writer) (code int) {
	var c cli
	exited := -1
	parser := newParser(&c, out, errOut, func(code int) { exited = code })
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(errOut, "posthouse: %v; `posthouse --help` shows how\n", err)
		return exitUsage
	}
	con := &console{in: in, out: out, err: errOut, place: &c.Place}
	parsed.BindTo(context.Background(), (*context.Context)(nil))
	if err := parsed.Run(con); err != nil {
		fmt.Fprintf(errOut, "posthouse: %s\n", strings.TrimSpace(err.Error()))
		return exitCode(err)
	}
	return 0
}
