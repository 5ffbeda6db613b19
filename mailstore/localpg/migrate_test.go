package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// migrationSchema has of each kind of thing that a copy could get wrong.
func migrationSchema(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `
		CREATE SEQUENCE IF NOT EXISTS lone INCREMENT BY 1024;
		CREATE SEQUENCE IF NOT EXISTS untouched START WITH 7;
		CREATE TABLE IF NOT EXISTS child_first (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent bigint, data bytea, uids int8multirange,
			words text[], at timestamptz, twice bigint GENERATED ALWAYS AS (parent * 2) STORED);
		CREATE TABLE IF NOT EXISTS parent (id bigint PRIMARY KEY, "Odd name" text);
		CREATE TABLE IF NOT EXISTS parted (k bigint NOT NULL, v text, PRIMARY KEY (k)) PARTITION BY HASH (k);
		CREATE TABLE IF NOT EXISTS parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE IF NOT EXISTS parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE IF NOT EXISTS single (one int DEFAULT 1);
		INSERT INTO single SELECT 1 WHERE NOT EXISTS (SELECT FROM single);
		DO $$ BEGIN
			IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'fk') THEN
				ALTER TABLE child_first ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parent;
			END IF;
		END $$`)
	return err
}

func execSQL(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(testContext(t), sql); err != nil {
		t.Fatal(err)
	}
}

// digest is all that the tables hold.
func digest(t *testing.T, c *Cluster) string {
	t.Helper()
	return mustQuery(t, c, `SELECT concat_ws(' ', (SELECT md5(string_agg(x::text, ' ' ORDER BY id)) FROM child_first x), (SELECT md5(string_agg(x::text, ' ' ORDER BY id)) FROM parent x),
		(SELECT md5(string_agg(x::text, ' ' ORDER BY k)) || count(*) FROM parted x), (SELECT count(*) FROM single), (SELECT last_value::text || is_called FROM lone), (SELECT last_value::text || is_called FROM untouched))`)
}

// oldCluster makes a cluster with data, stopped.
func oldCluster(t *testing.T, home string, install *Install) (digestOf string) {
	t.Helper()
	c, err := Start(testContext(t), Options{Data: home, Log: logger(t), install: install})
	if err != nil {
		t.Fatal(err)
	}
	if err := migrationSchema(testContext(t), c.URL()); err != nil {
		t.Fatal(err)
	}
	execSQL(t, c.URL(), `INSERT INTO parent SELECT g, E'é\t\\N\n' || g FROM generate_series(1, 1000) g;
		INSERT INTO child_first (parent, data, uids, words, at) SELECT g, decode(repeat(lpad(to_hex(g), 4, '0'), 500), 'hex'), '{[1,3),[5,9)}', ARRAY['a,"b', NULL, ''], now() FROM generate_series(1, 1000) g;
		INSERT INTO child_first (parent) VALUES (NULL);
		INSERT INTO parted SELECT g, g::text FROM generate_series(1, 5000) g;
		SELECT nextval('lone'), nextval('lone')`)
	digestOf = digest(t, c)
	stop(t, c)
	return digestOf
}

func thisSystem(t *testing.T) *Install {
	t.Helper()
	i, err := System(testContext(t), 0)
	if err != nil {
		t.Skip(err)
	}
	return &i
}

func migrate(t *testing.T, home string, from, to *Install, schema func(context.Context, string) error) (*Migration, error) {
	t.Helper()
	return Migrate(testContext(t), MigrateOptions{Data: home, Log: logger(t), Schema: schema, from: from, to: to})
}

func TestMigrate(t *testing.T) {
	from := thisSystem(t)
	home := filepath.Join(open(t), "data")
	want := oldCluster(t, home, from)
	m, err := migrate(t, home, from, from, migrationSchema)
	if err != nil {
		t.Fatal(err)
	}
	if m.Tables != 4 || m.Rows != 1000+1001+5000+1 {
		t.Errorf("%+v", m)
	}
	c, err := Start(testContext(t), Options{Data: home, Log: logger(t), install: from})
	if err != nil {
		t.Fatal(err)
	}
	if got := digest(t, c); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	execSQL(t, c.URL(), `INSERT INTO child_first (parent) VALUES (1)`) // the identity goes on where it stopped
	if got := mustQuery(t, c, `SELECT max(id)::text FROM child_first`); got != "1002" {
		t.Errorf("the next id is %s", got)
	}
	stop(t, c)
	if major, err := dataVersion(m.Kept); err != nil || major != from.Major {
		t.Errorf("the old cluster: %d, %v", major, err)
	}
	for _, suffix := range []string{makingSuffix, wholeSuffix} {
		if _, err := os.Stat(filepath.Join(home, "postgres"+suffix)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("postgres%s is left: %v", suffix, err)
		}
	}
	if _, err := Migrate(testContext(t), MigrateOptions{Data: home, Schema: migrationSchema, to: from}); !errors.Is(err, ErrCurrent) {
		t.Errorf("a second time: %v", err)
	}
}

