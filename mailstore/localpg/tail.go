package localpg

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

const (
	tailLines  = 20   // of PostgreSQL's log kept for an error message
	tailOctets = 4096 // of one line; the rest is dropped
)

// tail passes PostgreSQL's log on to ours and keeps its end: when it dies, its
// last words tell why.
type tail struct {
	log *slog.Logger

	mu    sync.Mutex
	part  []byte // of a line whose end has not come
	lines []string
	full  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		t.part = append(t.part, line[:min(len(line), tailOctets-min(len(t.part), tailOctets))]...)
		if whole {
			t.line(string(t.part))
			t.part = t.part[:0]
		}
		p = rest
	}
	return n, nil
}

func (t *tail) line(s string) {
	if s == "" {
		return
	}
	if len(t.lines) == tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, s)
	t.full = t.full || strings.Contains(s, "No space left on device")
	t.log.Log(context.Background(), level(s), "postgres: "+strings.TrimSpace(s), "event", "postgres_log")
}

// level translates PostgreSQL's. A FATAL ends one session only, and each client
// that comes during a restart gets one; an ERROR goes to the client.
func level(line string) slog.Level {
	word, _, _ := strings.Cut(line, ":")
	switch word {
	case "PANIC":
		return slog.LevelError
	case "WARNING":
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(append(t.lines[:len(t.lines):len(t.lines)], string(t.part)), "\n")
}

func (t *tail) diskFull() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.full
}
