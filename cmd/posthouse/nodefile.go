package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// nodeFile notes in DATA/nodes where a running server listens, so that
// `posthouse status` finds it. It holds no passwords.
type nodeFile struct{ path string }

func (f *nodeFile) write(data string, r ready) error {
	r.Accounts, r.Captured, r.Database = nil, nil, ""
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	dir := filepath.Join(data, "nodes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, strconv.Itoa(r.PID)+".json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	f.path = path
	return nil
}

func (f *nodeFile) remove() {
	if f.path != "" {
		os.Remove(f.path) // left behind, it names a process that does not live
	}
}

// runningNodes reads the notes of the servers that live, and removes those of
// servers that were killed.
func runningNodes(data string) ([]ready, error) {
	files, err := filepath.Glob(filepath.Join(data, "nodes", "*.json"))
	if err != nil {
		return nil, err
	}
	var nodes []ready
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // just stopped
		}
		var r ready
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if !lives(r.PID) {
			os.Remove(file)
			continue
		}
		nodes = append(nodes, r)
	}
	return nodes, nil
}

// lives says whether a process of that number is a posthouse. The number may
// have been given to another program since.
func lives(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && err != syscall.EPERM {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || strings.Contains(string(cmdline), "serve") // no /proc: believe it
}
