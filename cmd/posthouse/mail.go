package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"posthouse/internal/transfer"
	"posthouse/mailstore"
)

type mailCmd struct {
	Import   mailImportCmd   `cmd:"" help:"Bring mail in from a Maildir, mbox files, or another IMAP server."`
	Export   mailExportCmd   `cmd:"" help:"Write an account's mail to a Maildir or to mbox files."`
	Undelete mailUndeleteCmd `cmd:"" help:"Bring back deleted messages within their grace period (14 days)."`
}

// mailbox opens the site and finds the account. Interrupted, what is under way
// comes to its end first.
func (con *console) mailbox(ctx context.Context, address string) (*site, mailstore.AccountID, context.Context, func(), error) {
	addr, err := parseAddress(address)
	if err != nil {
		return nil, 0, nil, nil, err
	}
	s, err := con.open(ctx)
	if err != nil {
		return nil, 0, nil, nil, err
	}
	a, err := s.directory.Account(ctx, addr)
	if err != nil {
		s.close()
		return nil, 0, nil, nil, explain(err, "account", address)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	return s, mailstore.AccountID(a.ID), ctx, func() { stop(); s.close() }, nil
}

// progress shows how far a transfer is: a line that is written over on a
// terminal, else a line each few seconds.
type progress struct {
	con      *console
	terminal bool
	verb     string
	last     time.Time
	width    int
}

const progressPause = 5 * time.Second

func newProgress(con *console, verb string) *progress {
	f, ok := con.err.(*os.File)
	return &progress{con: con, terminal: ok && term.IsTerminal(int(f.Fd())), verb: verb, last: time.Now()}
}

func (p *progress) show(f transfer.Figures) {
	p.write(func() string {
		return fmt.Sprintf("%s: %d found, %d %s, %d already there, %s, %.0f a second", f.Folder, f.Found, f.Imported, p.verb, f.Known,
			octets(f.Bytes), float64(f.Imported)/max(f.Took.Seconds(), 0.001))
	})
}

// write shows a line when it is time for one.
func (p *progress) write(text func() string) {
	pause := progressPause
	if p.terminal {
		pause = 100 * time.Millisecond
	}
	if time.Since(p.last) < pause {
		return
	}
	p.last = time.Now()
	line := text()
	if p.terminal {
		pad := max(0, p.width-len(line))
		p.width = len(line)
		fmt.Fprintf(p.con.err, "\r%s%s", line, strings.Repeat(" ", pad))
		return
	}
	fmt.Fprintln(p.con.err, line)
}

// note writes a line of its own.
func (p *progress) note(s string) {
	p.end()
	fmt.Fprintln(p.con.err, s)
}

// end leaves the line that is written over.
func (p *progress) end() {
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.con.err, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}

// octets shows a size for people.
func octets(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KB", (n+1023)/1024)
}

// transferred prints the figures at the end, also after an error.
func transferred(con *console, asJSON bool, f transfer.Figures, dry bool, verb string) error {
	if asJSON {
		return con.json(struct {
			transfer.Figures
			Seconds float64 `json:"seconds"`
			DryRun  bool    `json:"dry_run,omitempty"`
		}{f, float64(f.Took.Milliseconds()) / 1000, dry})
	}
	would, tail := "", ""
	if dry {
		would, tail = "would be ", " (dry run, nothing changed)"
	}
	line := fmt.Sprintf("%d messages in %d folders: %d %s%s, %d already there", f.Found, f.Folders, f.Imported, would, verb, f.Known)
	if f.Unreadable > 0 {
		line += fmt.Sprintf(", %d unreadable", f.Unreadable)
	}
	if !dry && f.Imported > 0 {
		line += fmt.Sprintf("; %s in %.1f s, %.0f a second", octets(f.Bytes), f.Took.Seconds(), float64(f.Imported)/max(f.Took.Seconds(), 0.001))
	}
	return con.say("%s%s", line, tail)
}

// transferError says what an error of a transfer means for a command.
func transferError(err error, address string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mailstore.ErrOverQuota):
		return fail(exitFailed, "%w: raise the quota with `posthouse account quota %s --bytes SIZE` and run the same again: it goes on from here", err, address)
	case errors.Is(err, mailstore.ErrNoMailbox):
		return fail(exitNotFound, "%w; `posthouse account show %s` lists the folders", err, address)
	case errors.Is(err, context.Canceled):
		return fail(exitFailed, "interrupted; run the same again to go on from here")
	}
	return err
}
