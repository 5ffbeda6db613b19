// Thunderbird-habits keeps five connections on the real program busy, as
// Thunderbird does, and compares what they are told with a ledger, for as long as
// one likes:
//
//	go run ./e2e/thunderbird-habits --for 1h
//
// It ends with 1 at the first wrong count, UID, flag or octet, and says how to
// run the same again (--seed).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"posthouse/e2e/habits"
	"posthouse/e2e/node"
)

func main() {
	var o habits.Options
	flag.DurationVar(&o.For, "for", time.Minute, "how long")
	flag.DurationVar(&o.Round, "round", 5*time.Second, "time between two comparisons")
	flag.Uint64Var(&o.Seed, "seed", 0, "of what the connections do; 0: another each time")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "thunderbird-habits:", err)
		os.Exit(1)
	}
}

func run(o habits.Options) (err error) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if o.Folder, err = node.Folder(); err != nil {
		return err
	}
	if o.Binary, err = node.Build(o.Folder); err != nil {
		return err
	}
	begin := time.Now()
	o.Log = func(format string, args ...any) {
		fmt.Printf("%s: %s\n", time.Since(begin).Round(time.Second), fmt.Sprintf(format, args...))
	}
	result, err := habits.Run(ctx, o)
	fmt.Println(result)
	if err == nil {
		err = result.Floor()
	}
	if err != nil {
		return fmt.Errorf("%w (kept in %s)", err, o.Folder)
	}
	return os.RemoveAll(o.Folder)
}
