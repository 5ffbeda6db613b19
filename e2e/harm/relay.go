package harm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/e2e/ledger"
	"posthouse/e2e/node"
	"posthouse/internal/test/dnstest"
	"posthouse/internal/test/nexthop"
)

// RelayResult is that of an experiment with relaying.
type RelayResult struct {
	Result
	// InFlight is how many sessions the killed had open at the next hop when
	// they were struck, added up: the duplicates that can be excused.
	InFlight int
	// ByKilled is how many messages the next hop took from the node that was
	// killed again and again.
	ByKilled int
}

func (r RelayResult) String() string {
	return fmt.Sprintf("%s; sessions in flight when struck %d, messages relayed by the struck node %d", r.Result, r.InFlight, r.ByKilled)
}

// Clean says that nothing was lost or changed, and nothing came twice but what
// was in flight.
func (r RelayResult) Clean() bool {
	return r.Lost == 0 && r.Mangled == 0 && r.Strange == 0 && r.Duplicates <= r.InFlight
}

const (
	relaySender   = "ledger@example.test"
	relayPassword = "correct horse battery"
	relayDomains  = 8
	steady, frail = "steady.example.test", "frail.example.test" // the host names of the nodes
)

// settle is how long the queue may take to run empty behind the last strike: the
// leases of the dead have to run out, and what waits is tried again.
const settle = 3 * time.Minute

// relaying is two servers on one database that send to a slow next hop.
type relaying struct {
	*experiment // its node has the database and takes the mail
	other       *node.Node
	otherAt     atomic.Value // string: of its submission listener now
	otherLoad   *ledger.Load
	flags       []string

	dns   *dnstest.Server
	hop   *nexthop.Hop
	mu    sync.Mutex
	found *ledger.Found
	by    map[string]int // messages by the name in EHLO
}

func beginRelaying(o Options) (x *relaying, err error) {
	x = &relaying{by: make(map[string]int)}
	if x.dns, err = dnstest.Listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	x.hop, err = nexthop.Listen("127.0.0.1:0", nexthop.Script{Forget: true, Taken: x.take, On: func(_ *nexthop.Session, verb, _ string) string {
		if verb == "DOT" || verb == "BDAT" {
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond) // the world is slow
		}
		return ""
	}})
	if err != nil {
		return nil, err
	}
	x.dns.Add("mx.example.org. A " + x.hop.Host())
	for i := range relayDomains {
		x.dns.Add(fmt.Sprintf("d%d.example.org. MX 10 mx.example.org.", i))
	}
	x.flags = []string{"--deliver", "--dns", x.dns.Addr().String(), "--relay-port", fmt.Sprint(x.hop.Addr.Port()), "--retry", "1s,2s", "--expire", "1h"}
	if x.experiment, err = begin(o, append(x.flags, "--hostname", steady, "--account", relaySender+":"+relayPassword)...); err != nil {
		return nil, err
	}
	x.address.Store(x.node.Listen["submission"])
	x.ledger.From = relaySender
	x.found = x.ledger.Compare()
	return x, nil
}

// take counts a message where it arrived.
func (x *relaying) take(m *nexthop.Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.by[m.Helo]++
	for _, r := range m.Rcpts {
		x.found.Message(r.Address, m.Octets)
	}
}

// startOther starts the second node. The nodes of a site share the key under
// which secrets lie in their database.
func (x *relaying) startOther() (err error) {
	file := filepath.Join(x.Folder, "other.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "secret_key = %q\n", filepath.Join(x.node.Data, "secret_key")), 0o644); err != nil {
		return err
	}
	x.other, err = node.Start(x.Binary, x.Folder, nil, append(x.flags, "--config", file, "--data", filepath.Join(x.Folder, "other"), "--hostname", frail, "--database", x.node.Database)...)
	if err == nil {
		x.otherAt.Store(x.other.Listen["submission"])
	}
	return err
}

