package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Account is the system user that runs PostgreSQL (and, for a site started as
// root, the server after it has bound its ports).
type Account struct {
	Name     string
	UID, GID int
}

// accounts are tried in this order when started as root: PostgreSQL refuses to
// run with its rights, and so should a mail server.
var accounts = []string{"posthouse", "postgres", "nobody"}

// Unprivileged is the account to run as. For a process that is not root that is
// its own, and change is false: there is nothing to change.
func Unprivileged() (account Account, change bool, err error) {
	if uid := os.Geteuid(); uid != 0 {
		return accountOf(uid, os.Getegid()), false, nil
	}
	for _, name := range accounts {
		u, err := user.Lookup(name)
		if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
			continue
		}
		if err != nil {
			return Account{}, false, fmt.Errorf("look up user %s: %w", name, err)
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return Account{}, false, fmt.Errorf("look up user %s: %w", name, err)
		}
		if uid != 0 {
			return Account{Name: name, UID: uid, GID: gid}, true, nil
		}
	}
	return Account{}, false, fmt.Errorf("%w: started as root, and none of the users %s exists: create one with `useradd --system posthouse`",
		ErrNoAccount, strings.Join(accounts, ", "))
}

// accountOf names a user; without an entry the number is the name.
func accountOf(uid, gid int) Account {
	a := Account{Name: strconv.Itoa(uid), UID: uid, GID: gid}
	if u, err := user.LookupId(a.Name); err == nil {
		a.Name = u.Username
	}
	return a
}

// Credential makes a child run as the account; nil when it does already.
func (a Account) Credential() *syscall.Credential {
	if os.Geteuid() != 0 || a.UID == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID)}
}

// own gives a file to the account, which only root can and must.
func (a Account) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, a.UID, a.GID)
}

// ownerOf is the owner of a cluster that exists, else the account given.
func ownerOf(data string, account Account) (Account, error) {
	info, err := os.Stat(data)
	if errors.Is(err, fs.ErrNotExist) {
		return account, nil
	}
	if err != nil {
		return Account{}, fmt.Errorf("data folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == account.UID {
		return account, nil
	}
	owner := accountOf(int(stat.Uid), int(stat.Gid))
	if os.Geteuid() != 0 {
		return Account{}, fmt.Errorf("%s belongs to user %s: run posthouse as that user", data, owner.Name)
	}
	if owner.UID == 0 {
		return Account{}, fmt.Errorf("%s belongs to root, who may not run PostgreSQL: `chown -R %s %s`", data, account.Name, data)
	}
	return owner, nil
}

// reachable tells whether the account can enter path. The kernel is asked, by a
// child with the account's rights: modes alone do not know of access lists.
func reachable(path string, account Account) error {
	if account.Credential() == nil {
		return nil // our own rights; what fails will say so
	}
	var steps []string
	for p := path; ; p = filepath.Dir(p) {
		steps = append(steps, p)
		if p == filepath.Dir(p) {
			break
		}
	}
	slices.Reverse(steps)
	cmd := exec.Command("/bin/sh", append([]string{"-c", `for p do [ -x "$p" ] || { printf %s "$p"; exit 3; }; done`, "sh"}, steps...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.Credential()}
	out, err := cmd.Output()
	if err == nil {
		return nil
	}
	if len(out) == 0 {
		return fmt.Errorf("look at %s as user %s: %w", path, account.Name, err)
	}
	return &PathError{Path: path, Component: string(out), User: account.Name}
}
