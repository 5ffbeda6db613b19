// Package arch holds the architecture as rules that a test enforces: who may
// import whom, where SQL may stand, and that what the project is made of is in
// production use. ARCHITECTURE.md says the same in words.
package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const module = "posthouse/"

// Graph are the imports of the packages of this module that the server is built
// of, by import path.
type Graph map[string][]string

// ground is what every package above it may stand on.
var ground = []string{"internal/admission", "internal/clientsetup", "internal/config", "internal/dns", "internal/door", "internal/events", "internal/mail", "internal/message", "internal/oidc", "internal/seal", "internal/spool", "internal/submission"}

// arrows are the packages of this module that a package may import; "ground"
// stands for all of that. A package that is not listed may not exist.
var arrows = map[string][]string{
	"cmd/posthouse": {"*"},

	"smtp/smtpd":   {"ground", "internal/directory", "mailstore", "smtp/mailauth"},
	"imap/imapd":   {"ground", "internal/directory", "mailstore", "imap/wire", "internal/inflate"},
	"pop3":         {"ground", "internal/directory", "mailstore"},
	"web":          {"ground", "internal/directory", "mailstore"},
	"web/captured": {"ground", "mailstore"},
	"web/password": {"ground", "internal/directory"},
	"web/api":      {"ground", "internal/directory", "mailstore"},

	"mda":           {"ground", "internal/directory", "mailstore", "smtp/dsn", "smtp/queue", "smtp/relay"},
	"smtp/queue":    {"ground", "mailstore", "smtp/dsn", "smtp/relay"},
	"smtp/relay":    {"ground"},
	"smtp/dsn":      {"ground"},
	"smtp/mailauth": {"ground"},
	"imap/wire":     {},

	"mailstore":          {"internal/events", "internal/mail", "internal/message", "internal/spool"},
	"mailstore/localpg":  {},
	"migrations":         {},
	"tls/certs":          {"internal/config", "internal/events", "internal/mail", "internal/seal"},
	"internal/directory": {"internal/config", "internal/events", "internal/mail", "internal/oidc", "internal/seal"},

	"internal/admission":   {},
	"internal/backup":      {"ground", "mailstore"},
	"internal/clientsetup": {"internal/mail"},
	"internal/config":      {"internal/mail"},
	"internal/dns":         {},
	"internal/doctor":      {"ground", "mailstore/localpg", "migrations", "smtp/mailauth", "smtp/queue", "tls/certs"},
	"internal/door":        {"internal/admission", "internal/events"},
	"internal/events":      {"internal/mail", "internal/seal"},
	"internal/inflate":     {},
	"internal/mail":        {},
	"internal/message":     {"internal/mail"},
	"internal/oidc":        {},
	"internal/seal":        {},
	"internal/spool":       {},
	"internal/submission":  {"internal/mail"},
	"internal/zone":        {"smtp/mailauth"},
	"internal/transfer":    {"ground", "mailstore", "imap/wire"},
}

// sql are the packages that may speak to the database; cmd wires the pool.
var sql = []string{
	"cmd/posthouse", "internal/backup", "internal/directory", "internal/doctor", "internal/events", "mailstore", "mailstore/localpg",
	"mda", "migrations", "smtp/mailauth", "smtp/queue", "tls/certs",
}

// drivers are imports that mean SQL.
var drivers = []string{"database/sql", "github.com/jackc/pgx/", "github.com/pressly/goose/"}

// Violations are the imports that break a rule, in order.
func Violations(g Graph) []string {
	var found []string
	for _, path := range slices.Sorted(maps.Keys(g)) {
		name := strings.TrimPrefix(path, module)
		allowed, listed := arrows[name]
		if !listed {
			found = append(found, fmt.Sprintf("%s has no place in the architecture: list what it may import in internal/test/arch", name))
			continue
		}
		for _, imported := range g[path] {
			if why := forbidden(name, allowed, imported); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", name, imported, why))
			}
		}
	}
	return found
}

func forbidden(name string, allowed []string, imported string) string {
	if inner, ours := strings.CutPrefix(imported, module); ours {
		switch {
		case slices.Contains(allowed, inner), slices.Contains(allowed, "*"):
			return ""
		case slices.Contains(allowed, "ground") && slices.Contains(ground, inner):
			return ""
		}
		return "against the arrows"
	}
	for _, d := range drivers {
		if strings.HasPrefix(imported, d) && !slices.Contains(sql, name) {
			return "SQL has no place there"
		}
	}
	return ""
}

// card are the folders that the project is made of. Each is one package or a
// folder of packages, and none is decoration.
var card = []string{"cmd/posthouse", "imap", "mailstore", "mda", "migrations", "pop3", "smtp", "tls"}

// modules are the libraries that the project is built on.
var modules = []string{
	"github.com/emersion/go-smtp", "github.com/emersion/go-imap/v2", "github.com/emersion/go-message",
	"github.com/jackc/pgx/v5", "github.com/caddyserver/certmagic",
}

// Unused are the folders and modules that no production code uses.
func Unused(g Graph) (missing []string) {
	used := func(prefix string) bool {
		for path, imports := range g {
			if under(path, prefix) {
				return true
			}
			for _, i := range imports {
				if under(i, prefix) {
					return true
				}
			}
		}
		return false
	}
	for _, folder := range card {
		if !used(module + folder) {
			missing = append(missing, folder)
		}
	}
	for _, m := range modules {
		if !used(m) {
			missing = append(missing, m)
		}
	}
	return missing
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }
