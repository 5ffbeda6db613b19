package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"posthouse/internal/backup"
)

type siteBackupCmd struct {
	Create  siteBackupCreateCmd  `cmd:"" help:"Write everything into one file, while mail flows or the server is down."`
	Verify  siteBackupVerifyCmd  `cmd:"" help:"Read a backup to its end and check every sum."`
	Show    siteBackupShowCmd    `cmd:"" help:"Say what is in a backup."`
	Restore siteBackupRestoreCmd `cmd:"" help:"Make a site of a backup, or bring back one account or message of it."`
}

// passphraseFlags say where the passphrase of a backup comes from. It is never
// an argument.
type passphraseFlags struct {
	PassphraseStdin bool   `xor:"passphrase" help:"Read the passphrase from standard input."`
	PassphraseFile  string `xor:"passphrase" help:"Read the passphrase from a file." placeholder:"FILE"`
}

func (p passphraseFlags) given() bool { return p.PassphraseStdin || p.PassphraseFile != "" }

// read gets the passphrase; twice says to ask for it again, as for a new one.
func (p passphraseFlags) read(con *console, twice bool) (string, error) {
	switch {
	case p.PassphraseStdin:
		return firstLine(con.in, "standard input")
	case p.PassphraseFile != "":
		f, err := os.Open(p.PassphraseFile)
		if err != nil {
			return "", fail(exitUsage, "read the passphrase: %w", err)
		}
		defer f.Close()
		return firstLine(f, p.PassphraseFile)
	}
	in, ok := con.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fail(exitUsage, "there is no terminal to ask for the passphrase of the backup: give it with --passphrase-stdin or --passphrase-file")
	}
	first, err := ask(con, in, "Passphrase of the backup: ")
	if err != nil {
		return "", err
	}
	if twice {
		again, err := ask(con, in, "Once more: ")
		if err != nil {
			return "", err
		}
		if first != again {
			return "", fail(exitUsage, "the two passphrases differ; nothing was written")
		}
	}
	if first == "" {
		return "", fail(exitUsage, "the passphrase is empty")
	}
	return first, nil
}

func firstLine(r io.Reader, from string) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fail(exitUsage, "%s holds no passphrase", from)
	}
	return line, nil
}

// openBackup opens a file to be read.
func (p passphraseFlags) openBackup(con *console, file string) (*backup.Source, error) {
	s, err := backup.Open(file, func() (string, error) { return p.read(con, false) })
	if errors.Is(err, os.ErrNotExist) {
		return nil, fail(exitNotFound, "there is no backup %s", file)
	}
	return s, err
}

// shown shows how far a backup is.
func (p *progress) backup(total int64) func(backup.Figures) {
	return func(f backup.Figures) {
		p.write(func() string {
			done := ""
			if total > 0 {
				done = fmt.Sprintf("%3d %%, ", 100*f.File/total)
			}
			return fmt.Sprintf("%s: %s%s in %s of the file", f.Table, done, octets(f.Bytes), octets(f.File))
		})
	}
}

// figures is how the end of each of these commands looks to programs.
type figures struct {
	File string `json:"file"`
	backup.Figures
	Encrypted bool            `json:"encrypted"`
	Manifest  *backupManifest `json:"manifest,omitempty"`
	Tables    []backup.Count  `json:"tables,omitempty"`
	Seconds   float64         `json:"seconds"`
	DryRun    bool            `json:"dry_run,omitempty"`
}

// backupManifest is the manifest without the secret key.
type backupManifest struct {
	backup.Manifest
	SecretKey bool `json:"secret_key"` // it is in
}

func openManifest(m *backup.Manifest) *backupManifest {
	shown := &backupManifest{Manifest: *m, SecretKey: m.SecretKey != nil}
	shown.Manifest.SecretKey = nil
	return shown
}

func rate(f backup.Figures) string {
	seconds := max(f.Took.Seconds(), 0.001)
	return fmt.Sprintf("%.1f s, %.0f messages and %s a second", seconds, float64(f.Messages)/seconds, octets(int64(float64(f.Bytes)/seconds)))
}

type siteBackupVerifyCmd struct {
	File string `arg:"" help:"The backup."`
	passphraseFlags
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *siteBackupVerifyCmd) Run(ctx context.Context, con *console) error {
	src, err := c.openBackup(con, c.File)
	if err != nil {
		return err
	}
	defer src.Close()
	p := newProgress(con, "verified")
	total := src.Size
	m, counts, f, err := src.Verify(ctx, p.backup(total))
	p.end()
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.JSON {
		return con.json(figures{File: c.File, Figures: f, Encrypted: src.Encrypted, Manifest: openManifest(m), Tables: counts, Seconds: f.Took.Seconds()})
	}
	return con.say("%s is whole: %d accounts, %d messages, %d rows in %d tables, %s; %s", c.File, f.Accounts, f.Messages, f.Rows, len(counts), octets(f.File), rate(f))
}

type siteBackupShowCmd struct {
	File string `arg:"" help:"The backup."`
	passphraseFlags
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *siteBackupShowCmd) Run(_ context.Context, con *console) error {
	src, err := c.openBackup(con, c.File)
	if err != nil {
		return err
	}
	defer src.Close()
	m, err := src.Manifest()
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.JSON {
		return con.json(struct {
			File      string `json:"file"`
			Encrypted bool   `json:"encrypted"`
			*backupManifest
		}{c.File, src.Encrypted, openManifest(m)})
	}
	of := "a whole site"
	if m.Partial {
		of = "accounts of a site"
	}
	yes := map[bool]string{true: "yes", false: "no"}
	err = con.fields([][2]string{
		{"file", c.File + " (" + octets(src.Size) + ")"}, {"of", of}, {"host", m.Hostname}, {"taken", m.Created.Local().Format("2006-01-02 15:04:05 -0700")},
		{"posthouse", m.Version}, {"schema", strconv.FormatInt(m.Schema, 10)}, {"postgres", m.Postgres}, {"encrypted", yes[src.Encrypted]},
		{"secret key in it", yes[m.SecretKey != nil]}, {"events in it", yes[m.Events]},
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, a := range m.Accounts {
		rows = append(rows, []string{a.Address, strconv.FormatInt(a.Messages, 10), octets(a.Bytes)})
	}
	return con.table("ACCOUNT MESSAGES SIZE", rows)
}
