package main

import (
	"bytes"
	"strings"
	"testing"

	"posthouse/internal/doctor"
)

// TestWatchChanges: what comes and goes is said once; a number that changes is
// no change.
func TestWatchChanges(t *testing.T) {
	var out bytes.Buffer
	con := &console{out: &out}
	c := &doctorCheckCmd{}
	at := func(list ...doctor.Finding) map[string]doctor.Finding {
		m := make(map[string]doctor.Finding)
		for _, f := range list {
			m[same(f)] = f
		}
		return m
	}
	low := doctor.Finding{Check: "disk", Subject: "/", Level: doctor.Warning, Text: "17 MB free", Mend: "free space"}
	lower := low
	lower.Text = "16 MB free"
	queue := doctor.Finding{Check: "queue", Level: doctor.Error, Text: "many wait"}
	for _, step := range []struct {
		before, now map[string]doctor.Finding
		expect      []string
	}{
		{nil, at(low), []string{"WARNING  disk /: 17 MB free", "→ free space"}},
		{at(low), at(lower), nil},
		{at(lower), at(queue), []string{"ERROR    queue: many wait", "MENDED   disk /: 16 MB free"}},
		{at(queue), at(), []string{"MENDED   queue"}},
	} {
		out.Reset()
		if err := c.changes(con, step.before, step.now); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); got != len(step.expect) {
			t.Errorf("%d lines, want %q:\n%s", got, step.expect, &out)
		}
		for _, part := range step.expect {
			if !strings.Contains(out.String(), part) {
				t.Errorf("no %q in:\n%s", part, &out)
			}
		}
	}
}
