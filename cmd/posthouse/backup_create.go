package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"posthouse/internal/backup"
	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/mailstore/localpg"
)

type siteBackupCreateCmd struct {
	File string `arg:"" help:"Where to; it must not exist."`
	passphraseFlags
	Encrypt          bool     `help:"Encrypt with a passphrase that is asked for."`
	Account          []string `help:"Only this account; may be repeated." placeholder:"ADDR"`
	WithoutEvents    bool     `help:"Leave out what trace reads."`
	WithoutSecretKey bool     `help:"Leave out the secret key: without that file the backup cannot be restored in full."`
	JSON             bool     `name:"json" help:"Print JSON."`
}

func (c *siteBackupCreateCmd) Run(ctx context.Context, con *console) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := backup.Options{Version: version(), WithoutEvents: c.WithoutEvents}
	for _, a := range c.Account {
		addr, err := parseAddress(a)
		if err != nil {
			return err
		}
		o.Accounts = append(o.Accounts, addr.String())
	}
	passphrase := ""
	if c.Encrypt || c.given() {
		var err error
		if passphrase, err = c.read(con, true); err != nil {
			return err
		}
	}
	s, err := con.openPlain(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	o.Hostname = s.config.Hostname
	if !c.WithoutSecretKey && len(o.Accounts) == 0 {
		if o.SecretKey, err = s.presentKey(ctx); err != nil {
			return err
		}
	}
	file, err := backup.NewFile(c.File, passphrase)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitConflict, "%s exists: a backup is not written over, choose another name", c.File)
	}
	if err != nil {
		return err
	}
	return c.write(ctx, con, s, file, o, passphrase != "")
}

func (c *siteBackupCreateCmd) write(ctx context.Context, con *console, s *site, file *backup.File, o backup.Options, encrypted bool) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return errors.Join(err, file.Discard())
	}
	defer conn.Release()
	p := newProgress(con, "written")
	o.Progress = p.backup(0)
	f, err := backup.Create(ctx, conn.Conn(), file, o)
	p.end()
	if err != nil {
		return errors.Join(err, file.Discard())
	}
	if f.File, err = file.Commit(); err != nil {
		return err
	}
	if c.JSON {
		return con.json(figures{File: c.File, Figures: f, Encrypted: encrypted, Seconds: f.Took.Seconds()})
	}
	if err := con.say("%s: %d accounts, %d messages, %s; %s", c.File, f.Accounts, f.Messages, octets(f.File), rate(f)); err != nil {
		return err
	}
	switch {
	case o.SecretKey == nil && len(o.Accounts) == 0:
		return con.say("The secret key is not in it: keep a copy of the file %s, or DKIM keys, certificates and passwords of relays are lost", s.config.SecretKey)
	case !encrypted && len(o.Accounts) == 0:
		return con.say("It holds all mail and the site's secret key, not encrypted: keep it where nobody else reads (its mode is 0600)")
	}
	return nil
}

// openPlain opens the database alone, of whatever schema, and remains who it is:
// a backup is written and read with the rights of who asks.
func (con *console) openPlain(ctx context.Context) (_ *site, err error) {
	c, err := con.place.resolve()
	if err != nil {
		return nil, err
	}
	log, err := newLog(con.err, config.Log{Level: "warn", Format: c.Log.Format})
	if err != nil {
		return nil, err
	}
	s := &site{config: c, url: c.Database}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.url == "" {
		if url, _, ok := localpg.Running(c.Data); ok && url != "" {
			s.url = url
		} else if _, err := os.Stat(filepath.Join(c.Data, "postgres")); errors.Is(err, fs.ErrNotExist) {
			return nil, fail(exitDatabase, "there is no posthouse in %s: say where it is with --config, --data or --database", c.Data)
		} else if s.cluster, err = localpg.Start(ctx, localpg.Options{Data: c.Data, Log: log}); err != nil {
			return nil, clusterError(err)
		} else {
			s.url = s.cluster.URL()
		}
	}
	s.pool, err = newPool(ctx, s.url, 2)
	return s, err
}

// presentKey is the site's secret key, which is not made here.
func (s *site) presentKey(ctx context.Context) ([]byte, error) {
	key, err := directory.KnownSiteKey(ctx, s.pool)
	if err != nil || key != nil {
		return key, err
	}
	if _, err := os.Stat(s.config.SecretKey); err != nil {
		return nil, fail(exitConfig, "the secret key is not here (%w): run this on a node of the site, or leave it out with --without-secret-key and keep it elsewhere", err)
	}
	if key, err = config.OpenSecretKey(s.config.SecretKey); err != nil {
		return nil, err
	}
	if _, err := directory.SiteKey(ctx, s.pool, key, false); errors.Is(err, directory.ErrSiteKey) {
		return nil, fail(exitConfig, "%w: %s is another one; copy it from a node of the site", err, s.config.SecretKey)
	} else if err != nil {
		return nil, fmt.Errorf("compare the secret key: %w", err)
	}
	return key, nil
}
