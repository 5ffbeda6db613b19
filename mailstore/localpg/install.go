package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest major version of PostgreSQL that Posthouse runs on.
const MinMajor = 15

// ErrNotInstalled says that there is no usable PostgreSQL on this machine and
// none in this binary.
var ErrNotInstalled = errors.New("no PostgreSQL found")

// Install is one set of PostgreSQL programs.
type Install struct {
	Bin     string // folder that holds postgres and initdb
	Version string // as the program says it, for example "18.4"
	Major   int
}

// Program is the path of one of the programs.
func (i Install) Program(name string) string { return filepath.Join(i.Bin, name) }

// places are where distributions keep the programs that they leave off PATH:
// Debian, Red Hat, Alpine, a build from source, Homebrew.
var places = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/libexec/postgresql*",
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
}

// System finds a PostgreSQL of the machine: the one of the major version asked
// for, or with 0 the newest that is at least MinMajor.
func System(ctx context.Context, major int) (Install, error) {
	var found []Install
	var problems []string
	for _, bin := range candidates() {
		i, err := inspect(ctx, bin)
		if ctx.Err() != nil { // a start that was cancelled, not a missing PostgreSQL
			return Install{}, ctx.Err()
		}
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		found = append(found, i)
	}
	// Stable, so that PATH wins among equals.
	slices.SortStableFunc(found, func(a, b Install) int { return cmp.Compare(b.Major, a.Major) })
	for _, i := range found {
		if major == i.Major || major == 0 && i.Major >= MinMajor {
			return i, nil
		}
		problems = append(problems, fmt.Sprintf("%s is version %s", i.Bin, i.Version))
	}
	want := fmt.Sprintf("version %d or later", MinMajor)
	if major != 0 {
		want = fmt.Sprintf("version %d", major)
	}
	msg := fmt.Sprintf("install PostgreSQL %s, or build posthouse with its bundle (make build)", want)
	if len(problems) > 0 {
		msg += "; " + strings.Join(problems, "; ")
	}
	return Install{}, fmt.Errorf("%w: %s", ErrNotInstalled, msg)
}

// candidates are the folders that hold both programs, PATH first.
func candidates() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		// Debian's /usr/bin holds wrappers of the client programs only; a link
		// to postgres leads to the folder that has initdb beside it.
		if p, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	for _, pattern := range places {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // only a bad pattern fails
		}
		dirs = append(dirs, matches...)
	}
	var usable []string
	for _, dir := range dirs {
		if filepath.IsAbs(dir) && !slices.Contains(usable, dir) && executable(dir, "postgres") && executable(dir, "initdb") {
			usable = append(usable, dir)
		}
	}
	return usable
}

func executable(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// inspect asks the postgres in bin for its version.
func inspect(ctx context.Context, bin string) (Install, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return Install{}, fmt.Errorf("%s/postgres --version: %w", bin, err)
	}
	// "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "… 19beta1"
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return Install{}, fmt.Errorf("%s/postgres --version says %q", bin, strings.TrimSpace(string(out)))
	}
	digits := fields[2]
	if n := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); n >= 0 {
		digits = digits[:n]
	}
	major, err := strconv.Atoi(digits)
	if err != nil {
		return Install{}, fmt.Errorf("%s/postgres --version says %q", bin, strings.TrimSpace(string(out)))
	}
	return Install{Bin: bin, Version: fields[2], Major: major}, nil
}

// InitdbArgs are initdb's arguments for a cluster of Posthouse: UTF-8, byte
// order for sorting, and a ctype with which lower() and ILIKE know all of
// Unicode (with ctype C they know ASCII only).
func (i Install) InitdbArgs() []string {
	args := []string{
		"--encoding=UTF8", "--lc-collate=C", "--lc-ctype=C.UTF-8", "--lc-messages=C",
		"--data-checksums", "--username=" + Superuser,
	}
	if i.Major >= 17 {
		// The builtin provider has the same tables on every system, so an
		// upgrade of the C library cannot corrupt an index.
		args = append(args, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	}
	return args
}

// Superuser is the role that owns a private cluster.
const Superuser = "posthouse"
