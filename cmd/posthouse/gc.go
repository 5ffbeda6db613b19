package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// heapRoom is how much garbage the heap may take on before it is collected, in
// bytes, where that is more than what is alive. Go's own rule, as much as is
// alive, collects a server of some megabytes many times a second under mail,
// for a sixth of its processor time. With this much alive or more its rule holds.
const heapRoom = 32 << 20

// giveHeapRoom sets the collector's pace, now and after each collection, unless
// GOGC was given.
func giveHeapRoom() {
	if os.Getenv("GOGC") == "" {
		paceCollector()
	}
}

func paceCollector() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := 100 * heapRoom / max(live[0].Value.Uint64(), heapRoom/10)
	debug.SetGCPercent(int(max(percent, 100)))
	// A cleanup runs once, after the collection that finds its object dead.
	runtime.AddCleanup(new([16]byte), func(struct{}) { paceCollector() }, struct{}{})
}
