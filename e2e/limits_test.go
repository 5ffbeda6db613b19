package e2e

import (
	"strings"
	"testing"

	"posthouse/internal/test/nexthop"
)

// TestSendingLimit: an account writes to as many recipients as it may, hears when
// there is room again, and another account is not touched by it.
func TestSendingLimit(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	hop := w.domain(t, "open.example", nexthop.Script{})
	n := start(t, append(w.flags("500ms", "10m"), "--ephemeral")...)
	if _, err := n.Command(t.Context(), "", "account", "limits", "alice@example.test", "--hourly", "3"); err != nil {
		t.Fatal(err)
	}
	alice := outgoing{from: "alice@example.test", to: []string{"one@open.example", "two@open.example"}}
	alice.submit(t, n)
	alice.to = []string{"three@open.example"}
	alice.submit(t, n)
	alice.to = []string{"four@open.example"}
	if code, text := alice.try(t, n); code != 452 || !strings.Contains(text, "room again at") {
		t.Errorf("over the limit: %d %s", code, text)
	}
	alice.to = []string{"1@open.example", "2@open.example", "3@open.example", "4@open.example"}
	if code, text := alice.try(t, n); code != 550 && code != 452 {
		t.Errorf("more than the limit at once: %d %s", code, text)
	}
	outgoing{from: sender(t, n, "bob"), to: []string{"bob@open.example"}}.submit(t, n)
	hop.Wait(t, 3)

	// Blocked, she still reads; what she sends is refused in words for her.
	if _, err := n.Command(t.Context(), "", "account", "block", "alice@example.test"); err != nil {
		t.Fatal(err)
	}
	alice.to = []string{"five@open.example"}
	if code, text := alice.try(t, n); code != 550 || !strings.Contains(text, "blocked") {
		t.Errorf("blocked: %d %s", code, text)
	}
	inbox(t, n, "alice@example.test")
	for _, args := range [][]string{{"account", "unblock", "alice@example.test"}, {"account", "limits", "alice@example.test", "--hourly", "default"}} {
		if _, err := n.Command(t.Context(), "", args...); err != nil {
			t.Fatal(err)
		}
	}
	alice.submit(t, n)
	hop.Wait(t, 4)
	if hop.Copies("four@open.example") != 0 {
		t.Error("what was refused went out")
	}
}

// TestStolenAccount: an account most of whose mail is refused is blocked, by a
// real server only, and its postmaster told.
func TestStolenAccount(t *testing.T) {
	t.Parallel()
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.domain(t, "strict.example", nexthop.Script{Replies: map[string]string{"RCPT": "550 5.1.1 nobody"}})
	n := start(t, append(w.flags("500ms", "10m"), "--ephemeral", "--limits")...)
	spam := outgoing{from: "alice@example.test"}
	for i := range 60 {
		spam.to = append(spam.to, "victim"+string(rune('a'+i%26))+string(rune('a'+i/26))+"@strict.example")
	}
	spam.submit(t, n)
	eventually(t, "alice is blocked", func() bool {
		out, err := n.Command(t.Context(), "", "account", "show", "alice@example.test", "--json")
		return err == nil && strings.Contains(out, `"sending_blocked": true`)
	})
	spam.to = []string{"bob@example.test"}
	if code, text := spam.try(t, n); code != 550 {
		t.Errorf("she still sends: %d %s", code, text)
	}
	// The postmaster of last resort is the oldest account, hers: with the report
	// of what bounced there is the notice.
	eventually(t, "the notice is there", func() bool {
		for _, m := range inbox(t, n, "alice@example.test") {
			if strings.Contains(string(m), "posthouse account unblock alice@example.test") {
				return true
			}
		}
		return false
	})
}
