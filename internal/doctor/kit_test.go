package doctor

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/internal/test/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "mx.example.test"

// patient is a site of the tests' DNS.
func patient(t *testing.T) (*Patient, *dnstest.Server) {
	t.Helper()
	server := dnstest.Start(t)
	c := config.Site()
	c.Hostname, c.Data = host, t.TempDir()
	c.Testing.DNS = server.Addr().String()
	return &Patient{Config: &c, Resolver: dns.New(dns.Config{Servers: []netip.AddrPort{server.Addr()}}), Listen: make(map[string]string)}, server
}

// run runs one check.
func run(t *testing.T, name string, check func(context.Context, *findings)) []Finding {
	t.Helper()
	f := findings{check: name}
	check(t.Context(), &f)
	return f.list
}

// want compares levels and parts of texts: "error: part of the text".
func want(t *testing.T, got []Finding, expected ...string) {
	t.Helper()
	ok := len(got) == len(expected)
	for i := 0; ok && i < len(got); i++ {
		level, part, _ := strings.Cut(expected[i], ": ")
		ok = string(got[i].Level) == level && strings.Contains(got[i].Subject+" "+got[i].Text, part)
	}
	if !ok {
		for _, f := range got {
			t.Logf("%s: %s %s → %s", f.Level, f.Subject, f.Text, f.Mend)
		}
		t.Errorf("%d findings, want %q", len(got), expected)
	}
	for _, f := range got {
		if f.Level == Error && f.Mend == "" {
			t.Errorf("nothing mends %q", f.Text)
		}
	}
}

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"meminfo": "MemFree: 1 kB\nMemTotal:  2048 kB\n", "less": "1048576\n", "max": "max\n", "none": "MemFree: 1 kB\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for group, expected := range map[string]int64{"max": 2 << 20, "less": 1 << 20, "missing": 2 << 20} {
		if n, err := memoryTotal(filepath.Join(dir, "meminfo"), filepath.Join(dir, group)); err != nil || n != expected {
			t.Errorf("%s: %d %v", group, n, err)
		}
	}
	if _, err := memoryTotal(filepath.Join(dir, "none"), ""); err == nil {
		t.Error("memory out of nothing")
	}
}
