package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestStartStopStart(t *testing.T) {
	home := filepath.Join(open(t), "made", "for it")
	began := time.Now()
	c := run(t, home)
	t.Logf("first start %v, PostgreSQL %s", time.Since(began).Round(time.Millisecond), c.Install().Version)
	remember(t, c)
	if url, pid, ok := Running(home); !ok || url != c.URL() || pid != os.Getpid() {
		t.Errorf("Running = %q, %d, %v", url, pid, ok)
	}
	pid := c.PID()
	stop(t, c)
	if alive(pid) {
		t.Error("PostgreSQL runs after Stop")
	}
	if _, _, ok := Running(home); ok {
		t.Error("Running after Stop")
	}

	began = time.Now()
	c = run(t, home)
	t.Logf("later start %v", time.Since(began).Round(time.Millisecond))
	if n := recall(t, c); n != "1" {
		t.Errorf("%s rows after a restart, want 1", n)
	}
}

// The cluster is what DESIGN.md says: Unicode case, bytewise order, checksums,
// no TCP, a closed folder, one role, an account that is not root.
func TestClusterProperties(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	for sql, want := range map[string]string{
		"SELECT lower('ÅÉЖ')":      "åéж",
		"SHOW server_encoding":     "UTF8",
		"SHOW data_checksums":      "on",
		"SHOW listen_addresses":    "",
		"SHOW fsync":               "on",
		"SHOW full_page_writes":    "on",
		"SHOW synchronous_commit":  "on",
		"SHOW jit":                 "off",
		"SHOW timezone":            "UTC",
		"SELECT current_user":      Superuser,
		"SELECT ('Z' < 'a')::text": "true",
	} {
		if got := mustQuery(t, c, sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
	for _, dir := range []string{home, filepath.Join(home, "postgres"), filepath.Join(home, "run")} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", dir, info.Mode().Perm())
		}
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d", c.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid == 0 || int(uid) != c.Account().UID {
		t.Errorf("PostgreSQL runs as %d", uid)
	}
}

// No file of the cluster can make it forget what it has confirmed.
func TestDurabilityCannotBeSwitchedOff(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	mustExec(t, c, "ALTER SYSTEM SET fsync = off")
	mustExec(t, c, "ALTER SYSTEM SET synchronous_commit = off")
	stop(t, c)
	c = run(t, home)
	ctx := testContext(t)
	p := pool(t, c)
	if err := CheckDurability(ctx, p); err != nil {
		t.Error(err)
	}
	if warnings, err := ProbeDatabase(ctx, p); err != nil || len(warnings) > 0 {
		t.Errorf("ProbeDatabase = %q, %v", warnings, err)
	}
	p.Close()
	stop(t, c)

	// The option is for tests that must see a loss, and the check sees it.
	c = run(t, home, "synchronous_commit=off")
	var weak *DurabilityError
	if err := CheckDurability(ctx, pool(t, c)); !errors.As(err, &weak) || len(weak.Settings) != 1 || weak.Settings[0] != "synchronous_commit=off" {
		t.Errorf("CheckDurability = %v", err)
	}
}

func pool(t *testing.T, c *Cluster) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(testContext(t), c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestProbeSeesAsciiCase(t *testing.T) {
	c := run(t, filepath.Join(open(t), "data"))
	mustExec(t, c, "CREATE DATABASE ascii TEMPLATE template0 LOCALE_PROVIDER libc LC_CTYPE 'C' LC_COLLATE 'C'")
	p, err := pgxpool.New(testContext(t), strings.Replace(c.URL(), "/postgres?", "/ascii?", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	warnings, err := ProbeDatabase(testContext(t), p)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "C.UTF-8") {
		t.Errorf("ProbeDatabase = %q, %v", warnings, err)
	}
}

func TestPaths(t *testing.T) {
	for name, sub := range map[string]string{
		"spaces":           "with spaces  and 'quotes' & ; * here",
		"beyond a socket":  strings.Repeat("long/", 30) + "data",
		"comma":            "a,b",
		"percent and hash": "100%25#?x",
		"unicode":          "Größe",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := filepath.Join(open(t), sub)
			c := run(t, home)
			remember(t, c)
			if n := recall(t, c); n != "1" {
				t.Errorf("%s rows, want 1", n)
			}
			stop(t, c)
			if outside := !strings.HasPrefix(c.socket, home); outside && exists(c.socket) {
				t.Errorf("%s is left", c.socket)
			}
		})
	}
}

// The cluster may be linked to another disk, and is found at work there.
func TestLinkedElsewhere(t *testing.T) {
	dir := open(t)
	home, disk := filepath.Join(dir, "data"), filepath.Join(dir, "disk", "cluster")
	for _, d := range []string{home, disk} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{home, disk} {
		if err := account.own(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(disk, filepath.Join(home, "postgres")); err != nil {
		t.Fatal(err)
	}
	c := run(t, home)
	remember(t, c)
	if !exists(disk, "PG_VERSION") || len(processesIn(c.data, c.account)) == 0 {
		t.Error("the cluster is not on the other disk")
	}
	stop(t, c)
	if n := recall(t, run(t, home)); n != "1" {
		t.Errorf("%s rows, want 1", n)
	}
}

func TestUnquotablePath(t *testing.T) {
	home := filepath.Join(open(t), `cost $HOME`)
	c, err := Start(testContext(t), Options{Data: home})
	if !Bundled() {
		// Programs elsewhere have no such trouble.
		if err != nil {
			t.Fatal(err)
		}
		stop(t, c)
	} else if err == nil || !strings.Contains(err.Error(), "choose another data folder") {
		t.Errorf("start: %v", err)
	}
}

// Another user must not be able to prepare the socket's folder in /tmp.
func TestForeignSocketFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a folder of another user")
	}
	home := filepath.Join(open(t), strings.Repeat("x", 120))
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := socketFolder(home, account)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.Chown(dir, account.UID+1, account.GID); err != nil {
		t.Fatal(err)
	}
	if _, err := socketFolder(home, account); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a foreign folder is taken: %v", err)
	}
}