// begin lets clients send to both nodes: each relays first what it took itself.
func (x *relaying) begin(ctx context.Context) {
	var to []string
	for i := range relayDomains {
		to = append(to, fmt.Sprintf("bob@d%d.example.org", i))
	}
	for _, l := range []struct {
		name string
		load **ledger.Load
		at   *atomic.Value
	}{{"steady", &x.load, &x.address}, {"frail", &x.otherLoad, &x.otherAt}} {
		*l.load = &ledger.Load{
			Ledger: x.ledger, Name: l.name, Connections: Connections / 2, Password: relayPassword,
			Address: func() string { return l.at.Load().(string) }, Recipients: to,
		}
		(*l.load).Start(ctx)
	}
}

// busy waits until a node has relayed a few more messages and has sessions open
// at the next hop, and counts these.
func (x *relaying) busy(name string) (int, error) {
	const few = 5
	target, open := x.relayed(name)+few, 0
	if !x.hop.Until(func() bool {
		open = x.hop.OpenBy(name)
		return open > 0 && x.relayed(name) >= target
	}) {
		return 0, fmt.Errorf("%s did not relay for a minute\n%s", name, x.node.Log())
	}
	return open, nil
}

// relayed is how many messages the next hop took from a node.
func (x *relaying) relayed(name string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.by[name]
}

// close ends what still runs.
func (x *relaying) close() {
	if x.other != nil {
		x.other.Kill()
	}
	x.node.Kill()
	x.hop.Close()
	x.dns.Close()
}

// finish lets the clients end, waits until the queue is empty, and compares.
func (x *relaying) finish(ctx context.Context, rounds, inFlight int) (RelayResult, error) {
	x.load.Finish()
	x.otherLoad.Finish()
	if err := x.drained(ctx); err != nil {
		return RelayResult{}, err
	}
	errs := []error{x.other.Stop(), x.node.Stop()}
	x.mu.Lock()
	defer x.mu.Unlock()
	return RelayResult{Result{rounds, x.found.Report()}, inFlight, x.by[frail]}, errors.Join(errs...)
}

// drained waits until nothing is queued.
func (x *relaying) drained(ctx context.Context) error {
	db, err := pgx.Connect(ctx, x.node.Database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	var left int
	for deadline := time.Now().Add(settle); time.Now().Before(deadline); {
		if err := db.QueryRow(ctx, `SELECT count(*) FROM queue_rcpt`).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("%d recipients still wait %s after the last strike\n%s", left, settle, x.node.Log())
}

// KillRelay ends one of two nodes with SIGKILL while it relays, again and again
// (TRUST.md row 29).
func KillRelay(ctx context.Context, o Options) (RelayResult, error) {
	x, err := beginRelaying(o)
	if err != nil {
		return RelayResult{}, err
	}
	defer x.close()
	if err := x.startOther(); err != nil {
		return RelayResult{}, err
	}
	x.begin(ctx)
	inFlight := 0
	n, err := x.rounds(ctx, func() error {
		open, err := x.busy(frail)
		if err != nil {
			return err
		}
		inFlight += open
		x.other.Kill()
		return x.startOther()
	})
	if err != nil {
		return RelayResult{}, err
	}
	return x.finish(ctx, n, inFlight)
}

// StopPostgresRelay stops the database of two nodes in immediate mode while both
// relay, again and again: what the next hop took and could not be recorded comes
// again, nothing else does.
func StopPostgresRelay(ctx context.Context, o Options) (RelayResult, error) {
	x, err := beginRelaying(o)
	if err != nil {
		return RelayResult{}, err
	}
	defer x.close()
	if err := x.startOther(); err != nil {
		return RelayResult{}, err
	}
	x.begin(ctx)
	inFlight := 0
	n, err := x.rounds(ctx, func() error {
		if _, err := x.busy(frail); err != nil {
			return err
		}
		inFlight += x.hop.Open()
		return x.stopPostgres()
	})
	if err != nil {
		return RelayResult{}, err
	}
	return x.finish(ctx, n, inFlight)
}