// TestMigrateFails ends a migration at several points; the old cluster stays in
// charge, as it was.
func TestMigrateFails(t *testing.T) {
	from := thisSystem(t)
	home := filepath.Join(open(t), "data")
	want := oldCluster(t, home, from)
	check := func(what string) {
		t.Helper()
		c, err := Start(testContext(t), Options{Data: home, Log: logger(t), install: from})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer stop(t, c)
		if got := digest(t, c); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	fault := errors.New("made up")
	calls := 0
	_, err := migrate(t, home, from, from, func(ctx context.Context, url string) error {
		if calls++; calls == 2 {
			return fault
		}
		return migrationSchema(ctx, url)
	})
	if !errors.Is(err, fault) {
		t.Errorf("a new cluster without a schema: %v", err)
	}
	check("no schema")

	// what is no table of ours must not be lost
	calls = 0
	_, err = migrate(t, home, from, from, func(ctx context.Context, url string) error {
		if calls++; calls == 1 {
			execSQL(t, url, `CREATE TABLE guest (x int)`)
		}
		return migrationSchema(ctx, url)
	})
	if err == nil || !strings.Contains(err.Error(), "guest") {
		t.Errorf("a table of somebody else: %v", err)
	}
	check("a guest")

	ctx, cancel := context.WithCancel(testContext(t))
	_, err = Migrate(ctx, MigrateOptions{Data: home, Log: logger(t), Schema: func(ctx context.Context, url string) error {
		execSQL(t, url, `DROP TABLE IF EXISTS guest`)
		return migrationSchema(ctx, url)
	}, Progress: func(string, int64) { cancel() }, from: from, to: from})
	if err == nil {
		t.Error("cancelled, and done")
	}
	check("cancelled")

	// a server that runs is left alone
	c, err := Start(testContext(t), Options{Data: home, Log: logger(t), install: from})
	if err != nil {
		t.Fatal(err)
	}
	var inUse *InUseError
	if _, err := migrate(t, home, from, from, migrationSchema); !errors.As(err, &inUse) {
		t.Errorf("beside a server: %v", err)
	}
	stop(t, c)

	// killed between the renames: the new cluster is whole and takes the place
	data := filepath.Join(home, "postgres")
	if err := os.Rename(data, data+wholeSuffix); err != nil {
		t.Fatal(err)
	}
	check("between the renames")
	// killed before them: the old one is in charge, whatever lies beside it
	if err := os.MkdirAll(data+wholeSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data+wholeSuffix, "PG_VERSION"), []byte(fmt.Sprintln(from.Major)), 0o600); err != nil {
		t.Fatal(err)
	}
	check("before the renames")
	if _, err := migrate(t, home, from, from, migrationSchema); err != nil {
		t.Fatal(err)
	}
	check("at last")
}

// TestMigrateToBundle goes from the machine's version to the bundle's.
func TestMigrateToBundle(t *testing.T) {
	if !Bundled() {
		t.Skip("without the bundle: go test -tags bundlepg")
	}
	from := thisSystem(t)
	if from.Major == bundleMajor {
		t.Skipf("the machine's PostgreSQL is version %d, as the bundle's", bundleMajor)
	}
	home := filepath.Join(open(t), "data")
	want := oldCluster(t, home, from)
	var old *VersionError
	if _, err := Start(testContext(t), Options{Data: home, Log: logger(t)}); !errors.As(err, &old) || !strings.Contains(err.Error(), "migrate postgres") {
		t.Fatalf("the old data: %v", err)
	}
	m, err := Migrate(testContext(t), MigrateOptions{Data: home, Log: logger(t), Schema: migrationSchema})
	if err != nil || m.To.Major != bundleMajor || m.From.Major != from.Major {
		t.Fatalf("%+v, %v", m, err)
	}
	c := run(t, home)
	if c.Install().Major != bundleMajor {
		t.Errorf("runs %+v", c.Install())
	}
	if got := digest(t, c); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