func TestTwoStarts(t *testing.T) {
	home := filepath.Join(open(t), "data")
	c := run(t, home)
	_, err := Start(testContext(t), Options{Data: home})
	var inUse *InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("second start: %v", err)
	}
	if inUse.PID != os.Getpid() || inUse.URL != c.URL() || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second start: %v (%+v)", err, inUse)
	}
	remember(t, c) // the first did not notice
}

func TestOtherMajorVersion(t *testing.T) {
	home := filepath.Join(open(t), "data")
	data := filepath.Join(home, "postgres")
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(data, account); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("14\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(testContext(t), Options{Data: home})
	var version *VersionError
	if !errors.As(err, &version) || version.Have != 14 {
		t.Fatalf("start on data of version 14: %v", err)
	}
	if !strings.Contains(err.Error(), "posthouse migrate postgres") {
		t.Errorf("the error does not name the command: %v", err)
	}
	if !exists(data, "PG_VERSION") {
		t.Error("the data is gone")
	}
	// There is no way back to an older one: the command would refuse.
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(testContext(t), Options{Data: home}); err == nil || strings.Contains(err.Error(), "migrate") || !strings.Contains(err.Error(), "install PostgreSQL 99") {
		t.Errorf("start on data of version 99: %v", err)
	}
	if _, _, ok := Running(home); ok {
		t.Error("the lock is still held")
	}
}

func TestForeignFolderIsLeftAlone(t *testing.T) {
	home := filepath.Join(open(t), "data")
	data := filepath.Join(home, "postgres")
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(data, account); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(testContext(t), Options{Data: home}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("start: %v", err)
	}
	if !exists(data, "precious") {
		t.Error("a file was deleted")
	}
}

func TestUnfinishedInit(t *testing.T) {
	home := filepath.Join(open(t), "data")
	aside := filepath.Join(home, "postgres.init", "base")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(aside, "half"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if err := account.own(home); err != nil {
		t.Fatal(err)
	}
	remember(t, run(t, home))
	if exists(home, "postgres.init") {
		t.Error("the unfinished cluster is still there")
	}
}

func TestDiskFullAtInit(t *testing.T) {
	home := filepath.Join(open(t), "small")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(home, 8<<20); err != nil {
		t.Skipf("needs a small file system: %v", err)
	}
	t.Cleanup(func() { unmount(t, home) })
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if err := account.own(home); err != nil {
		t.Fatal(err)
	}
	_, err = Start(testContext(t), Options{Data: home, Log: logger(t)})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("start on a full disk: %v", err)
	}
	if exists(home, "postgres") || exists(home, "postgres.init") {
		t.Error("half a cluster is left")
	}
	// With room it starts, on the same folder.
	if err := resizeSmall(home, 512<<20); err != nil {
		t.Fatal(err)
	}
	c := run(t, home)
	remember(t, c)
	stop(t, c)
}

// TRUST.md row 25: a disk that runs full stops writing, and room brings it back
// without anybody's help, whether PostgreSQL lived through it or not.
func TestDiskFullAtWork(t *testing.T) {
	home := filepath.Join(open(t), "small")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(home, 256<<20); err != nil {
		t.Skipf("needs a small file system: %v", err)
	}
	t.Cleanup(func() { unmount(t, home) })
	account, _, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if err := account.own(home); err != nil {
		t.Fatal(err)
	}
	c := run(t, home)
	remember(t, c)
	mustExec(t, c, "CREATE TABLE bulk (x uuid)")
	for name, write := range map[string]string{
		"tables": "WITH w AS (INSERT INTO bulk SELECT gen_random_uuid() FROM generate_series(1, 100000) RETURNING 1) SELECT count(*)::text FROM w",
		// PostgreSQL panics when its log finds no room.
		"log": "SELECT count(pg_logical_emit_message(true, 'test', repeat('x', 1000000)))::text FROM generate_series(1, 20)",
	} {
		t.Run(name, func(t *testing.T) {
			fill(t, filepath.Join(home, "filler"))
			until(t, "a write to fail", func() bool { _, err := query(c.URL(), write); return err != nil })
			if err := os.Remove(filepath.Join(home, "filler")); err != nil {
				t.Fatal(err)
			}
			until(t, "a write to succeed", func() bool { _, err := query(c.URL(), write); return err == nil })
			if n := recall(t, c); n != "1" {
				t.Errorf("%s rows, want 1", n)
			}
		})
	}
	stop(t, c)
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestClosedFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root runs PostgreSQL as another user")
	}
	closed := filepath.Join(open(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(testContext(t), Options{Data: filepath.Join(closed, "deeper", "data")})
	var path *PathError
	if !errors.As(err, &path) {
		t.Fatalf("start: %v", err)
	}
	if path.Component != closed || !strings.Contains(err.Error(), closed) {
		t.Errorf("the error names %q, not %q: %v", path.Component, closed, err)
	}
}

func TestStartIsCancelled(t *testing.T) {
	home := filepath.Join(open(t), "data")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Options{Data: home}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("start: %v", err)
	}
	remember(t, run(t, home))
}
