package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/config"
	"posthouse/internal/directory"
	"posthouse/mailstore/localpg"
	"posthouse/migrations"
)

// stopPatience is more than Postgres takes to write its last checkpoint.
const stopPatience = time.Minute

// ground is what a server stands on: its folder, its user and its database.
type ground struct {
	config  *config.Config
	log     *slog.Logger
	cluster *localpg.Cluster // nil with a database of the user's own
	pool    *pgxpool.Pool
	url     string
	key     []byte
	remove  bool // the folder, at the end
	closing atomic.Bool
	node    nodeFile
}

// lay makes the ground. The ports are bound by now, so root is given up here.
// An ephemeral server has a folder of its own in the data folder.
func lay(ctx context.Context, c *config.Config, ephemeral bool, log *slog.Logger) (_ *ground, err error) {
	if ephemeral {
		dir, err := os.MkdirTemp(c.Data, "posthouse-")
		if err != nil {
			return nil, fail(exitConfig, "make a temporary data folder: %w", err)
		}
		c.MoveTo(dir)
	}
	g := &ground{config: c, log: log, url: c.Database, remove: ephemeral}
	defer func() {
		if err != nil {
			g.clear()
		}
	}()
	account, change, err := localpg.Unprivileged()
	if err != nil {
		return nil, fail(exitConfig, "%w", err)
	}
	if err := makeData(c.Data, account); err != nil {
		return nil, err
	}
	if g.url == "" {
		if g.cluster, err = localpg.Start(ctx, localpg.Options{Data: c.Data, Log: log}); err != nil {
			return nil, clusterError(err)
		}
		g.url, account = g.cluster.URL(), g.cluster.Account()
	}
	if change {
		if err := dropRoot(account); err != nil {
			return nil, err
		}
		log.Info("gave up root", "event", "start", "user", account.Name)
	}
	if err := reach(c.Data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.SpoolDir(), 0o700); err != nil {
		return nil, fail(exitConfig, "make the spool folder: %w", err)
	}
	if g.key, err = config.OpenSecretKey(c.SecretKey); err != nil {
		return nil, err
	}
	if err := g.openDatabase(ctx); err != nil {
		return nil, err
	}
	g.key, err = directory.SiteKey(ctx, g.pool, g.key, c.Local)
	if errors.Is(err, directory.ErrSiteKey) {
		err = fail(exitConfig, "%w: copy %s from another node of the site", err, c.SecretKey)
	}
	return g, err
}

// name is what people call this node by: the machine's name.
func (g *ground) name() string {
	name, err := os.Hostname()
	if err != nil {
		return g.config.Hostname
	}
	return name
}

// openDatabase connects, refuses a database that could lose mail, and brings
// its schema up to date.
func (g *ground) openDatabase(ctx context.Context) error {
	var err error
	if g.pool, err = newPool(ctx, g.url, g.config.DatabaseConnections); err != nil {
		return err
	}
	var weak *localpg.DurabilityError
	switch err := localpg.CheckDurability(ctx, g.pool); {
	case errors.As(err, &weak) && g.config.UnsafeDatabase:
		g.log.Warn(weak.Error()+"; unsafe_database allows it", "event", "start")
	case errors.As(err, &weak):
		return fail(exitConfig, "%w; switch them on, or set unsafe_database = true in the configuration where losing mail is no harm", weak)
	case err != nil:
		return fail(exitDatabase, "%w", err)
	}
	if g.cluster == nil {
		warnings, err := localpg.ProbeDatabase(ctx, g.pool)
		if err != nil {
			return fail(exitConfig, "%w", err)
		}
		for _, w := range warnings {
			g.log.Warn(w, "event", "start")
		}
	}
	if err := migrations.Up(ctx, g.url, g.log); err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	return nil
}

// newPool connects to a database; idle connections are given back soon, since
// each costs Postgres some megabytes.
func newPool(ctx context.Context, url string, connections int) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fail(exitConfig, "the database URL is not understood: %w", err)
	}
	c.MaxConns = int32(connections)
	c.MaxConnIdleTime = 30 * time.Second
	c.HealthCheckPeriod = 10 * time.Second
	c.ConnConfig.ConnectTimeout = 10 * time.Second
	c.ConnConfig.RuntimeParams["application_name"] = "posthouse"
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fail(exitConfig, "the database URL is not understood: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fail(exitDatabase, "the database does not answer: %w; check that it runs, and the URL in --database, %s or the configuration", &briefly{err}, config.DatabaseVariable)
	}
	return pool, nil
}

// clusterError gives an error of the private Postgres its exit code.
func clusterError(err error) error {
	var path *localpg.PathError
	var other *localpg.VersionError
	var inUse *localpg.InUseError
	switch {
	case errors.As(err, &path), errors.As(err, &other), errors.Is(err, localpg.ErrNoAccount), errors.Is(err, syscall.EACCES):
		return fail(exitConfig, "%w", err)
	case errors.As(err, &inUse):
		return fail(exitConflict, "%w: stop that one, or join it with --database '%s' and a data folder of your own (--data)", err, inUse.URL)
	}
	return fail(exitDatabase, "the private Postgres does not start: %w", err)
}

// ready says whether mail can be taken and read now.
func (g *ground) ready(ctx context.Context) error {
	if g.closing.Load() {
		return errors.New("the server is stopping")
	}
	return g.pool.Ping(ctx)
}

// clear gives everything back, the database last.
func (g *ground) clear() {
	g.node.remove()
	if g.pool != nil {
		g.pool.Close()
	}
	if g.cluster != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
		defer cancel()
		if err := g.cluster.Stop(ctx); err != nil {
			g.log.Warn("stop the private Postgres", "event", "stop", "err", err)
		}
	}
	if g.remove {
		if err := os.RemoveAll(g.config.Data); err != nil {
			g.log.Warn("remove the temporary data folder", "event", "stop", "err", err)
		}
	}
}

// announce prints the ready line or page, and notes for `posthouse status`
// where this node listens.
func (g *ground) announce(con *console, asJSON bool, ports []listener, accounts []login, inbox *login, ca string) error {
	r := ready{
		Ready: true, PID: os.Getpid(), Hostname: g.config.Hostname, Listen: make(map[string]string),
		Accounts: accounts, Captured: inbox, CA: ca, Database: g.url, Data: g.config.Data,
	}
	if r.Accounts == nil {
		r.Accounts = []login{}
	}
	for _, p := range ports {
		r.Listen[p.name] = p.address()
	}
	if g.cluster != nil {
		r.Postgres = &postgres{g.cluster.PID()}
	}
	if err := g.node.write(g.config.Data, r, g.config.Testing); err != nil {
		g.log.Warn("note this node for `posthouse status`", "event", "start", "err", err)
	}
	debug.FreeOSMemory() // hashing passwords took tens of megabytes that an idle server would keep for long
	g.log.Info("ready", "event", "ready", "version", version(), "hostname", r.Hostname, "listen", r.Listen)
	if asJSON {
		return r.line(con.out)
	}
	return r.page(con.out, g.config.Local)
}

// briefly shows an error in one line: pgx lists each address that it tried, in
// lines of their own and once more for TLS.
type briefly struct{ error }

func (b *briefly) Error() string {
	var parts []string
	for line := range strings.Lines(b.error.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(parts, line) {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, " ")
}

func (b *briefly) Unwrap() error { return b.error }
