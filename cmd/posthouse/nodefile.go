package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"posthouse/internal/config"
)

// outside is what a server takes for the Internet, where flags said so: commands
// that go there must go the same way.
type outside struct {
	DNS       string `json:"dns,omitempty"`
	RelayPort uint16 `json:"relay_port,omitempty"`
	HTTPSPort uint16 `json:"https_port,omitempty"`
	Trust     string `json:"trust,omitempty"`
}

// testing is what the site's file replaces of the Internet, or else the flags of
// the server that runs.
func (s *site) testing() (config.Testing, error) {
	if s.config.Testing.Set() {
		return s.config.Testing, nil
	}
	nodes, err := runningNodes(s.config.Data)
	if err != nil {
		return config.Testing{}, err
	}
	for _, n := range nodes {
		if o := n.Outside; o != nil {
			return config.Testing{DNS: o.DNS, RelayPort: o.RelayPort, HTTPSPort: o.HTTPSPort, Trust: o.Trust}, nil
		}
	}
	return config.Testing{}, nil
}

// nodeFile notes in DATA/nodes where a running server listens, so that
// `posthouse status` finds it. It holds no passwords.
type nodeFile struct{ path string }

func (f *nodeFile) write(data string, r ready, t config.Testing) error {
	r.Accounts, r.Captured, r.Database = nil, nil, ""
	if t.Set() {
		r.Outside = &outside{t.DNS, t.RelayPort, t.HTTPSPort, t.Trust}
	}
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
