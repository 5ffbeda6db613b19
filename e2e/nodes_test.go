package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/e2e/node"
)

// TestTwoNodes lets two servers share one database. What one takes the other
// shows at once, and it goes on when the first is killed. A third one has the
// database, so that it stays.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	base := start(t, "--ephemeral", "--account", "carol@example.test:"+password)
	receive := start(t, "--data", filepath.Join(folder(t), "data"), "--database", base.Database) // killed: it could not remove it
	if fmt.Sprint(receive.Accounts) != fmt.Sprint(base.Accounts[1:]) {
		t.Errorf("the second node shows %v, the first %v", receive.Accounts, base.Accounts[1:])
	}
	read, err := node.Start(binary, folder(t), []string{"POSTHOUSE_DATABASE_URL=" + base.Database}, "--ephemeral", "--account", "carol@example.test:"+password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := read.Stop(); err != nil {
			t.Error(err)
		}
	})
	came := make(chan uint32, 100)
	c := login(t, read, "carol@example.test", password, exists(came))
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	deliver(t, receive.Listen["smtp"], "carol@example.test", "through the other")
	await(t, came, 1)
	t.Logf("from connecting on one node to EXISTS on the other: %s", time.Since(begin).Round(time.Millisecond))
	receive.Kill()
	deliver(t, read.Listen["smtp"], "carol@example.test", "after the kill")
	await(t, came, 2)
	deliver(t, base.Listen["smtp"], "carol@example.test", "through the third")
	await(t, came, 3)
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
	var all imap.SeqSet
	all.AddRange(1, 0)
	messages, err := c.Fetch(all, &imap.FetchOptions{UID: true, RFC822Size: true}).Collect()
	if err != nil || len(messages) != 3 {
		t.Errorf("FETCH: %d messages, %v", len(messages), err)
	}
}
