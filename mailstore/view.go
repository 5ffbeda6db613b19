package mailstore

import "context"

// View is the state of a mailbox as one session sees it: which UID stands at
// which message sequence number, with which flags. It is immutable and shared
// between sessions.
type View struct {
	account  AccountID
	mailbox  MailboxID
	modseq   ModSeq
	uidnext  UID
	keywords []string
}

// Len is the number of messages, those marked gone included.
func (v *View) Len() int { return 0 }

// UID gives the UID at a sequence number, 1 to Len.
func (v *View) UID(seq int) UID { return 0 }

// Seq gives the sequence number of a UID.
func (v *View) Seq(uid UID) (int, bool) { return 0, false }

// SeqFrom gives the first sequence number whose UID is uid or higher; Len+1 when there is none.
func (v *View) SeqFrom(uid UID) int { return 1 }

// Flags gives the flags at a sequence number.
func (v *View) Flags(seq int) Flags { return 0 }

// Gone reports whether the message at a sequence number is expunged, which the
// session was not told yet.
func (v *View) Gone(seq int) bool { return false }

// Each yields the messages from one sequence number to another, both included.
func (v *View) Each(lo, hi int, yield func(seq int, uid UID, flags Flags) bool) {}

// UIDs gives the UIDs from one sequence number to another, both included.
func (v *View) UIDs(lo, hi int) UIDSet { return nil }

// ModSeq is the HIGHESTMODSEQ up to which the view is complete.
func (v *View) ModSeq() ModSeq { return v.modseq }

// UIDNext is above every UID in the view.
func (v *View) UIDNext() UID { return v.uidnext }

// Keywords is the keyword table that Flags refer to. Not to be changed.
func (v *View) Keywords() []string { return v.keywords }

// Mailbox is the mailbox that this is a view of.
func (v *View) Mailbox() MailboxID { return v.mailbox }

// Account is the owner of the mailbox.
func (v *View) Account() AccountID { return v.account }

// Changes is what happened between two views.
type Changes struct {
	Expunged        UIDSet // were in the old view and are not in the new one
	Added           UIDSet // are in the new view only
	Flagged         UIDSet // in both; their flags were stored, possibly to what they were
	KeywordsChanged bool   // the keyword table is another
}

// IsEmpty reports whether nothing happened.
func (c *Changes) IsEmpty() bool {
	return len(c.Expunged) == 0 && len(c.Added) == 0 && len(c.Flagged) == 0 && !c.KeywordsChanged
}

// Load gives the newest view of a mailbox and its row. ErrNoMailbox.
func (s *Store) Load(ctx context.Context, acct AccountID, mbox MailboxID) (*View, Mailbox, error) {
	return nil, Mailbox{}, ErrClosed
}

// Advance gives the newest view and what changed since v, from the journal.
// With keepExpunged (commands during which EXPUNGE must not be sent, RFC 3501
// §7.4.1) messages that went stay in the view, marked gone; a later Advance
// without it reports them. ErrNoMailbox when the mailbox was deleted.
func (s *Store) Advance(ctx context.Context, v *View, keepExpunged bool) (*View, Changes, error) {
	return nil, Changes{}, ErrClosed
}
