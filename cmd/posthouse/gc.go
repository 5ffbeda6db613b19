package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
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

// An idle process needs no room. In a round in which it allocated less than
// quiet bytes, memory that was put to use since the last time goes back to the
// system: by a few collections, for each halves the stacks that are too large,
// and pools take two.
const (
	idleRound   = 10 * time.Second
	quiet       = 2 << 20
	worthwhile  = 4 << 20
	collections = 3
)

// giveBackWhenIdle watches for idle rounds until the function returned is
// called, which waits for its goroutine.
func giveBackWhenIdle() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		round := time.NewTicker(idleRound)
		defer round.Stop()
		seen := idleness{allocated: allocated()}
		for {
			select {
			case <-round.C:
				if seen.idle(allocated()) {
					debug.FreeOSMemory()
				}
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// idleness decides, round by round, whether memory is to be given back.
type idleness struct {
	allocated uint64 // in all, at the last round
	used      uint64 // since memory was last given back
	left      int    // collections that are due
}

func (i *idleness) idle(allocated uint64) bool {
	grown := allocated - i.allocated
	i.allocated = allocated
	if i.used += grown; i.used >= worthwhile {
		i.left = collections
	}
	if grown >= quiet || i.left == 0 {
		return false
	}
	i.left--
	i.used = 0
	return true
}

// allocated is how many bytes the process has allocated in its life.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
