package arch

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testName = regexp.MustCompile("`([a-z0-9]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`")

// TestTrustTable holds that every test that docs/trust.md names exists.
func TestTrustTable(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "trust.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := testName.FindAllStringSubmatch(string(text), -1)
	if len(named) < 100 {
		t.Fatalf("docs/trust.md names %d tests: the pattern is broken", len(named))
	}
	there := tests(t, root)
	for _, m := range named {
		if name := m[1] + "." + m[2]; !there[name] {
			t.Errorf("docs/trust.md names %s, which does not exist", name)
		}
	}
}

var imapTest = regexp.MustCompile(`\b(?:([a-z0-9]+)\.)?((?:Test|Fuzz)[A-Z][A-Za-z0-9]+)`)

// TestIMAPTable holds the same of docs/imap.md, where imapd is not said.
func TestIMAPTable(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "imap.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := imapTest.FindAllStringSubmatch(string(text), -1)
	if len(named) < 80 {
		t.Fatalf("docs/imap.md names %d tests: the pattern is broken", len(named))
	}
	there := tests(t, root)
	for _, m := range named {
		if name := cmp.Or(m[1], "imapd") + "." + m[2]; !there[name] {
			t.Errorf("docs/imap.md names %s, which does not exist", name)
		}
	}
}

// tests are the functions of all test files, with the names of their packages.
func tests(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				found[strings.TrimSuffix(f.Name.Name, "_test")+"."+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
