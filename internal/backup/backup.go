// Package backup writes a whole site into one file, from one snapshot of the
// database, and brings it back: as a site of its own, or one account or message
// of it into a site that lives.
//
// # The file
//
// A file is the line Magic and then frames. A frame is a head of 14 octets, in
// network order, and its payload:
//
//	 0  kind     M manifest, T table begins, D rows, E table ends, S sequences, Z end
//	 1  codec    0 as is, 1 one zstd frame
//	 2  raw      uint32, octets of the payload when unpacked
//	 6  stored   uint32, octets of the payload here
//	10  crc      uint32, CRC-32C of the ten octets before and the stored payload
//
// M, T, E and S hold JSON (Manifest, Table, TableEnd, []Sequence). The D frames
// between a T and its E, unpacked and put together, are what PostgreSQL's COPY
// … WITH (FORMAT binary) gave for the table; E holds their count of rows and
// SHA-256. Z holds the SHA-256 of all octets of the file before it, and nothing
// follows. So a file that was cut is known by its missing Z, and one that was
// changed by its sums.
//
// An encrypted file is this, inside the age format (age-encryption.org/v1) with
// a passphrase: `age -d` opens it too.
package backup

import (
	"errors"
	"fmt"
	"time"
)

// Magic begins every file that is not encrypted.
const Magic = "POSTHOUSE-BACKUP-1\n"

// Ahead is how far everything that is given out in rising order, UIDs,
// mod-sequences, UIDVALIDITY and ids, goes on behind a restore: what was given
// out between the backup and the loss never comes again for another thing.
const Ahead = 1 << 20

var (
	// ErrDamaged says that a file is not what was written: cut, changed, or
	// opened with the wrong passphrase.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrNotBackup says that a file is none of ours.
	ErrNotBackup = errors.New("not a backup of posthouse")
	// ErrPassphrase says that the passphrase is missing or wrong.
	ErrPassphrase = errors.New("the passphrase does not open the backup")
	// ErrNotEmpty says that a whole site is to be restored over another.
	ErrNotEmpty = errors.New("there is a site already")
	// ErrNewer says that a newer release wrote the backup.
	ErrNewer = errors.New("the backup is of a newer posthouse")
	// ErrNotFound says that the account or message is not in the backup.
	ErrNotFound = errors.New("not in the backup")
	// ErrPartial says that a backup of some accounts was to be a site.
	ErrPartial = errors.New("the backup holds accounts, not a whole site")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// Manifest is the first frame: what the file is of.
type Manifest struct {
	Created     time.Time `json:"created"`
	Version     string    `json:"version"` // of the program
	Hostname    string    `json:"hostname,omitempty"`
	Schema      int64     `json:"schema"`               // number of the last migration
	Postgres    string    `json:"postgres"`             // its version
	Fingerprint []byte    `json:"fingerprint"`          // of the secret key; names the site
	SecretKey   []byte    `json:"secret_key,omitempty"` // what secrets in the tables are sealed under
	Partial     bool      `json:"partial"`              // only Accounts, not the site
	Events      bool      `json:"events"`
	Accounts    []Account `json:"accounts"`
}

// Account is one account in a backup.
type Account struct {
	ID       int64  `json:"id"`
	Address  string `json:"address"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

// Table begins a table.
type Table struct {
	Name    string   `json:"table"`
	Columns []string `json:"columns"`
}

// TableEnd ends it.
type TableEnd struct {
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"` // of rows, unpacked
	SHA256 []byte `json:"sha256"`
}

// Sequence is how far a sequence has come.
type Sequence struct {
	Name      string `json:"name"`
	Last      int64  `json:"last"`
	Increment int64  `json:"increment"`
}

// Figures say how much was done.
type Figures struct {
	Table    string        `json:"-"` // at work on
	Accounts int           `json:"accounts"`
	Messages int64         `json:"messages"`
	Known    int64         `json:"already_there,omitempty"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"` // of rows, unpacked; of messages where those are restored alone
	File     int64         `json:"file_bytes,omitempty"`
	Held     int64         `json:"held,omitempty"` // recipients in the queue that wait for `queue release`
	Took     time.Duration `json:"-"`
}
