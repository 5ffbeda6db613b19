// Crash runs the crash harness for as long as one likes:
//
//	go run ./e2e/crash --for 10m
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"posthouse/e2e/harm"
	"posthouse/e2e/node"
)

func main() {
	long := flag.Duration("for", time.Minute, "how long each experiment takes")
	flag.Parse()
	if err := run(*long); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(long time.Duration) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	folder, err := node.Folder()
	if err != nil {
		return err
	}
	binary, err := node.Build(folder)
	if err != nil {
		return err
	}
	fmt.Println("Neither kill proves that fsync reaches the disk; a kill of the server alone cannot lose a commit.")
	for _, e := range []struct {
		name string
		run  func(context.Context, harm.Options) (harm.Result, error)
		good func(harm.Result) bool
		want string
	}{
		{"kill -9 of the server", harm.KillServer, harm.Result.Clean, "nothing lost, nothing doubled"},
		{"Postgres stopped in immediate mode", harm.StopPostgres, harm.Result.Clean, "nothing lost, nothing doubled"},
		{"connections to Postgres cut around COMMIT", harm.CutCommits, harm.Result.Clean, "nothing lost, nothing doubled"},
		{"the immediate stops with synchronous_commit=off (control)", harm.Control, func(r harm.Result) bool { return r.Lost > 0 }, "some lost"},
	} {
		dir := filepath.Join(folder, fmt.Sprint(len(e.name)))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		result, err := e.run(ctx, harm.Options{Binary: binary, Folder: dir, For: long, Rounds: 5})
		if err != nil {
			return fmt.Errorf("%s: %w (kept in %s)", e.name, err, folder)
		}
		fmt.Printf("%s: %s\n", e.name, result)
		if !e.good(result) {
			return fmt.Errorf("%s: expected %s (kept in %s)", e.name, e.want, folder)
		}
	}
	return os.RemoveAll(folder)
}
