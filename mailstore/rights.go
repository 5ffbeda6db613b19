package mailstore

import "strings"

// Rights are what a user may do with a mailbox (RFC 4314 §2.1).
type Rights uint16

// The standard rights. Their numbers are stored.
const (
	RightLookup        Rights = 1 << iota // l: LIST shows it
	RightRead                             // r: SELECT, STATUS
	RightSeen                             // s: \Seen
	RightWrite                            // w: flags but \Seen and \Deleted
	RightInsert                           // i: APPEND, COPY and MOVE into it
	RightPost                             // p: send mail as its account
	RightCreate                           // k: create mailboxes below it
	RightDeleteMailbox                    // x: DELETE, RENAME
	RightDelete                           // t: \Deleted
	RightExpunge                          // e: EXPUNGE
	RightAdmin                            // a: see and change rights

	// AllRights is the owner's.
	AllRights Rights = 1<<iota - 1

	// OwnerKeeps is what an owner always has, whatever the list says.
	OwnerKeeps = RightLookup | RightAdmin

	// ChangeRights are those of which one at least makes a mailbox READ-WRITE
	// (RFC 4314 §5.2): all flags are shared by all users.
	ChangeRights = RightInsert | RightExpunge | RightSeen | RightWrite | RightDelete
)

// rightLetters are in the order of the bits.
const rightLetters = "lrswipkxtea"

// The virtual rights of RFC 2086, as RFC 4314 §2.1.1 has them.
const (
	virtualCreate = RightCreate | RightDeleteMailbox // c
	virtualDelete = RightDelete | RightExpunge       // d
)

// Has reports whether all of need are among the rights.
func (r Rights) Has(need Rights) bool { return r&need == need }

// Any reports whether one of them is.
func (r Rights) Any(of Rights) bool { return r&of != 0 }

// String gives the letters, without virtual rights.
func (r Rights) String() string {
	var b strings.Builder
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			b.WriteByte(rightLetters[i])
		}
	}
	return b.String()
}

// Wire is String with the virtual rights c and d where one of their members is
// set, as clients of RFC 2086 need it.
func (r Rights) Wire() string {
	text := r.String()
	if r.Any(virtualCreate) {
		text += "c"
	}
	if r.Any(virtualDelete) {
		text += "d"
	}
	return text
}

// ParseRights reads letters; c stands for kx and d for te. ok is false when there
// is another one.
func ParseRights(text string) (r Rights, ok bool) {
	for i := range len(text) {
		switch at := strings.IndexByte(rightLetters, text[i]); {
		case text[i] == 'c':
			r |= virtualCreate
		case text[i] == 'd':
			r |= virtualDelete
		case at < 0:
			return 0, false
		default:
			r |= 1 << at
		}
	}
	return r, true
}

// KeepFlags are the flags that who has these rights may change: \Seen with s,
// \Deleted with t, all others with w.
func (r Rights) KeepFlags() Flags {
	var f Flags
	if r.Has(RightSeen) {
		f |= FlagSeen
	}
	if r.Has(RightDelete) {
		f |= FlagDeleted
	}
	if r.Has(RightWrite) {
		f |= SystemFlags&^(FlagSeen|FlagDeleted) | keywordMask
	}
	return f
}
