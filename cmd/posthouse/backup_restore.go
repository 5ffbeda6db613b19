package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/backup"
	"posthouse/internal/config"
	"posthouse/mailstore"
	"posthouse/mailstore/localpg"
	"posthouse/migrations"
)

type siteBackupRestoreCmd struct {
	File string `arg:"" help:"The backup."`
	passphraseFlags
	Account      []string `help:"Bring only this account's messages back, into the site that is there; may be repeated." placeholder:"ADDR"`
	To           string   `help:"Into another account." placeholder:"ADDR"`
	Message      []string `help:"Only the message with this EMAILID (M…); may be repeated." placeholder:"ID"`
	Apart        bool     `help:"Into folders below 'Restored DATE' instead of those of the same names."`
	ReleaseQueue bool     `help:"Let mail that waited in the queue go on at once; some of it may have been sent since the backup."`
	DryRun       bool     `help:"Read and check everything, change nothing."`
	JSON         bool     `name:"json" help:"Print JSON."`
}

func (c *siteBackupRestoreCmd) Run(ctx context.Context, con *console) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case c.To != "" && len(c.Account) != 1:
		return fail(exitUsage, "--to says where one account goes: name it with --account")
	case len(c.Message) > 0 && len(c.Account) != 1:
		return fail(exitUsage, "--message needs the account that had it: name it with --account")
	case c.Apart && len(c.Account) == 0:
		return fail(exitUsage, "--apart is for accounts that are brought back into a site: name them with --account")
	}
	src, err := c.openBackup(con, c.File)
	if err != nil {
		return err
	}
	defer src.Close()
	m, err := src.Manifest()
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	latest, err := migrations.Latest()
	if err != nil {
		return err
	}
	if m.Schema > latest {
		return fail(exitConfig, "%w: it has schema %d, this program knows %d; install posthouse %s or later", backup.ErrNewer, m.Schema, latest, m.Version)
	}
	if len(c.Account) > 0 {
		return c.take(ctx, con, src, m)
	}
	if m.Partial {
		return fail(exitUsage, "%w: name those to bring back with --account", backup.ErrPartial)
	}
	return c.whole(ctx, con, src, m)
}

// whole makes a site of the backup.
func (c *siteBackupRestoreCmd) whole(ctx context.Context, con *console, src *backup.Source, m *backup.Manifest) error {
	cfg, err := con.place.resolve()
	if err != nil {
		return err
	}
	log, err := newLog(con.err, config.Log{Level: "warn", Format: cfg.Log.Format})
	if err != nil {
		return err
	}
	p := newProgress(con, "restored")
	in := &restoring{cfg: cfg, log: log, src: src, m: m, o: backup.Restoring{ReleaseQueue: c.ReleaseQueue, Progress: p.backup(src.Size)}, dry: c.DryRun}
	f, err := in.run(ctx)
	p.end()
	if err != nil {
		return wrap(err, "%s", c.File)
	}
	if c.JSON {
		return con.json(figures{File: c.File, Figures: f, Encrypted: src.Encrypted, Seconds: f.Took.Seconds(), DryRun: c.DryRun})
	}
	if c.DryRun {
		return con.say("%d accounts, %d messages would be restored (dry run, nothing changed); the backup is whole", f.Accounts, f.Messages)
	}
	if err := con.say("%d accounts, %d messages restored; %s", f.Accounts, f.Messages, rate(f)); err != nil {
		return err
	}
	if m.SecretKey == nil {
		if err := con.say("The secret key is not in the backup: put the site's into %s before the server starts", cfg.SecretKey); err != nil {
			return err
		}
	}
	if f.Held > 0 {
		return con.say("%d recipients wait in the queue, held: some may have been sent after the backup. See `posthouse queue list`, then `posthouse queue release --all` or `posthouse queue bounce`", f.Held)
	}
	return nil
}

