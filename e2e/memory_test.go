package e2e

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"posthouse/e2e/node"
)

const mib = 1 << 20

// TestMemory measures the server and its Postgres at rest, and the server while
// ten mails of 25 MB arrive at once.
func TestMemory(t *testing.T) {
	n := start(t, "--ephemeral")
	alice := n.Accounts[0]
	login(t, n, alice.Address, alice.Password, nil)
	deliver(t, n.Listen["smtp"], alice.Address, "warm")
	idle, err := node.PSS(n.Tree()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at rest: server and Postgres %d MiB", idle/mib)
	if idle > 150*mib {
		t.Errorf("at rest the server and Postgres take %d MiB, more than 150", idle/mib)
	}

	const mails = 10
	text := letter("large", 25<<20, func(rng *rand.Rand) string { return "x" + asciiLine(rng) })
	half := len(text) / 2
	var sent, done sync.WaitGroup
	results := make(chan error, mails)
	release := make(chan struct{})
	for range mails {
		s := dialSMTP(t, n.Listen["smtp"])
		s.begin(alice.Address)
		sent.Add(1)
		done.Go(func() {
			_, err := s.conn.Write(text[:half])
			sent.Done()
			if err == nil {
				<-release // all ten are in flight now
				_, err = s.end(append([]byte(nil), text[half:]...))
			}
			results <- err
		})
	}
	sent.Wait()
	stop := make(chan struct{})
	var sampler sync.WaitGroup
	var server, all int64
	sampler.Go(func() {
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			if pss, err := node.PSS(n.PID); err == nil {
				server = max(server, pss)
			}
			if pss, err := node.PSS(n.Tree()...); err == nil {
				all = max(all, pss)
			}
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
		}
	})
	close(release)
	done.Wait()
	close(stop)
	sampler.Wait()
	for range mails {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	t.Logf("ten mails of 25 MB in flight: server %d MiB, with Postgres %d MiB", server/mib, all/mib)
	if server > 300*mib {
		t.Errorf("with ten mails of 25 MB in flight the server takes %d MiB, more than 300", server/mib)
	}
}
