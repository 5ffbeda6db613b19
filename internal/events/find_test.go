package events

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// story records what happened to three messages: one yesterday, on a day that is
// indexed, and two today.
func story(t *testing.T, l *Log) {
	t.Helper()
	yesterday := time.Now().UTC().Truncate(day).Add(-36 * time.Hour) // or the day before: long enough over to be indexed
	must(t, makeDayFor(t, l, yesterday.Truncate(day)))
	now := time.Now()
	const alice, bob, sub = "Alice@Example.org", "bob@example.test", "bob@lists.example.test"
	must(t, l.insert(t.Context(), l.pool, cleaned([]Event{
		{At: yesterday, Kind: Received, Message: "a1", From: alice, HeaderID: "<one@example.org>", Subject: "Minutes of 100% of us", Account: 7, Size: 900},
		{At: yesterday, Kind: Stored, Message: "a1", Recipient: bob, Account: 7},
		{At: yesterday, Kind: Queued, Message: "a1", Recipient: "carol@example.net", Account: 7},
		{At: yesterday.Add(time.Minute), Kind: Deferred, Message: "a1", Recipient: "carol@example.net", Account: 7, Code: 451},
		{At: yesterday.Add(time.Hour), Kind: Bounced, Message: "a1", Recipient: "Carol@example.net", Account: 7, Code: 550},
		{At: yesterday.Add(time.Hour), Kind: Reported, Message: "a1", Recipient: alice, Account: 7},
		{At: now, Kind: Received, Message: "b2", From: "bob@example.net", HeaderID: "two@example.org", Subject: "Other"},
		{At: now, Kind: Stored, Message: "b2", Recipient: sub},
		{At: now, Kind: Received, Message: "c3", From: alice},
		{At: now, Kind: Refused, Message: "c3", Recipient: "Bob@example.test", Code: 550},
	}, "a")))
	must(t, l.maintain(t.Context(), DefaultKeep))
}

func TestMessages(t *testing.T) {
	l := open(t)
	story(t, l)
	for _, c := range []struct {
		q    Query
		want []string
	}{
		{Query{}, []string{"c3", "b2", "a1"}},
		{Query{Limit: 2}, []string{"c3", "b2"}},
		{Query{From: "alice@example.ORG"}, []string{"c3", "a1"}},
		{Query{From: "<Alice@example.org>"}, []string{"c3", "a1"}},
		{Query{From: "@example.org"}, []string{"c3", "a1"}},
		{Query{From: "ali"}, []string{"c3", "a1"}},
		{Query{From: "ice@exam"}, []string{"c3", "a1"}},
		{Query{Recipient: "bob@example.test"}, []string{"c3", "a1"}},
		{Query{Recipient: "@example.test"}, []string{"c3", "a1"}},
		{Query{Recipient: "example.test"}, []string{"c3", "b2", "a1"}}, // and the domains below it
		{Query{Recipient: "bob"}, []string{"c3", "b2", "a1"}},
		{Query{Recipient: "bob@"}, []string{"c3", "b2", "a1"}},
		{Query{Recipient: "b_b"}, nil}, // no pattern of LIKE
		{Query{From: "alice@example.org", Recipient: "carol"}, []string{"a1"}},
		{Query{From: "bob@example.net", Recipient: "carol"}, nil},
		{Query{Recipient: "xample.tes"}, []string{"c3", "b2", "a1"}}, // a part, since no domain has it
		{Query{HeaderID: "one@example.org"}, []string{"a1"}},
		{Query{HeaderID: "<two@example.org>"}, []string{"b2"}},
		{Query{Subject: "100% OF"}, []string{"a1"}},
		{Query{Kinds: []Kind{Bounced}}, []string{"a1"}},
		{Query{Kinds: []Kind{Bounced, Refused}, From: "alice"}, []string{"c3", "a1"}},
		{Query{Account: 7}, []string{"a1"}},
		{Query{Account: 8}, nil},
		{Query{Since: time.Now().Add(-time.Minute)}, []string{"c3", "b2"}},
		{Query{Until: time.Now().Add(-time.Minute)}, []string{"a1"}},
		{Query{Message: "b2"}, []string{"b2"}},
		{Query{From: "nobody@example.org"}, nil},
		{Query{From: "ALICE", Recipient: "BOB", Kinds: []Kind{Refused}, Since: time.Now().Add(-time.Hour)}, []string{"c3"}},
	} {
		t.Run(fmt.Sprintf("%+v", c.q), func(t *testing.T) {
			found, err := l.Messages(t.Context(), c.q)
			must(t, err)
			var ids []string
			for _, m := range found {
				ids = append(ids, m.ID)
			}
			if !slices.Equal(ids, c.want) {
				t.Errorf("%v, want %v", ids, c.want)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	l := open(t)
	story(t, l)
	list, err := l.Events(t.Context(), "a1")
	must(t, err)
	m := Summarize(list)
	if m.From != "Alice@Example.org" || m.HeaderID != "<one@example.org>" || m.Size != 900 || len(m.Recipients) != 2 {
		t.Fatalf("%+v", m)
	}
	if m.Recipients[0].Last.Kind != Stored || m.Recipients[1].Last.Kind != Bounced {
		t.Errorf("%+v", m.Recipients)
	}
}

func TestFindPages(t *testing.T) {
	l := open(t)
	story(t, l)
	ctx := t.Context()
	var ids []int64
	for after := int64(0); ; {
		page, err := l.Find(ctx, Query{Account: 7, After: after, Limit: 4})
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			ids = append(ids, e.ID)
		}
		after = ids[len(ids)-1]
	}
	if len(ids) != 6 || !slices.IsSorted(ids) {
		t.Fatalf("%v", ids)
	}
	newest, err := l.Find(ctx, Query{Newest: true, Limit: 2, Before: ids[5] + 3})
	must(t, err)
	if len(newest) != 2 || newest[0].ID != ids[5]+2 {
		t.Errorf("%+v", newest)
	}
	some, err := l.Find(ctx, Query{From: "alice", Kinds: []Kind{Received}, HeaderID: "one@example.org", Subject: "minutes"})
	must(t, err)
	if len(some) != 1 || some[0].Account != 7 || some[0].At.Location() != time.UTC {
		t.Errorf("%+v", some)
	}
}
