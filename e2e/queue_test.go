package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/nexthop"
)

// TestQueueForPeople: what waits is listed, shown, held, released, retried and
// returned by command, while the server runs.
func TestQueueForPeople(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	from := sender(t, n, "operator")
	mended := make(chan struct{})
	script := nexthop.Script{On: func(_ *nexthop.Session, verb, _ string) string {
		select {
		case <-mended:
			return ""
		default:
		}
		if verb == "MAIL" {
			return "451 4.3.0 not today"
		}
		return ""
	}}
	hop := w.domain(t, "people.example", script)
	for i := range 3 {
		outgoing{from: from, to: []string{fmt.Sprintf("bob%d@people.example", i)}}.submit(t, n)
	}
	waitingFor(t, n, "people.example")
	run := func(args ...string) string {
		t.Helper()
		out, err := n.Command(t.Context(), "", args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	type entry struct {
		ID  int64  `json:"id"`
		Ref string `json:"message_id"`
	}
	list := func(args ...string) (entries []entry) {
		t.Helper()
		out := run(append([]string{"queue", "list", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &entries); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return entries
	}
	all := list("--domain", "people.example")
	if len(all) != 3 || len(list("--sender", from)) != 3 || len(list("--recipient", "bob1@people.example")) != 1 {
		t.Fatalf("listed: %+v", all)
	}
	if out := run("queue", "list", "--domain", "people.example"); !strings.Contains(out, "bob1@people.example") {
		t.Errorf("the table: %s", out)
	}
	eventually(t, "the reason is shown", func() bool {
		return strings.Contains(run("queue", "show", fmt.Sprint(all[0].ID)), "not today")
	})
	if out := run("queue", "bounce", "--recipient", "bob0@people.example", "--dry-run"); len(list("--domain", "people.example")) != 3 {
		t.Errorf("a dry run did something: %s", out)
	}
	run("queue", "hold", "--recipient", "bob1@people.example")
	run("queue", "bounce", "--recipient", "bob0@people.example")
	parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob0@people.example", "failed", "5.0.0")
	close(mended)
	run("queue", "retry", "--domain", "people.example")
	hop.Wait(t, 1)
	if hop.Copies("bob1@people.example") != 0 {
		t.Error("what was held left")
	}
	run("queue", "release", "--recipient", "bob1@people.example")
	hop.Wait(t, 2)
	emptyQueue(t, n, "people.example")
	if a, b, c := hop.Copies("bob0@people.example"), hop.Copies("bob1@people.example"), hop.Copies("bob2@people.example"); a != 0 || b != 1 || c != 1 {
		t.Errorf("copies: %d %d %d", a, b, c)
	}

	// What happened to it, from acceptance to the other server's words.
	var found []struct{ ID string }
	if out := run("trace", "find", "--to", "bob2@people.example", "--json"); json.Unmarshal([]byte(out), &found) != nil || len(found) != 1 {
		t.Fatalf("trace finds %s", out)
	}
	out := run("trace", "show", found[0].ID, "--json")
	for _, want := range []string{from, "bob2@people.example", "not today", "taken as"} {
		if !strings.Contains(out, want) {
			t.Errorf("trace does not tell of %q:\n%s", want, out)
		}
	}
}

// TestHeldByItsSender: FUTURERELEASE keeps a message back for as long as was
// asked, and DELIVERBY returns one that cannot be there in time.
func TestHeldByItsSender(t *testing.T) {
	t.Parallel()
	w, n := sending(t)
	from := sender(t, n, "future")
	hop := w.domain(t, "future.example", nexthop.Script{})
	w.domain(t, "never.example", nexthop.Script{Keywords: []string{"8BITMIME", "DELIVERBY"}, Replies: map[string]string{"MAIL": "451 4.3.0 not today"}})
	began := time.Now()
	outgoing{from: from, params: "HOLDFOR=4", to: []string{"later@future.example"}}.submit(t, n)
	outgoing{from: from, to: []string{"now@future.example"}}.submit(t, n)
	outgoing{from: from, params: "BY=3;R", to: []string{"bob@never.example"}}.submit(t, n)
	list := hop.Wait(t, 2)
	if took := time.Since(began); took < 4*time.Second || list[0].To()[0] != "now@future.example" {
		t.Errorf("held for 4 s, the message came after %s; the first was for %s", took, list[0].To())
	}
	parseReport(t, awaitMail(t, n, from, 1)[0]).says(t, "bob@never.example", "failed", "5.4.7", "not today")
}
