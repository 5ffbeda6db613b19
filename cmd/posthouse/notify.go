package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sayPatience is how long the supervisor may take to hear us.
const sayPatience = time.Second

// supervisor is who started the server and wants to hear how it does: systemd,
// by the protocol of sd_notify(3). Where nobody asked, nothing is said.
type supervisor struct {
	socket string        // NOTIFY_SOCKET; empty: nobody listens
	every  time.Duration // half of the watchdog's patience; 0: there is no watchdog
	log    *slog.Logger

	stop chan struct{}
	done sync.WaitGroup
}

// superviseBy reads what the supervisor left in the environment, and takes it
// out: children must not speak for the server.
func superviseBy(log *slog.Logger) *supervisor {
	s := &supervisor{socket: os.Getenv("NOTIFY_SOCKET"), log: log, stop: make(chan struct{})}
	pid := os.Getenv("WATCHDOG_PID")
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.every = time.Duration(usec) * time.Microsecond / 2
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	if name, abstract := strings.CutPrefix(s.socket, "@"); abstract {
		s.socket = "\x00" + name
	}
	return s
}

// ready says that every listener accepts, and keeps the watchdog quiet from now
// on. The database's being away is no reason to be restarted: sessions answer
// 451 meanwhile, and a restart would mend nothing.
func (s *supervisor) ready(hostname string) {
	if s.socket == "" {
		return
	}
	s.say("READY=1\nSTATUS=" + hostname + " takes mail")
	if s.every == 0 {
		return
	}
	s.done.Go(func() {
		tick := time.NewTicker(s.every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.say("WATCHDOG=1")
			case <-s.stop:
				return
			}
		}
	})
}

// reloading says that the configuration is read again; how it ended is told by
// reloaded. The clock is systemd's, which compares (sd_notify(3)).
func (s *supervisor) reloading() {
	if s.socket == "" {
		return
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		s.log.Warn("read the clock for the supervisor", "event", "reload", "err", err)
		return
	}
	s.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

func (s *supervisor) reloaded(status string) {
	if s.socket != "" {
		s.say("READY=1\nSTATUS=" + status)
	}
}

// stopping says that the server drains; the watchdog hears from it until close.
func (s *supervisor) stopping() {
	if s.socket != "" {
		s.say("STOPPING=1\nSTATUS=draining")
	}
}

// close ends the watchdog's goroutine.
func (s *supervisor) close() {
	close(s.stop)
	s.done.Wait()
}

func (s *supervisor) say(text string) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		s.log.Warn("tell the supervisor", "event", "start", "err", fmt.Errorf("NOTIFY_SOCKET: %w", err))
		return
	}
	defer c.Close()
	// The kernel keeps few datagrams for one who does not read, and would hold
	// us up for as long.
	if err := c.SetWriteDeadline(time.Now().Add(sayPatience)); err != nil {
		s.log.Warn("tell the supervisor", "event", "start", "err", err)
		return
	}
	if _, err := c.Write([]byte(text)); err != nil {
		s.log.Warn("tell the supervisor", "event", "start", "err", err)
	}
}
