package migrations_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"posthouse/internal/test/pgtest"
	"posthouse/migrations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// gate is an advisory lock that a migration waits for, so that a test can hold
// it in the middle.
const gate = "4711"

// steps are migrations that fail when they run twice. The second makes a table,
// then waits at the gate.
func steps(n int) fstest.MapFS {
	all := []struct{ name, sql string }{
		{"0001_first.sql", "CREATE TABLE first (x int);"},
		{"0002_second.sql", "CREATE TABLE second (x int); SELECT pg_advisory_xact_lock(" + gate + "); INSERT INTO second VALUES (1);"},
		{"0003_third.sql", "CREATE TABLE third (x int);"},
	}
	m := fstest.MapFS{}
	for _, s := range all[:n] {
		m[s.name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + s.sql + "\n")}
	}
	return m
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func tables(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	rows, err := conn.Query(testContext(t), "SELECT relname FROM pg_class WHERE relname IN ('first', 'second', 'third') ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// atGate waits until a migration stands at the gate, and returns its backend.
func atGate(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := testContext(t); ; <-tick.C {
		err := conn.QueryRow(ctx, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = "+gate+
			" AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&pid)
		if err == nil {
			return pid
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
	}
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(testContext(t), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaOfThisBinary(t *testing.T) {
	ctx, url := testContext(t), pgtest.Empty(t)
	before, err := migrations.Status(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(before) != len(files) || len(files) == 0 {
		t.Fatalf("%d steps of %d files, %v", len(before), len(files), err)
	}
	if err := migrations.Check(ctx, url); err == nil || !strings.Contains(err.Error(), "posthouse migrate") {
		t.Errorf("Check of an empty database: %v", err)
	}
	for range 2 {
		if err := migrations.Up(ctx, url, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := migrations.Check(ctx, url); err != nil {
		t.Error(err)
	}
	after, err := migrations.Status(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	for i := range after {
		if !before[i].AppliedAt.IsZero() || time.Since(after[i].AppliedAt).Abs() > time.Hour || after[i].Name != files[i] {
			t.Errorf("step %d: %+v, then %+v", i, before[i], after[i])
		}
	}
}

func TestNoMigrations(t *testing.T) {
	ctx, url := testContext(t), pgtest.Empty(t)
	if err := migrations.UpFS(ctx, url, fstest.MapFS{}, nil); err != nil {
		t.Error(err)
	}
	if steps, err := migrations.StatusFS(ctx, url, fstest.MapFS{}); err != nil || len(steps) != 0 {
		t.Errorf("Status = %v, %v", steps, err)
	}
}

// Several nodes start at once on an empty database; one migrates, the others
// wait for it and find nothing left to do.
func TestNodesStartAtOnce(t *testing.T) {
	ctx, url := testContext(t), pgtest.Empty(t)
	conn := connect(t, url)
	exec(t, conn, "SELECT pg_advisory_lock("+gate+")")
	const nodes = 4
	results := make(chan error, nodes)
	var wg sync.WaitGroup
	for range nodes {
		wg.Go(func() { results <- migrations.UpFS(ctx, url, steps(3), nil) })
	}
	atGate(t, conn)
	select {
	case err := <-results:
		t.Errorf("a node did not wait: %v", err)
	default:
	}
	exec(t, conn, "SELECT pg_advisory_unlock("+gate+")")
	wg.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Error(err)
		}
	}
	if got := tables(t, conn); got != "first second third" {
		t.Errorf("tables: %s", got)
	}
}

// TRUST.md row 28: the migrating node dies inside the second of three steps. The
// first stays, nothing of the second does, and the next start goes on from there.
func TestCrashInTheMiddle(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, conn *pgx.Conn, pid int, cancel func()){
		"killed": func(t *testing.T, conn *pgx.Conn, pid int, _ func()) {
			exec(t, conn, "SELECT pg_terminate_backend($1)", pid)
		},
		"cancelled": func(_ *testing.T, _ *pgx.Conn, _ int, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Empty(t)
			conn := connect(t, url)
			exec(t, conn, "SELECT pg_advisory_lock("+gate+")")
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- migrations.UpFS(ctx, url, steps(3), nil) }()
			crash(t, conn, atGate(t, conn), cancel)
			if err := <-result; err == nil || !strings.Contains(err.Error(), "0002_second.sql") {
				t.Errorf("the error does not name the step: %v", err)
			}
			if got := tables(t, conn); got != "first" {
				t.Errorf("tables after the crash: %s", got)
			}
			exec(t, conn, "SELECT pg_advisory_unlock("+gate+")")
			if err := migrations.UpFS(testContext(t), url, steps(3), nil); err != nil {
				t.Fatal(err)
			}
			if got := tables(t, conn); got != "first second third" {
				t.Errorf("tables after the next start: %s", got)
			}
			var rows int
			if err := conn.QueryRow(testContext(t), "SELECT count(*) FROM second").Scan(&rows); err != nil || rows != 1 {
				t.Errorf("the second step ran %d times, %v", rows, err)
			}
		})
	}
}

func TestOldBinaryRefuses(t *testing.T) {
	ctx, url := testContext(t), pgtest.Empty(t)
	if err := migrations.UpFS(ctx, url, steps(3), nil); err != nil {
		t.Fatal(err)
	}
	err := migrations.UpFS(ctx, url, steps(1), nil)
	var newer *migrations.NewerSchemaError
	if !errors.Is(err, migrations.ErrNewerSchema) || !errors.As(err, &newer) || newer.Database != 3 || newer.Binary != 1 {
		t.Errorf("Up of the old binary: %v", err)
	}
	known, err := migrations.StatusFS(ctx, url, steps(1))
	if !errors.Is(err, migrations.ErrNewerSchema) || len(known) != 1 || known[0].AppliedAt.IsZero() {
		t.Errorf("Status of the old binary: %+v, %v", known, err)
	}
	if err := migrations.CheckFS(ctx, url, steps(1)); !errors.Is(err, migrations.ErrNewerSchema) {
		t.Errorf("Check of the old binary: %v", err)
	}
	if err := migrations.UpFS(ctx, url, steps(3), nil); err != nil {
		t.Errorf("Up of the new binary: %v", err)
	}
}

// A step that appears below what was applied is a mistake of ours, not to be
// passed over.
func TestStepOutOfOrder(t *testing.T) {
	ctx, url := testContext(t), pgtest.Empty(t)
	gap := steps(3)
	delete(gap, "0002_second.sql")
	if err := migrations.UpFS(ctx, url, gap, nil); err != nil {
		t.Fatal(err)
	}
	later := steps(3)
	later["0004_fourth.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nSELECT 1;\n")}
	if err := migrations.UpFS(ctx, url, later, nil); err == nil {
		t.Error("the step was passed over")
	}
}

func TestNumbersAreDense(t *testing.T) {
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for i, name := range files {
		if want := "000" + string(rune('1'+i)) + "_"; i < 9 && !strings.HasPrefix(name, want) {
			t.Errorf("%s, want %s…", name, want)
		}
	}
}
