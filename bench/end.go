package main

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
)

// ends are what has to be stopped and removed when the benchmark ends, also by a
// signal. (Where it is killed, the servers die with it: package child.)
var ends struct {
	mu   sync.Mutex
	todo []*func()
}

// atEnd has stop run once: by what it returns, or by a signal.
func atEnd(stop func()) func() {
	ends.mu.Lock()
	defer ends.mu.Unlock()
	mine := &stop
	ends.todo = append(ends.todo, mine)
	return func() {
		ends.mu.Lock()
		i := slices.Index(ends.todo, mine)
		if i >= 0 {
			ends.todo = slices.Delete(ends.todo, i, i+1)
		}
		ends.mu.Unlock()
		if i >= 0 {
			stop()
		}
	}
}

// heedSignals ends the program in order.
func heedSignals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-c
		ends.mu.Lock() // for good: nothing new begins
		for _, stop := range slices.Backward(ends.todo) {
			(*stop)()
		}
		os.Exit(1)
	}()
}
