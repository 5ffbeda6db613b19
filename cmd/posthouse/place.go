package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/mailstore"
	"posthouse/mailstore/localpg"
	"posthouse/migrations"
	"posthouse/smtp/mailauth"
)

// place says which server a command is about.
type place struct {
	Config   string `help:"Configuration file of a site (default /etc/posthouse/posthouse.toml where it exists)." placeholder:"FILE"`
	Data     string `help:"Data folder (default $$XDG_DATA_HOME/posthouse; for a site or root /var/lib/posthouse)." placeholder:"DIR"`
	Database string `help:"Postgres to use instead of the private one in the data folder." placeholder:"URL" env:"POSTHOUSE_DATABASE_URL"`
}

// resolve makes the configuration of a command other than serve: that of the
// file if there is one, else of a local server.
func (p *place) resolve() (config.Config, error) {
	file := p.Config
	if file == "" && p.Data == "" {
		if _, err := os.Stat(config.File); err == nil {
			file = config.File
		}
	}
	c := config.Local()
	if file != "" {
		c = config.Site()
		if err := c.Read(file); err != nil {
			return c, err
		}
	}
	p.overrule(&c)
	return c, c.Check()
}

// overrule puts the flags and the variable above the file.
func (p *place) overrule(c *config.Config) {
	c.Data = cmp.Or(p.Data, c.Data)
	c.Database = cmp.Or(p.Database, c.Database)
}

// site is an open database and what works on it.
type site struct {
	config    config.Config
	url       string
	cluster   *localpg.Cluster // nil: the user's own database, or a running server's
	pool      *pgxpool.Pool
	store     *mailstore.Store
	directory *directory.Directory
	keys      *mailauth.Keys
	secret    []byte // the site's; nil on a machine without its files
}

// commandConnections is the size of a command's pool; two are taken by those
// who listen for changes.
const commandConnections = 6

// open opens the site for a command, whether its server runs or not.
func (con *console) open(ctx context.Context) (*site, error) { return con.openSite(ctx, false) }

// openNew is open for the commands that a new site begins with: it makes the
// private cluster where there is none yet.
func (con *console) openNew(ctx context.Context) (*site, error) { return con.openSite(ctx, true) }

func (con *console) openSite(ctx context.Context, create bool) (_ *site, err error) {
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
		if err := s.attach(ctx, create, log); err != nil {
			return nil, err
		}
	}
	if s.pool, err = newPool(ctx, s.url, commandConnections); err != nil {
		return nil, err
	}
	if err := s.checkSchema(ctx, log); err != nil {
		return nil, err
	}
	if s.store, err = mailstore.Open(ctx, s.pool, mailstore.Options{Log: log}); err != nil {
		return nil, fmt.Errorf("open the mailstore: %w", err)
	}
	key, shared, err := s.key(ctx)
	if err != nil {
		return nil, err
	}
	s.secret = shared
	if s.keys, err = mailauth.NewKeys(s.pool, shared, log); err != nil {
		return nil, err
	}
	s.directory, err = directory.New(s.pool, directory.Options{
		Key: key, MadeUp: shared == nil, Hostname: c.Hostname, Log: log,
		OnCreate: onCreate(s.store), OnDomain: s.keys.CreateFor,
	})
	return s, err
}

// attach connects to the private cluster: through the server that runs it, else
// by starting it for as long as the command takes.
func (s *site) attach(ctx context.Context, create bool, log *slog.Logger) error {
	if url, _, ok := localpg.Running(s.config.Data); ok && url != "" {
		s.url = url
		return nil
	}
	if !create {
		if _, err := os.Stat(filepath.Join(s.config.Data, "postgres")); errors.Is(err, fs.ErrNotExist) {
			return fail(exitDatabase, "there is no posthouse in %s: start one with `posthouse serve`, begin one with `posthouse domain add`, or say where it is with --config, --data or --database", s.config.Data)
		}
	}
	account, change, err := localpg.Unprivileged()
	if err != nil {
		return fail(exitConfig, "%w", err)
	}
	if err := makeData(s.config.Data, account); err != nil {
		return err
	}
	if s.cluster, err = localpg.Start(ctx, localpg.Options{Data: s.config.Data, Log: log}); err != nil {
		return clusterError(err)
	}
	s.url = s.cluster.URL()
	if change {
		return dropRoot(s.cluster.Account()) // what is written from here on belongs to the server
	}
	return nil
}

// checkSchema brings the schema up to date where the database is at rest; with
// a server running on it that is for `posthouse migrate` to decide.
func (s *site) checkSchema(ctx context.Context, log *slog.Logger) error {
	if s.cluster != nil {
		return wrap(migrations.Up(ctx, s.url, log), "prepare the database")
	}
	return migrations.Check(ctx, s.url)
}

// key is the site's secret key, twice. A command that works on a database from a
// machine without the site's files has none: for what does not outlive it, a
// random key serves instead, and nothing is sealed; shared is nil then.
func (s *site) key(ctx context.Context) (key, shared []byte, err error) {
	if key, err = directory.KnownSiteKey(ctx, s.pool); key != nil || err != nil {
		return key, key, err // of a local server
	}
	if s.config.Database != "" {
		if _, err := os.Stat(s.config.SecretKey); errors.Is(err, fs.ErrNotExist) {
			key := make([]byte, config.SecretKeySize)
			rand.Read(key)
			return key, nil, nil
		}
	}
	if key, err = config.OpenSecretKey(s.config.SecretKey); err != nil {
		return nil, nil, err
	}
	if key, err = directory.SiteKey(ctx, s.pool, key, false); errors.Is(err, directory.ErrSiteKey) {
		err = fail(exitConfig, "%w: %s is another one; copy it from a node of the site", err, s.config.SecretKey)
	}
	return key, key, err
}

// close gives everything back; a private cluster that was started for the
// command is stopped.
func (s *site) close() {
	if s.directory != nil {
		s.directory.Close()
	}
	if s.store != nil {
		s.store.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.cluster != nil {
		s.cluster.Stop(context.Background())
	}
}

// explain says what an error of the directory means for a command on the named
// thing, and what to do.
func explain(err error, kind, name string) error {
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return fail(exitNotFound, "%s %s does not exist; `posthouse %s list` shows those that do", kind, name, kind)
	case errors.Is(err, directory.ErrConflict), errors.Is(err, directory.ErrInvalid):
		return err // it says what is in the way, and to what
	}
	return wrap(err, "%s %s", kind, name)
}

// created is explain for a command that makes something.
func created(err error, kind, name string) error {
	if errors.Is(err, directory.ErrConflict) {
		return fmt.Errorf("%s %s cannot be added, the name is taken: %w", kind, name, err)
	}
	return explain(err, kind, name)
}
