package e2e

import (
	"path/filepath"
	"testing"

	"github.com/emersion/go-imap/v2"

	"posthouse/e2e/node"
)

// TestClock lets Postgres believe that it is three days later, then three days
// earlier, than the server does (TRUST.md row 26): UIDs go on rising, the
// mailbox stays the same, and people can log in.
func TestClock(t *testing.T) {
	t.Parallel()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	if err != nil || len(libraries) == 0 {
		t.Skip("libfaketime is not installed: `make test` as root installs it")
	}
	data := filepath.Join(folder(t), "data")
	var validity uint32
	var last imap.UID
	for i, clock := range []string{"", "+3d", "-3d", ""} {
		var variables []string
		if clock != "" {
			// What waits in Postgres must still end: only the date is false.
			variables = []string{"LD_PRELOAD=" + libraries[0], "FAKETIME=" + clock, "DONT_FAKE_MONOTONIC=1"}
		}
		n, err := node.Start(binary, folder(t), variables, "--data", data)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Kill)
		alice := n.Accounts[0]
		deliver(t, n.Listen["smtp"], alice.Address, "clock"+clock)
		c := login(t, n, alice.Address, alice.Password, nil)
		box, err := c.Select("INBOX", nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		if validity == 0 {
			validity = box.UIDValidity
		}
		if box.NumMessages != uint32(i+1) || box.UIDNext <= last || box.UIDValidity != validity {
			t.Errorf("clock %q: %d messages, UIDNEXT %d after %d, UIDVALIDITY %d of %d", clock, box.NumMessages, box.UIDNext, last, box.UIDValidity, validity)
		}
		last = box.UIDNext
		var all imap.SeqSet
		all.AddRange(1, 0)
		messages, err := c.Fetch(all, &imap.FetchOptions{UID: true, InternalDate: true}).Collect()
		if err != nil || len(messages) != i+1 {
			t.Fatalf("clock %q: %d messages, %v", clock, len(messages), err)
		}
		for k := 1; k < len(messages); k++ {
			if messages[k].UID <= messages[k-1].UID {
				t.Errorf("clock %q: UIDs %d, %d", clock, messages[k-1].UID, messages[k].UID)
			}
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
