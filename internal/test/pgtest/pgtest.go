// Package pgtest gives tests a real PostgreSQL. The first test of a process
// that asks starts one private cluster on a Unix socket; every test gets a
// database of its own, copied from a template that was migrated once. fsync is
// off (the cluster dies with the process), the rest works as on a real site.
//
// A small shell holds the cluster: it waits on a pipe from the test process,
// and when that ends, by whatever cause, it stops PostgreSQL and removes the
// folder. So no goroutine is left for a leak check to find.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/migrations"
)

// Patience bounds each step of setting up; a loaded machine is slow, and a test
// that hangs tells less than one that fails.
const patience = 2 * time.Minute

var (
	shared   = sync.OnceValues(start)
	template = sync.OnceValue(makeTemplate)
	number   atomic.Int64
)

// templateName is the migrated database that tests get copies of.
const templateName = "posthouse_template"

// URL is the address of a fresh database with the schema of this binary. It is
// dropped when the test ends, whoever is still connected.
func URL(t testing.TB) string {
	t.Helper()
	if err := template(); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return create(t, templateName)
}

// Empty is the address of a fresh database without any table.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, "template0")
}

// Pool is a connection pool on a fresh migrated database, closed when the test
// ends.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return PoolOn(t, URL(t))
}

// PoolOn is one more pool on a database, as a second node has it.
func PoolOn(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), databaseURL)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func create(t testing.TB, from string) string {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	name := fmt.Sprintf("test_%d", number.Add(1))
	// Copying files is twice as fast as writing them through the log, where
	// nothing is flushed.
	if err := c.exec("CREATE DATABASE " + name + " STRATEGY file_copy TEMPLATE " + from); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := c.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return c.url(name)
}

func makeTemplate() error {
	c, err := shared()
	if err != nil {
		return err
	}
	if err := c.exec("CREATE DATABASE " + templateName + " STRATEGY file_copy"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return migrations.Up(ctx, c.url(templateName), nil)
}

// cluster is the running PostgreSQL of this process.
type cluster struct{ folder, user string }

func (c *cluster) url(database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&port=5432&user=%s", database, url.QueryEscape(c.folder), c.user)
}

func (c *cluster) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