// restoring is a site on its way.
type restoring struct {
	cfg config.Config
	log *slog.Logger
	src *backup.Source
	m   *backup.Manifest
	o   backup.Restoring
	dry bool
}

func (in *restoring) run(ctx context.Context) (backup.Figures, error) {
	if in.cfg.Database == "" {
		return in.folder(ctx)
	}
	if in.dry {
		if err := in.fits(ctx, in.cfg.Database); err != nil {
			return backup.Figures{}, err
		}
		_, _, f, err := in.src.Verify(ctx, in.o.Progress)
		return f, err
	}
	if err := in.fits(ctx, in.cfg.Database); err != nil {
		return backup.Figures{}, err
	}
	account, _, err := localpg.Unprivileged()
	if err != nil {
		return backup.Figures{}, fail(exitConfig, "%w", err)
	}
	if err := in.key(account); err != nil {
		return backup.Figures{}, err
	}
	return in.fill(ctx, in.cfg.Database)
}

// aside is where a data folder is made until it is whole.
const aside = ".restoring"

// folder makes the private cluster of a data folder: aside first, so that a
// crash leaves nothing that a server would start on.
func (in *restoring) folder(ctx context.Context) (backup.Figures, error) {
	data := in.cfg.Data
	if err := in.vacant(data); err != nil {
		return backup.Figures{}, err
	}
	if in.dry {
		_, _, f, err := in.src.Verify(ctx, in.o.Progress)
		return f, err
	}
	tmp := filepath.Join(data, aside)
	if _, pid, ok := localpg.Running(tmp); ok {
		return backup.Figures{}, fail(exitConflict, "process %d restores into %s now", pid, data)
	}
	if err := os.RemoveAll(tmp); err != nil {
		return backup.Figures{}, fmt.Errorf("remove what an interrupted restore left: %w", err)
	}
	account, _, err := localpg.Unprivileged()
	if err != nil {
		return backup.Figures{}, fail(exitConfig, "%w", err)
	}
	for _, dir := range []string{data, tmp} {
		if err := makeData(dir, account); err != nil {
			return backup.Figures{}, err
		}
	}
	f, err := in.cluster(ctx, tmp)
	if err != nil {
		return f, errors.Join(err, os.RemoveAll(tmp))
	}
	if err := in.key(account); err != nil {
		return f, errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(filepath.Join(tmp, "postgres"), filepath.Join(data, "postgres")); err != nil {
		return f, fmt.Errorf("put the site into its place: %w", err)
	}
	if err := syncDir(data); err != nil {
		return f, fmt.Errorf("put the site into its place: %w", err)
	}
	return f, os.RemoveAll(tmp)
}

// cluster fills a new private cluster in dir, and stops it.
func (in *restoring) cluster(ctx context.Context, dir string) (f backup.Figures, err error) {
	c, err := localpg.Start(ctx, localpg.Options{Data: dir, Log: in.log})
	if err != nil {
		return f, clusterError(err)
	}
	f, err = in.fill(ctx, c.URL())
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if err := errors.Join(err, c.Stop(stopping)); err != nil {
		return f, err
	}
	return f, nil
}

// vacant says whether a data folder holds no site.
func (in *restoring) vacant(data string) error {
	entries, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail(exitConfig, "data folder: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case aside, "lost+found":
		case filepath.Base(in.cfg.SecretKey): // compared in key
		default:
			return fail(exitConflict, "%w: %s holds %s; a backup is restored into an empty folder. Name one with --data, move that away, or bring accounts back into the site with --account", backup.ErrNotEmpty, data, e.Name())
		}
	}
	return nil
}

// fits says whether the database can take the backup.
func (in *restoring) fits(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fail(exitDatabase, "the database does not answer: %w", &briefly{err})
	}
	defer conn.Close(context.WithoutCancel(ctx))
	switch empty, schema, err := backup.Empty(ctx, conn); {
	case err != nil:
		return err
	case !empty:
		return fail(exitConflict, "%w: the database is not empty. Give an empty one, or bring accounts back into the site with --account", backup.ErrNotEmpty)
	case schema > in.m.Schema:
		return fail(exitConflict, "the database is empty, but has schema %d already and the backup %d: give a database without tables, it is brought to this version's schema afterwards", schema, in.m.Schema)
	}
	return nil
}

