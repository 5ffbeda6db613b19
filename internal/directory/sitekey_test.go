package directory_test

import (
	"bytes"
	"errors"
	"testing"

	"posthouse/internal/directory"
	"posthouse/internal/test/pgtest"
)

func TestSiteKey(t *testing.T) {
	ctx := t.Context()
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	for _, local := range []bool{false, true} {
		pool := pgtest.Pool(t)
		if key, err := directory.KnownSiteKey(ctx, pool); key != nil || err != nil {
			t.Errorf("a new database has the key %x, %v", key, err)
		}
		for range 2 {
			if key, err := directory.SiteKey(ctx, pool, one, local); err != nil || !bytes.Equal(key, one) {
				t.Errorf("local %v: the first node has %x, %v", local, key, err)
			}
		}
		key, err := directory.SiteKey(ctx, pool, two, local)
		if local && (err != nil || !bytes.Equal(key, one)) {
			t.Errorf("the second local node has %x, %v", key, err)
		}
		if !local && !errors.Is(err, directory.ErrSiteKey) {
			t.Errorf("a node with another key joins the site: %v", err)
		}
		if key, err = directory.KnownSiteKey(ctx, pool); err != nil || local != bytes.Equal(key, one) {
			t.Errorf("local %v: a command finds %x, %v", local, key, err)
		}
	}
	// A command before the server says nothing of the key; a site that takes
	// over a local server's database takes it out.
	pool := pgtest.Pool(t)
	for i, local := range []bool{false, true, false} {
		if _, err := directory.SiteKey(ctx, pool, one, local); err != nil {
			t.Fatal(err)
		}
		if key, err := directory.KnownSiteKey(ctx, pool); err != nil || local != bytes.Equal(key, one) {
			t.Errorf("step %d: the database holds %x, %v", i, key, err)
		}
	}
	// A site's database does not tell its key to a local server.
	if _, err := directory.SiteKey(ctx, pool, two, true); !errors.Is(err, directory.ErrSiteKey) {
		t.Errorf("a local server with another key joins a site: %v", err)
	}
}
