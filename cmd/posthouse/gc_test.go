package main

import (
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// TestHeapRoom: the pace follows what is alive, at each collection anew.
func TestHeapRoom(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	giveHeapRoom()
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	until := func(what string, ok func(int) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(percent()); runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: still %d%%", what, percent())
			}
		}
	}
	until("a small heap", func(p int) bool { return p > 100 && p <= 1000 })
	alive := make([]byte, 2*heapRoom)
	until("a large heap", func(p int) bool { return p == 100 })
	runtime.KeepAlive(alive)
	until("a heap that has shrunk", func(p int) bool { return p > 100 })
}

// TestIdleness: work is followed by a few collections once it is quiet, and
// quiet by none.
func TestIdleness(t *testing.T) {
	var seen idleness
	var got []bool
	total := uint64(0)
	for _, grown := range []uint64{100, 3 << 20, 100, 100, 3 << 20, 8 << 20, 1 << 20, 100, 100, 100, 100, 100} {
		total += grown
		got = append(got, seen.idle(total))
	}
	want := []bool{false, false, false, false, false, false, true, true, true, false, false, false}
	if !slices.Equal(got, want) {
		t.Errorf("given back in rounds %v, want %v", got, want)
	}
}
