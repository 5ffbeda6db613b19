package localpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSocket is the longest path of a socket: sun_path less its NUL, of the
// system with the shortest (108 octets on Linux, 104 on BSD and macOS).
const maxSocket = 103

// socketName is PostgreSQL's, for the port that no TCP listener has.
const socketName = ".s.PGSQL.5432"

// socketFolder makes the 0700 folder for the socket: DATA/run, or when that is
// too long for an address (or holds a comma, which separates addresses) one in
// the system's folder for such things, named after DATA.
func socketFolder(home string, account Account) (string, error) {
	dir := filepath.Join(home, "run")
	if !fits(dir) {
		sum := sha256.Sum256([]byte(home))
		name := "posthouse-" + hex.EncodeToString(sum[:8])
		dir = filepath.Join("/tmp", name)
		for _, parent := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run"} {
			candidate := filepath.Join(parent, name)
			if filepath.IsAbs(parent) && fits(candidate) && syscall.Access(parent, 2) == nil &&
				reachable(parent, account) == nil {
				dir = candidate
				break
			}
		}
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := account.own(dir); err != nil {
			return "", fmt.Errorf("socket folder: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("socket folder: %w", err)
	}
	// In /tmp anybody could have made it, to listen in our place.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("socket folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != account.UID {
		return "", fmt.Errorf("socket folder: %s is not a folder of user %s: remove it", dir, account.Name)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return "", fmt.Errorf("socket folder: %w", err)
		}
	}
	return dir, nil
}

// removeSocketFolder clears up outside the data folder. It is empty once
// PostgreSQL has stopped; a server that gave up root may not remove it from
// /run, where it does no harm.
func (c *Cluster) removeSocketFolder() {
	if filepath.Dir(c.socket) == c.home {
		return
	}
	if err := os.Remove(c.socket); err != nil {
		c.log.Debug("leave the socket's folder", "event", "postgres_stop", "error", err)
	}
}

func fits(dir string) bool {
	return len(filepath.Join(dir, socketName)) <= maxSocket && !strings.Contains(dir, ",")
}
