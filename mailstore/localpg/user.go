package localpg

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
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
// its own, and ok is false: there is nothing to change.
func Unprivileged() (account Account, ok bool, err error) {
	if os.Geteuid() != 0 {
		return Account{UID: os.Geteuid(), GID: os.Getegid()}, false, nil
	}
	for _, name := range accounts {
		u, err := user.Lookup(name)
		if unknown := (user.UnknownUserError)(""); errors.As(err, &unknown) {
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
		if uid == 0 {
			continue
		}
		return Account{Name: name, UID: uid, GID: gid}, true, nil
	}
	return Account{}, false, fmt.Errorf("started as root, and there is no user %v to run PostgreSQL as: create one with `useradd --system posthouse`", accounts)
}

// Credential makes a child run as the account; nil when it does already.
func (a Account) Credential() *syscall.Credential {
	if os.Geteuid() != 0 || a.UID == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID)}
}
