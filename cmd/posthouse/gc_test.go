package main

import (
	"runtime"
	"runtime/debug"
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
