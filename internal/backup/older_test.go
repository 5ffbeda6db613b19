package backup

import (
	"strconv"
	"testing"

	"posthouse/internal/test/pgtest"
	"posthouse/mailstore"
	"posthouse/migrations"
)

// A backup of an older release is restored at its schema and migrated then.
func TestOlderSchema(t *testing.T) {
	latest, err := migrations.Latest()
	if err != nil {
		t.Fatal(err)
	}
	const oldest = 12 // the first that backups were made of
	old := pgtest.Empty(t)
	if err := migrations.UpTo(t.Context(), old, oldest, nil); err != nil {
		t.Fatal(err)
	}
	pool := pgtest.PoolOn(t, old)
	execute(t, pool, `INSERT INTO domain (name) VALUES ('example.test')`)
	execute(t, pool, `INSERT INTO account (address) VALUES ('alice@example.test')`)
	src := write(t, pool, Options{})
	m, err := src.Manifest()
	if err != nil || m.Schema != oldest {
		t.Fatalf("%+v %v", m, err)
	}
	url := pgtest.Empty(t)
	if err := migrations.UpTo(t.Context(), url, m.Schema, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Restore(t.Context(), connect(t, url), Restoring{}); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	back := pgtest.PoolOn(t, url)
	if got := lines(t, back, `SELECT address || ' ' || (SELECT max(version_id) FROM schema_migration) FROM account`); len(got) != 1 || got[0] != "alice@example.test "+strconv.FormatInt(latest, 10) {
		t.Errorf("%v", got)
	}
	if err := mailstore.CheckInvariants(t.Context(), back); err != nil {
		t.Error(err)
	}
	if _, err := src.Restore(t.Context(), connect(t, pgtest.URL(t)), Restoring{}); err == nil && latest != oldest {
		t.Error("restored at another schema")
	}
}
