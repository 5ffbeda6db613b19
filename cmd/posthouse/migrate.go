package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"posthouse/internal/config"
	"posthouse/migrations"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" default:"1" help:"Apply what is pending (the default)."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations and when they were applied."`

	Postgres migratePostgresCmd `cmd:"" help:"Move the private cluster to the major version of PostgreSQL that this posthouse runs."`
}

// database opens only the database, whatever its schema.
func (con *console) database(ctx context.Context, create bool) (*site, error) {
	c, err := con.place.resolve()
	if err != nil {
		return nil, err
	}
	log, err := newLog(con.err, config.Log{Level: "warn", Format: c.Log.Format})
	if err != nil {
		return nil, err
	}
	s := &site{config: c, url: c.Database}
	if s.url == "" {
		if err := s.attach(ctx, create, log); err != nil {
			s.close()
			return nil, err
		}
	}
	if s.pool, err = newPool(ctx, s.url, commandConnections); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

type migrateUpCmd struct{ changeFlags }

func (c *migrateUpCmd) Run(ctx context.Context, con *console) error {
	s, err := con.database(ctx, true)
	if err != nil {
		return err
	}
	defer s.close()
	steps, err := migrations.Status(ctx, s.url)
	if err != nil {
		return err
	}
	pending := 0
	for _, step := range steps {
		if step.AppliedAt.IsZero() {
			pending++
		}
	}
	if pending == 0 {
		return con.say("the schema is up to date (%d migrations)", len(steps))
	}
	if !c.DryRun {
		if err := migrations.Up(ctx, s.url, nil); err != nil {
			return err
		}
	}
	n := strconv.Itoa(pending)
	return c.done(con, n+" migrations applied", "apply "+n+" migrations")
}

type migrateStatusCmd struct{ listFlags }

func (c *migrateStatusCmd) Run(ctx context.Context, con *console) error {
	s, err := con.database(ctx, false)
	if err != nil {
		return err
	}
	defer s.close()
	steps, newer := migrations.Status(ctx, s.url)
	if newer != nil && !errors.Is(newer, migrations.ErrNewerSchema) {
		return newer
	}
	type view struct {
		Version int64      `json:"version"`
		Name    string     `json:"name"`
		Applied *time.Time `json:"applied"`
	}
	views := make([]view, len(steps))
	rows := make([][]string, len(steps))
	for i, step := range steps {
		views[i] = view{Version: step.Version, Name: step.Name}
		when := "pending"
		if !step.AppliedAt.IsZero() {
			views[i].Applied = &steps[i].AppliedAt
			when = step.AppliedAt.Format(time.DateTime)
		}
		rows[i] = []string{strconv.FormatInt(step.Version, 10), step.Name, when}
	}
	if c.JSON {
		err = con.json(views)
	} else {
		err = con.table("VERSION NAME APPLIED", rows)
	}
	return errors.Join(err, newer)
}
