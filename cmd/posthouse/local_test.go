package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseLogin(t *testing.T) {
	for arg, want := range map[string]login{
		"a@b.test:secret":       {"a@b.test", "secret"},
		"a@b.test:s:e@c r,e\"t": {"a@b.test", "s:e@c r,e\"t"},
		"ü@bücher.test:x":       {"ü@bücher.test", "x"},
		"a@b.test:":             {},
		"a@b.test":              {},
		":x":                    {},
		"a:x@b.test":            {},
		"@b.test:x":             {},
	} {
		got, err := parseLogin(arg)
		if (err != nil) != (want == login{}) || err == nil && got != want {
			t.Errorf("%q: %+v, %v", arg, got, err)
		}
		if err != nil && exitCode(err) != exitUsage {
			t.Errorf("%q: exit code %d", arg, exitCode(err))
		}
	}
}

func TestPasswordsStayAndSpread(t *testing.T) {
	dir := t.TempDir()
	first := make(passwords)
	alice, made := first.of("alice@localhost")
	if again, anew := first.of("alice@localhost"); !made || anew || again != alice || len(alice) != 16 {
		t.Errorf("%q, then %q", alice, again)
	}
	if err := os.WriteFile(filepath.Join(dir, passwordFile), []byte(`{"alice@localhost":"x","bob@localhost":"y"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	own := passwords{"alice@localhost": "mine"}
	own.neighbour("postgres:///postgres?host=" + dir + "/run&user=posthouse")
	if own["alice@localhost"] != "mine" || own["bob@localhost"] != "y" {
		t.Errorf("%v", own)
	}
	own.neighbour("postgres://db.example.org/posthouse") // not a cluster beside us
	if len(own) != 2 {
		t.Errorf("%v", own)
	}
}

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1000": 1000, "5k": 5 << 10, "500M": 500 << 20, "2GiB": 2 << 30, "1tb": 1 << 40} {
		var f sizeFlag
		if err := f.UnmarshalText([]byte(text)); err != nil || f.limit == nil || *f.limit != want {
			t.Errorf("%q: %v, %v", text, f.limit, err)
		}
	}
	for _, text := range []string{"", "M", "-1", "1X", "9999999999G", "1 2"} {
		var f sizeFlag
		if err := f.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %d", text, *f.limit)
		}
	}
	var f sizeFlag
	if err := f.UnmarshalText([]byte("none")); err != nil || f.limit != nil {
		t.Error("none:", f.limit, err)
	}
}
