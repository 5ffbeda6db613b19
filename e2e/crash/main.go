// Crash runs the crash harness for as long as one likes:
//
//	go run ./e2e/crash --for 10m              receiving
//	go run ./e2e/crash --relay --kills 20     relaying: one of two nodes killed, then Postgres stopped
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
	relay := flag.Bool("relay", false, "strike while mail is relayed")
	kills := flag.Int("kills", 20, "with --relay: how often")
	flag.Parse()
	work := func(ctx context.Context, binary, folder string) error { return receiving(ctx, binary, folder, *long) }
	if *relay {
		work = func(ctx context.Context, binary, folder string) error { return relaying(ctx, binary, folder, *kills) }
	}
	if err := run(work); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(work func(ctx context.Context, binary, folder string) error) error {
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
	if err := work(ctx, binary, folder); err != nil {
		return fmt.Errorf("%w (kept in %s)", err, folder)
	}
	return os.RemoveAll(folder)
}

// receiving strikes while mail comes in.
func receiving(ctx context.Context, binary, folder string, long time.Duration) error {
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
			return fmt.Errorf("%s: %w", e.name, err)
		}
		fmt.Printf("%s: %s\n", e.name, result)
		if !e.good(result) {
			return fmt.Errorf("%s: expected %s", e.name, e.want)
		}
	}
	return nil
}

// relaying strikes while mail goes out.
func relaying(ctx context.Context, binary, folder string, kills int) error {
	for _, e := range []struct {
		name string
		run  func(context.Context, harm.Options) (harm.RelayResult, error)
	}{
		{"kill -9 of one of two nodes", harm.KillRelay},
		{"Postgres stopped in immediate mode", harm.StopPostgresRelay},
	} {
		dir := filepath.Join(folder, fmt.Sprint(len(e.name)))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		result, err := e.run(ctx, harm.Options{Binary: binary, Folder: dir, Rounds: kills})
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		fmt.Printf("%s: %s\n", e.name, result)
		if !result.Clean() {
			return fmt.Errorf("%s: expected nothing lost, and nothing doubled that was not in flight", e.name)
		}
	}
	return nil
}
