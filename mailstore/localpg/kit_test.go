package localpg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// runEnv makes the test binary a server that runs a cluster until it is killed.
const runEnv = "POSTHOUSE_TEST_RUN_CLUSTER"

func TestMain(m *testing.M) {
	if data := os.Getenv(runEnv); data != "" {
		c, err := Start(context.Background(), Options{Data: data})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.PID())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// patience bounds a wait; the machine may be loaded.
const patience = 60 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open is a folder that the account of PostgreSQL can enter, which t.TempDir's
// is not when root runs the tests.
func open(t *testing.T) string {
	t.Helper()
	parent := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm" // a cluster is a thousand small files
	}
	dir, err := os.MkdirTemp(parent, "localpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(writer{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// run starts a cluster and stops it when the test ends.
func run(t *testing.T, data string, settings ...string) *Cluster {
	t.Helper()
	c, err := Start(testContext(t), Options{Data: data, Log: logger(t), Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t *testing.T, c *Cluster) {
	t.Helper()
	if err := c.Stop(testContext(t)); err != nil {
		t.Error(err)
	}
	if c.PID() != 0 {
		t.Errorf("pid %d after Stop", c.PID())
	}
}

// query runs one statement on a connection of its own, and returns a text.
func query(url, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var s string
	err = conn.QueryRow(ctx, sql).Scan(&s)
	return s, err
}

func mustQuery(t *testing.T, c *Cluster, sql string) string {
	t.Helper()
	s, err := query(c.URL(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// remember commits a row, recall counts the rows.
func remember(t *testing.T, c *Cluster) {
	t.Helper()
	mustExec(t, c, "CREATE TABLE IF NOT EXISTS kept (x int); INSERT INTO kept VALUES (1)")
}

func recall(t *testing.T, c *Cluster) string {
	return mustQuery(t, c, "SELECT count(*)::text FROM kept")
}

func mustExec(t *testing.T, c *Cluster, sql string) {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.Connect(ctx, c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// until polls; there is no event to wait for from another process.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// server runs a cluster in another process, to be killed.
func server(t *testing.T, data string) (cmd *exec.Cmd, postmaster int) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), runEnv+"="+data)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := fmt.Fscan(bufio.NewReader(out), &postmaster); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if postmaster == 0 {
		t.Fatal("the server did not start")
	}
	return cmd, postmaster
}

func exists(path ...string) bool {
	_, err := os.Lstat(filepath.Join(path...))
	return err == nil
}
