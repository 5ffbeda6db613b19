package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/PID/stat's times (USER_HZ, 100 on every Linux).
const tick = 10 * time.Millisecond

// tree lists the pids of the server's processes.
func (s *server) tree() []int {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if fields := statFields(pid); fields != nil {
			ppid, _ := strconv.Atoi(fields[1])
			children[ppid] = append(children[ppid], pid)
		}
	}
	var all []int
	todo := append([]int{s.root}, s.more...)
	for len(todo) > 0 {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		all = append(all, pid)
	}
	return all
}

// statFields are those of /proc/PID/stat after the name: state, ppid, …
func statFields(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// cpu is the time that the server's processes have used so far, those included
// that have ended and been waited for.
func (s *server) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range s.tree() {
		sum += cpuOf(pid, 4)
	}
	return sum
}

// running is the time that the threads of the server's processes have run, to the
// nanosecond: for what takes milliseconds. Those that have ended do not count.
func (s *server) running() time.Duration {
	var sum time.Duration
	for _, pid := range s.tree() {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, f := range threads {
			text, err := os.ReadFile(f)
			if fields := strings.Fields(string(text)); err == nil && len(fields) > 0 {
				n, _ := strconv.ParseInt(fields[0], 10, 64)
				sum += time.Duration(n)
			}
		}
	}
	return sum
}

// cpuOf adds up the first of a process's times: utime, stime, cutime, cstime.
func cpuOf(pid, times int) time.Duration {
	fields := statFields(pid)
	if fields == nil {
		return 0
	}
	var ticks int64
	for _, f := range fields[11 : 11+times] {
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// pss is the memory of the server's processes in KiB, shared pages divided.
func (s *server) pss() int64 {
	var sum int64
	for _, pid := range s.tree() {
		sum += pssOf(pid)
	}
	return sum
}

func pssOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}