// fill restores into an empty database, at the schema of the backup, and then
// brings it to that of this program.
func (in *restoring) fill(ctx context.Context, url string) (backup.Figures, error) {
	if err := migrations.UpTo(ctx, url, in.m.Schema, in.log); err != nil {
		return backup.Figures{}, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return backup.Figures{}, fail(exitDatabase, "the database does not answer: %w", &briefly{err})
	}
	defer conn.Close(context.WithoutCancel(ctx))
	f, err := in.src.Restore(ctx, conn, in.o)
	if err != nil {
		return f, err
	}
	if _, err := conn.Exec(ctx, `SET statement_timeout = 0; ANALYZE`); err != nil {
		return f, fmt.Errorf("gather statistics: %w", err)
	}
	return f, migrations.Up(ctx, url, in.log)
}

// key puts the secret key into its file, if it is not there.
func (in *restoring) key(account localpg.Account) error {
	if in.m.SecretKey == nil {
		return nil
	}
	file := in.cfg.SecretKey
	if _, err := os.Stat(file); err == nil {
		have, err := config.OpenSecretKey(file)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, in.m.SecretKey) {
			return fail(exitConflict, "%s is the secret key of another site: move it away first", file)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fail(exitConfig, "folder of the secret key: %w", err)
	}
	if err := config.WriteSecret(file, []byte(hex.EncodeToString(in.m.SecretKey)+"\n")); err != nil {
		return fmt.Errorf("write the secret key: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return wrap(os.Chown(file, account.UID, account.GID), "give the secret key to user %s", account.Name)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// take brings accounts or messages back into the site that is there.
func (c *siteBackupRestoreCmd) take(ctx context.Context, con *console, src *backup.Source, m *backup.Manifest) error {
	var ids []int64
	for _, text := range c.Message {
		id, err := strconv.ParseInt(strings.TrimPrefix(text, "M"), 10, 64)
		if err != nil {
			return fail(exitUsage, "%q is not an EMAILID: it is M and a number, as `FETCH … EMAILID` and `mail undelete` show it", text)
		}
		ids = append(ids, id)
	}
	s, err := con.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	p := newProgress(con, "restored")
	var sum backup.Figures
	for _, text := range c.Account {
		from, err := parseAddress(text)
		if err != nil {
			return err
		}
		to := from
		if c.To != "" {
			if to, err = parseAddress(c.To); err != nil {
				return err
			}
		}
		account, err := s.directory.Account(ctx, to)
		if err != nil {
			return explain(err, "account", to.String())
		}
		o := backup.Taking{Account: from.String(), Messages: ids, To: mailstore.AccountID(account.ID), DryRun: c.DryRun, Progress: p.backup(0)}
		if c.Apart {
			o.Below = "Restored " + m.Created.Local().Format(time.DateOnly)
		}
		f, err := src.Take(ctx, s.pool, s.store, o)
		p.end()
		sum.Accounts, sum.Messages, sum.Known = sum.Accounts+f.Accounts, sum.Messages+f.Messages, sum.Known+f.Known
		sum.Bytes, sum.Took = sum.Bytes+f.Bytes, sum.Took+f.Took
		if err != nil {
			return wrap(transferError(err, to.String()), "%s", c.File)
		}
	}
	if c.JSON {
		return con.json(figures{File: c.File, Figures: sum, Encrypted: src.Encrypted, Seconds: sum.Took.Seconds(), DryRun: c.DryRun})
	}
	would := ""
	if c.DryRun {
		would = "would be "
	}
	return con.say("%d messages %srestored, %d already there; %s", sum.Messages, would, sum.Known, rate(sum))
}
