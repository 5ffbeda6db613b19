package events

import (
	"testing"
	"time"
)

// What was recorded before its day had a partition is moved there; what is too
// old is gone with its partition, or from the default one by rows.
func TestPartitions(t *testing.T) {
	l := open(t)
	ctx := t.Context()
	now := time.Now()
	add := func(message string, at time.Time) {
		t.Helper()
		must(t, l.insert(ctx, l.pool, cleaned([]Event{{Kind: Received, Message: message, At: at, From: "Alice@Example.org", Recipient: "bob@example.test", HeaderID: "<x@example.org>"}}, "a")))
	}
	today := now.UTC().Truncate(day)
	_, err := l.pool.Exec(ctx, `DROP TABLE `+today.Add(day).Format(dayLayout))
	must(t, err)
	add("today", now)
	add("tomorrow", now.Add(day))
	add("old", now.Add(-40*day))
	add("far", now.Add(300*day))
	must(t, makeDayFor(t, l, today.Add(-35*day)))
	must(t, makeDayFor(t, l, today.Add(-2*day)))
	add("expired", today.Add(-35*day))
	add("recent", today.Add(-2*day))
	if n := count(t, l, `SELECT count(*) FROM event_default`); n != 3 {
		t.Fatalf("%d rows in the default partition", n)
	}
	must(t, l.maintain(ctx, DefaultKeep))
	must(t, l.maintain(ctx, DefaultKeep))
	if n := count(t, l, `SELECT count(*) FROM `+today.Add(day).Format(dayLayout)); n != 1 {
		t.Errorf("%d rows were moved", n)
	}
	if n := count(t, l, `SELECT count(*) FROM event`); n != 4 {
		t.Errorf("%d events are left, want today, tomorrow, far, recent", n)
	}
	if n := count(t, l, `SELECT count(*) FROM pg_indexes WHERE tablename = $1`, today.Add(-2*day).Format(dayLayout)); n != 5 {
		t.Errorf("%d indexes on a day that is over", n)
	}
	if n := count(t, l, `SELECT count(*) FROM pg_indexes WHERE tablename = $1`, today.Format(dayLayout)); n != 2 {
		t.Errorf("%d indexes on today", n)
	}
}

func makeDayFor(t *testing.T, l *Log, d time.Time) error {
	conn, err := l.pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	return makeDay(t.Context(), conn.Conn(), d)
}

// Recording goes on while a day is made, and a day is not made while another
// transaction uses the default partition: it is with the next pass.
func TestMaintainingDoesNotStopRecording(t *testing.T) {
	l := open(t)
	other := node(t, again(t, l), "b")
	ctx := t.Context()
	tx, err := other.pool.Begin(ctx)
	must(t, err)
	must(t, other.AddTx(ctx, tx, Event{Kind: Stored, Message: "open"}))
	d := time.Now().UTC().Truncate(day).Add(9 * day)
	must(t, makeDayFor(t, l, d)) // beside an open transaction on today's partition
	must(t, l.insert(ctx, l.pool, cleaned([]Event{{Kind: Stored, Message: "beside"}}, "a")))
	must(t, other.AddTx(ctx, tx, Event{Kind: Stored, Message: "far", At: d.Add(5 * day)}))
	if err := makeDayFor(t, l, d.Add(day)); err == nil {
		t.Error("a day was made beside a transaction on the default partition")
	}
	must(t, tx.Commit(ctx))
	must(t, makeDayFor(t, l, d.Add(day)))
	if n := count(t, l, `SELECT count(*) FROM event`); n != 3 {
		t.Errorf("%d events", n)
	}
}
