package e2e

import (
	"context"
	"testing"
	"time"

	"posthouse/e2e/harm"
)

// What is enough for every run of the tests; `go run ./e2e/crash --for 10m`
// goes on for longer.
const (
	harmFor   = 20 * time.Second
	harmKills = 20
	harmStops = 10
)

func experiment(t *testing.T, run func(context.Context, harm.Options) (harm.Result, error), rounds int, long time.Duration) harm.Result {
	t.Helper()
	result, err := run(t.Context(), harm.Options{Binary: binary, Folder: folder(t), For: long, Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(result)
	if result.Rounds < rounds || result.Accepted < 20*rounds {
		t.Errorf("too little was done to prove anything: %s", result)
	}
	return result
}

// TestKillServer: TRUST.md row 22.
func TestKillServer(t *testing.T) {
	t.Parallel()
	if r := experiment(t, harm.KillServer, harmKills, harmFor); !r.Clean() {
		t.Error("mail was lost, doubled or changed")
	}
}

// TestStopPostgres: TRUST.md row 23.
func TestStopPostgres(t *testing.T) {
	t.Parallel()
	if r := experiment(t, harm.StopPostgres, harmStops, harmFor); !r.Clean() {
		t.Error("mail was lost, doubled or changed")
	}
}

// TestControl proves that the two above can fail: with synchronous_commit off
// the same harness must see loss.
func TestControl(t *testing.T) {
	t.Parallel()
	if r := experiment(t, harm.Control, 2, 0); r.Lost == 0 {
		t.Error("the negative control lost nothing: the harness cannot see loss")
	}
}

// TestCutCommits: TRUST.md row 24.
func TestCutCommits(t *testing.T) {
	t.Parallel()
	if r := experiment(t, harm.CutCommits, 10, 5*time.Second); !r.Clean() {
		t.Error("mail was lost, doubled or changed")
	}
}

// TestKillRelay: TRUST.md row 29; the long form is `go run ./e2e/crash --relay`.
func TestKillRelay(t *testing.T) {
	t.Parallel()
	relayExperiment(t, harm.KillRelay, 4)
}

// TestStopPostgresRelay: rows 23 and 29, while mail goes out.
func TestStopPostgresRelay(t *testing.T) {
	t.Parallel()
	relayExperiment(t, harm.StopPostgresRelay, 3)
}

func relayExperiment(t *testing.T, run func(context.Context, harm.Options) (harm.RelayResult, error), rounds int) {
	t.Helper()
	r, err := run(t.Context(), harm.Options{Binary: binary, Folder: folder(t), Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if r.Rounds < rounds || r.Accepted < 20*rounds || r.ByKilled < rounds || r.InFlight < rounds {
		t.Errorf("too little was done to prove anything: %s", r)
	}
	if !r.Clean() {
		t.Error("mail was lost or changed, or came twice without having been in flight")
	}
}
