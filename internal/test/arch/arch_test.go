package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// production lists what the server is built of.
func production(t *testing.T) Graph {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "posthouse/cmd/posthouse")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	g := Graph{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, module) {
			g[p.ImportPath] = p.Imports
		}
	}
	if len(g) < 10 {
		t.Fatalf("only %d packages found", len(g))
	}
	return g
}

func TestArrows(t *testing.T) {
	for _, v := range Violations(production(t)) {
		t.Error(v)
	}
}

func TestEverythingIsUsed(t *testing.T) {
	for _, m := range Unused(production(t)) {
		t.Errorf("no production code uses %s", m)
	}
}

// The rules can fail.
func TestRulesSeeViolations(t *testing.T) {
	g := Graph{
		"posthouse/cmd/posthouse":  {"posthouse/mda", "posthouse/pop3", "github.com/jackc/pgx/v5/pgxpool"},
		"posthouse/pop3":           {"posthouse/imap/imapd", "posthouse/mda", "posthouse/internal/mail", "posthouse/mailstore"},
		"posthouse/mda":            {"posthouse/smtp/queue", "posthouse/smtp/smtpd"},
		"posthouse/web":            {"github.com/jackc/pgx/v5", "posthouse/mailstore/localpg"},
		"posthouse/mailstore":      {"github.com/jackc/pgx/v5", "posthouse/internal/directory"},
		"posthouse/internal/spool": {"database/sql"},
		"posthouse/common":         {"fmt"},
	}
	want := []string{
		"common has no place in the architecture",
		"internal/spool imports database/sql",
		"mailstore imports posthouse/internal/directory",
		"mda imports posthouse/smtp/smtpd",
		"pop3 imports posthouse/imap/imapd",
		"pop3 imports posthouse/mda",
		"web imports github.com/jackc/pgx/v5",
		"web imports posthouse/mailstore/localpg",
	}
	got := Violations(g)
	if len(got) != len(want) {
		t.Errorf("%d violations, want %d: %q", len(got), len(want), got)
	}
	for i := range min(len(got), len(want)) {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("violation %d is %q, want %q", i, got[i], want[i])
		}
	}

	missing := Unused(g)
	for _, m := range []string{"tls", "github.com/emersion/go-smtp"} {
		if !slices.Contains(missing, m) {
			t.Errorf("%s is not missed: %q", m, missing)
		}
	}
	if slices.Contains(missing, "pop3") || slices.Contains(missing, "github.com/jackc/pgx/v5") {
		t.Errorf("missed what is there: %q", missing)
	}
}

// The table cannot go round in circles, whatever Go would say about cycles of
// packages that do not exist yet.
func TestArrowsPointDown(t *testing.T) {
	var visit func(name string, above []string)
	visit = func(name string, above []string) {
		if slices.Contains(above, name) {
			t.Fatalf("a circle: %s", strings.Join(append(above, name), " → "))
		}
		for _, next := range arrows[name] {
			if next != "ground" && next != "*" {
				visit(next, append(above[:len(above):len(above)], name))
			}
		}
	}
	for name := range arrows {
		visit(name, nil)
	}
	protocols := []string{"smtp/smtpd", "imap/imapd", "pop3", "web"}
	for _, p := range protocols {
		for _, other := range append(protocols, "mda", "smtp/queue") {
			if slices.Contains(arrows[p], other) {
				t.Errorf("%s may import %s", p, other)
			}
		}
	}
}
