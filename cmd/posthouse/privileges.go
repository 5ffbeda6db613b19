package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"posthouse/mailstore/localpg"
)

// makeData makes the data folder. Started as root it belongs to the account
// that the server will run as.
func makeData(dir string, owner localpg.Account) error {
	// Clients read DATA/ca/ca.pem; what is secret has modes of its own.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(exitConfig, "make the data folder: %w; name another with --data", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fail(exitConfig, "data folder: %w", err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
		return nil // ours already, or reach will say that it is not
	}
	if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
		return fail(exitConfig, "give the data folder to user %s: %w", owner.Name, err)
	}
	return nil
}

// dropRoot makes the whole process run as the account, for good.
func dropRoot(a localpg.Account) error {
	// Groups first: after Setuid there is no right left to change them.
	if err := syscall.Setgroups([]int{a.GID}); err != nil {
		return fmt.Errorf("become user %s: set groups: %w", a.Name, err)
	}
	if err := syscall.Setgid(a.GID); err != nil {
		return fmt.Errorf("become user %s: set group: %w", a.Name, err)
	}
	if err := syscall.Setuid(a.UID); err != nil {
		return fmt.Errorf("become user %s: %w", a.Name, err)
	}
	return nil
}

// reach checks that this process can use the data folder, and names the first
// folder on the way that is closed to it.
func reach(dir string) error {
	who := fmt.Sprintf("user id %d", os.Geteuid())
	for i := range len(dir) {
		if dir[i] != filepath.Separator && i != len(dir)-1 {
			continue
		}
		step := dir[:i+1]
		err := unix.Access(step, unix.X_OK)
		if errors.Is(err, unix.EACCES) {
			return fail(exitConfig, "%s cannot enter %s, on the way to the data folder %s: open it with chmod a+x, or name another folder with --data", who, strings.TrimSuffix(step, "/"), dir)
		}
		if err != nil {
			return fail(exitConfig, "data folder %s: %s: %w", dir, step, err)
		}
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fail(exitConfig, "%s cannot write to the data folder %s (%v): give it to that user, or name another with --data", who, dir, err)
	}
	return nil
}
