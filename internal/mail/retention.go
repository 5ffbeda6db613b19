package mail

import (
	"fmt"
	"strconv"
	"strings"
)

// RetentionMode says what a deletion in POP3 does to a message.
type RetentionMode uint8

const (
	RetainDelete  RetentionMode = iota // DELE and QUIT remove the message for every protocol
	RetainKeep                         // DELE and QUIT hide it from POP3 alone
	RetainArchive                      // DELE and QUIT move it to the Archive mailbox
	RetainExpire                       // as RetainDelete, and Days after its first RETR it is removed
)

// MaxRetentionDays bounds RetainExpire.
const MaxRetentionDays = 36500

// Retention is an account's POP3 policy. The zero value removes what the
// client deletes, and nothing else. Days counts for RetainExpire only, from 1
// to MaxRetentionDays.
type Retention struct {
	Mode RetentionMode
	Days int
}

var retentionNames = [...]string{"delete", "keep", "archive", "expire"}

// ParseRetention reads the form that String writes: "delete", "keep",
// "archive" or "expire N" with N in days.
func ParseRetention(s string) (Retention, error) {
	name, days, _ := strings.Cut(strings.TrimSpace(s), " ")
	for mode, n := range retentionNames {
		if !strings.EqualFold(n, name) {
			continue
		}
		r := Retention{Mode: RetentionMode(mode)}
		if r.Mode != RetainExpire && days == "" {
			return r, nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(days))
		if r.Mode == RetainExpire && err == nil && n >= 1 && n <= MaxRetentionDays {
			r.Days = n
			return r, nil
		}
	}
	return Retention{}, fmt.Errorf("retention %q: want delete, keep, archive or expire DAYS", s)
}

func (r Retention) String() string {
	if r.Mode == RetainExpire {
		return "expire " + strconv.Itoa(r.Days)
	}
	return r.Mode.String()
}

// String is the word that stands in the database.
func (m RetentionMode) String() string { return retentionNames[m] }
