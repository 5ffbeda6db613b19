package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"posthouse/internal/test/pgtest"
	"posthouse/internal/test/zonetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"posthouse": main})
}

// TestScripts runs the commands as a shell would, each script on a database of
// its own. They hold the words, the JSON and the exit codes that others rely on.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			root := folder(t)
			url := pgtest.URL(t)
			testscript.Run(t, testscript.Params{
				Files:       []string{file},
				WorkdirRoot: root,
				Setup: func(env *testscript.Env) error {
					env.Setenv("POSTHOUSE_DATABASE_URL", url)
					env.Setenv("HOME", env.WorkDir)
					if strings.HasSuffix(file, "domain_apply.txtar") {
						if err := zoneSite(t, env.WorkDir); err != nil {
							return err
						}
					}
					// Started as root, the private Postgres is not: it must get
					// at its folder.
					return os.Chmod(env.WorkDir, 0o755)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
			})
		})
	}
}

// zoneSite writes the configuration of a site whose zone can be changed.
func zoneSite(t *testing.T, dir string) error {
	s := zonetest.Start(t, "example.test", "example.test. MX 5 mail.provider.example.org.", `example.test. TXT "site-verification=1"`)
	text := fmt.Sprintf(`hostname = "mx.example.test"
data = %q
[acme]
addresses = ["192.0.2.7"]
[acme.dns]
provider = "rfc2136"
settings = { server = %q, key_name = %q, key_alg = %q, key = %q }
[testing]
dns = %q
`, filepath.Join(dir, "data"), s.Addr, zonetest.KeyName, zonetest.Algorithm, zonetest.Secret, s.Addr)
	return os.WriteFile(filepath.Join(dir, "site.toml"), []byte(text), 0o600)
}

// folder is a temporary folder that other users can enter.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "posthouse-cmd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
