package localpg

import (
	"errors"
	"fmt"
)

// ErrNoAccount says that root has no other user to run PostgreSQL as.
var ErrNoAccount = errors.New("no user to run PostgreSQL as")

// InUseError says that another process runs the cluster of a data folder.
type InUseError struct {
	Data string
	PID  int    // 0 when it did not say
	URL  string // of the running cluster
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("data folder %s is in use by another posthouse", e.Data)
	}
	return fmt.Sprintf("data folder %s is in use by posthouse with pid %d", e.Data, e.PID)
}

// PathError says that the account which runs PostgreSQL cannot pass a folder on
// the way to a path: a fault of configuration.
type PathError struct {
	Path      string
	Component string // the folder that is closed
	User      string
}

func (e *PathError) Error() string {
	return fmt.Sprintf("user %s, who runs PostgreSQL, cannot enter %s (on the way to %s): choose another folder with --data, or open it with `chmod o+x %s`",
		e.User, e.Component, e.Path, e.Component)
}

// VersionError says that the data was written by another major version of
// PostgreSQL than the one that this binary runs.
type VersionError struct {
	Data     string
	Have     int // major version of the data
	Programs Install
}

func (e *VersionError) Error() string {
	if e.Programs.Major < e.Have {
		return fmt.Sprintf("%s was written by PostgreSQL %d, and this posthouse runs %s, which is older: run the posthouse that wrote it, or install PostgreSQL %[2]d",
			e.Data, e.Have, e.Programs.Version)
	}
	return fmt.Sprintf("%s was written by PostgreSQL %d, and this posthouse runs %s: run `posthouse migrate postgres` to move the data over",
		e.Data, e.Have, e.Programs.Version)
}
