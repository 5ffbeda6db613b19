//go:build unix && !linux

package localpg

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes: there is no parent-death signal here; a PostgreSQL that
// outlives a killed server is ended by the next start.
func childAttributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Credential: credential}
}

// processesIn is the postmaster that the pid file names, if it lives. Only its
// own user or root can find it: a number may have gone to another program.
func processesIn(data string, account Account) []int {
	f, err := readPIDFile(data)
	if err != nil {
		return nil
	}
	out, err := exec.Command("ps", "-o", "uid=,command=", "-p", strconv.Itoa(f.pid)).Output()
	if err != nil {
		return nil // no such process
	}
	uid, command, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if uid != strconv.Itoa(account.UID) || !strings.Contains(command, "postgres") || !strings.Contains(command, data) {
		return nil
	}
	return []int{f.pid}
}

// Memory is a guess for systems that are laptops; in octets.
func Memory() int64 { return 4 << 30 }

// syncTree writes every file of a new folder to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		defer f.Close()
		return f.Sync()
	})
}
