package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"posthouse/internal/config"
)

// instructions gives the lines of the Containerfile that begin with a word,
// without it; those that go on in the next line are joined.
func instructions(text, word string) (list []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), word+" "); ok {
			list = append(list, rest)
		}
	}
	return list
}

// TestContainerfile holds the image to the program: the places that it keeps, the
// ports that it shows, the user that it makes, and what it starts.
func TestContainerfile(t *testing.T) {
	const packaging = "../../packaging"
	raw, err := os.ReadFile(filepath.Join(packaging, "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	text, site := string(raw), config.Site()
	array := func(word string) (list []string) {
		all := instructions(text, word)
		if len(all) != 1 || json.Unmarshal([]byte(all[0]), &list) != nil {
			t.Fatalf("%s: %q", word, all)
		}
		return list
	}
	if got, want := array("VOLUME"), []string{filepath.Dir(config.File), site.Data}; !slices.Equal(got, want) {
		t.Errorf("it keeps %q, not %q", got, want)
	}
	if got := array("ENTRYPOINT"); !slices.Equal(got, []string{installed}) {
		t.Errorf("it starts %q, not %s", got, installed)
	}
	if _, err := newParser(new(cli), io.Discard, io.Discard, func(int) {}).Parse(array("CMD")); err != nil {
		t.Error(err)
	}
	var ports []string
	for name, at := range site.Listen {
		if _, port, err := net.SplitHostPort(at); err == nil {
			ports = append(ports, port)
		} else if at != "off" && name != config.LMTP {
			t.Errorf("%s listens at %q", name, at)
		}
	}
	slices.Sort(ports)
	exposed := strings.Fields(strings.Join(instructions(text, "EXPOSE"), " "))
	slices.Sort(exposed)
	if !slices.Equal(ports, exposed) {
		t.Errorf("it shows the ports %q, the server listens on %q", exposed, ports)
	}
	copies := instructions(text, "COPY")
	if !slices.Contains(copies, "--from=build /src/bin/posthouse "+installed) {
		t.Errorf("it copies %q", copies)
	}
	runs := strings.Join(instructions(text, "RUN"), "\n")
	for _, part := range []string{"make build PG=bundle", "useradd --system", "--home-dir " + site.Data, " posthouse ", "-o posthouse -g posthouse " + site.Data} {
		if !strings.Contains(runs, part) {
			t.Errorf("it does not run %q", part)
		}
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil || !regexp.MustCompile(`(?m)^build: .*\n(.*\n)*.*-o bin/posthouse ./cmd/posthouse$`).Match(makefile) {
		t.Errorf("make build does not leave bin/posthouse: %v", err)
	}
}

// TestPackage: what the Debian package is made of is there, but for the program,
// which is built.
func TestPackage(t *testing.T) {
	text, err := os.ReadFile("../../packaging/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile(`(?m)^\s+(?:- src|postinstall|preremove|postremove): (\S+)$`).FindAllStringSubmatch(string(text), -1)
	for _, f := range files {
		if found, err := filepath.Glob(filepath.Join("../..", f[1])); err != nil || len(found) == 0 && f[1] != "bin/posthouse" {
			t.Errorf("there is no %s", f[1])
		}
	}
	if len(files) < 8 || !strings.Contains(string(text), "dst: "+installed+"\n") || !strings.Contains(string(text), "dst: "+packagedUnit+"\n") {
		t.Errorf("the package has %q", files)
	}
}
