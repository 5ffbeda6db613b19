package localpg

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPIDFile(t *testing.T) {
	dir := t.TempDir()
	const whole = "4711\n/data\n1700000000\n5432\n/run\n\n  5432001         7\n"
	for content, want := range map[string]pidFile{
		whole + "ready   \n": {4711, true},
		whole + "starting\n": {4711, false},
		whole:                {4711, false},
		"4711\n":             {4711, false},
		"":                   {},
		"-1\n":               {},
		"many\n":             {},
	} {
		if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readPIDFile(dir)
		if got != want || (err == nil) != (want.pid != 0) {
			t.Errorf("%q: %+v, %v; want %+v", content, got, err, want)
		}
	}
}

func TestTail(t *testing.T) {
	var out strings.Builder
	tl := &tail{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	write := func(s string) {
		if n, err := tl.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	for range tailLines {
		write("LOG:  early\n")
	}
	write("PANIC:  could not wr")
	write("ite: No space left on device\nWARNING:  " + strings.Repeat("x", 2*tailOctets) + "\nlast words")
	lines := strings.Split(tl.String(), "\n")
	if len(lines) != tailLines+1 || lines[len(lines)-1] != "last words" {
		t.Errorf("kept %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if len(lines[tailLines-1]) != tailOctets {
		t.Errorf("kept %d octets of a long line", len(lines[tailLines-1]))
	}
	if !tl.diskFull() {
		t.Error("a full disk goes unnoticed")
	}
	if log := out.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "level=WARN") || strings.Contains(log, "early") {
		t.Errorf("logged %q", log)
	}
}

func TestSettingsFollowMemory(t *testing.T) {
	for memory, want := range map[int64]string{
		512 << 20: "shared_buffers=64MB",
		6 << 30:   "shared_buffers=96MB",
		256 << 30: "shared_buffers=128MB",
	} {
		if got := strings.Join(settings(memory), " "); !strings.Contains(got, want) {
			t.Errorf("%d octets: no %s in %s", memory, want, got)
		}
	}
}

func TestSystemNamesWhatIsMissing(t *testing.T) {
	_, err := System(testContext(t), 99)
	if err == nil || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "make build") {
		t.Errorf("System(99) = %v", err)
	}
}

// Unpacking is all or nothing, repeatable, and clears away what it replaces.
func TestUnpack(t *testing.T) {
	if !Bundled() {
		t.Skip("this test binary has no bundle (build tag bundlepg)")
	}
	parent := t.TempDir()
	old, foreign := filepath.Join(parent, "postgresql-18.1-00000000"), filepath.Join(parent, "postgresql-17.1-00000000")
	for _, dir := range []string{old, foreign} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	i, err := Unpack(parent)
	if err != nil {
		t.Fatal(err)
	}
	if half := filepath.Dir(i.Bin) + ".new"; exists(half) {
		t.Errorf("%s is left", half)
	}
	if exists(old) || !exists(foreign) {
		t.Error("of earlier bundles, only those of the same major version go")
	}
	said, err := inspect(testContext(t), i.Bin)
	if err != nil || said.Major != i.Major {
		t.Errorf("postgres says %+v, %v", said, err)
	}
	marker := filepath.Join(i.Bin, "marker")
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(parent); err != nil || !exists(marker) {
		t.Errorf("unpacked again: %v", err)
	}
}
