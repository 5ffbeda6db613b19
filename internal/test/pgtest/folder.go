package pgtest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthouse/mailstore/localpg"
)

// memory is Linux's folder in memory. Making the thousand small files of a
// cluster takes a tenth of the time there.
const memory = "/dev/shm"

// parents are the folders that may hold clusters; new ones go to the first.
func parents() []string {
	dirs := []string{"/tmp"}
	if tmp := os.TempDir(); len(tmp) < 60 && tmp != "/tmp" {
		dirs = append([]string{tmp}, dirs...)
	}
	const enough = 2 << 30 // octets; a container often has 64 MiB
	var fs syscall.Statfs_t
	if syscall.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) > enough && syscall.Access(memory, 2) == nil {
		dirs = append([]string{memory}, dirs...)
	}
	return dirs
}

// copyTree copies a data folder: files and folders only, which is all that
// initdb makes.
func copyTree(from, to string, account localpg.Account) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			err = os.Mkdir(target, 0o700)
		} else {
			err = copyFile(path, target)
		}
		if err != nil {
			return err
		}
		return os.Lchown(target, account.UID, account.GID)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Close()
}

// sweep removes what is left of processes whose keeper was killed too. It is
// only housekeeping, so nothing here fails a test.
func sweep() {
	var folders []string
	for _, parent := range parents() {
		found, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
		if err == nil { // only a bad pattern fails
			folders = append(folders, found...)
		}
	}
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // perhaps not locked yet
		}
		lock, err := os.Open(filepath.Join(folder, "owner"))
		if err != nil {
			continue // someone else's
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			killPostmaster(filepath.Join(folder, "data"))
			os.RemoveAll(folder)
		}
		lock.Close()
	}
}

// killPostmaster ends the server that works in data, and no other: a stale file
// may name a process that has nothing to do with it.
func killPostmaster(data string) {
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 {
		return
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && cwd == data {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}
