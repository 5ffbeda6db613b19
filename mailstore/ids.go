package mailstore

// AccountID is the key of an account row.
type AccountID int64

// MailboxID is the key of a mailbox row. It is never reused.
type MailboxID int64

// UID is a unique identifier of RFC 3501 §2.3.1.1: rising within a mailbox and
// never reused under one UIDVALIDITY.
type UID uint32

// ModSeq is a mod-sequence of RFC 7162 §3: it fits 63 bits.
type ModSeq uint64

// Flags are the flags and keywords of one message. Bits 0 to 4 are the system
// flags; bit 8+i is the keyword with ordinal i of its mailbox.
type Flags uint64

// The system flags of RFC 3501 §2.3.2. \Recent is not stored: it follows from
// the UID and [Store.ClaimRecent].
const (
	FlagSeen Flags = 1 << iota
	FlagAnswered
	FlagFlagged
	FlagDeleted
	FlagDraft

	// SystemFlags is the mask of all system flags.
	SystemFlags Flags = 1<<iota - 1
)

// MaxKeywords is how many keywords a mailbox can have at a time.
const MaxKeywords = 55

const (
	// AllFlags is every flag and keyword.
	AllFlags = SystemFlags | keywordMask

	keywordShift       = 8
	keywordMask  Flags = (1<<MaxKeywords - 1) << keywordShift
	flagGone     Flags = 1 << 63 // in views only: expunged, not yet announced
)

// KeywordFlag is the bit of the keyword with the given ordinal, that is its
// index in Mailbox.Keywords or View.Keywords.
func KeywordFlag(ordinal int) Flags { return 1 << (keywordShift + ordinal) }

// Keywords gives the keywords set in f, named after the mailbox's table.
func (f Flags) Keywords(table []string) []string {
	if f&keywordMask == 0 {
		return nil
	}
	var names []string
	for i, name := range table {
		if f&KeywordFlag(i) != 0 && name != "" {
			names = append(names, name)
		}
	}
	return names
}

// SpecialUse is a special-use attribute of RFC 6154 §2 (or RFC 8457).
type SpecialUse int16

// The special uses. Their numbers are stored.
const (
	None SpecialUse = iota
	Sent
	Drafts
	Trash
	Junk
	Archive
	All
	Flagged
	Important
)

var specialUses = [...]string{"", `\Sent`, `\Drafts`, `\Trash`, `\Junk`, `\Archive`, `\All`, `\Flagged`, `\Important`}

// String is the attribute as LIST shows it, empty for None.
func (u SpecialUse) String() string {
	if u < 0 || int(u) >= len(specialUses) {
		return ""
	}
	return specialUses[u]
}
