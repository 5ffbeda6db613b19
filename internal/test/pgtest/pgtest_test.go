package pgtest

import (
	"context"
	"testing"
)

func TestDatabasesAreSeparate(t *testing.T) {
	ctx := context.Background()
	a, b := Pool(t), Pool(t)
	if _, err := a.Exec(ctx, "CREATE TABLE only_here (x int)"); err != nil {
		t.Fatal(err)
	}
	var there bool
	if err := b.QueryRow(ctx, "SELECT to_regclass('only_here') IS NOT NULL").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("a table of one test's database shows in another's")
	}
}

func TestUnicodeCase(t *testing.T) {
	var lower string
	if err := PoolOn(t, Empty(t)).QueryRow(context.Background(), "SELECT lower('ÅÉЖ')").Scan(&lower); err != nil {
		t.Fatal(err)
	}
	if lower != "åéж" {
		t.Errorf("lower(ÅÉЖ) = %s", lower)
	}
}

func BenchmarkURL(b *testing.B) {
	for b.Loop() {
		b.Run("one", func(b *testing.B) { URL(b) })
	}
}
