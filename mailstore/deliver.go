package mailstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"posthouse/internal/message"
	"posthouse/internal/spool"
)

// Delivery is one message for any number of mailboxes. All of it is committed
// in one transaction, or nothing.
type Delivery struct {
	Body    *spool.Spool    // read, never closed, by Deliver
	Parsed  *message.Parsed // of Body; nil: Deliver parses
	Targets []Target

	// Dedup asks for TRUST's promise: a message whose reply was lost and that
	// the client sends again is folded into the first copy. Deliver then sets
	// Receipt, and the caller passes it to Answered or Abandon.
	Dedup       bool
	Sum         [32]byte // SHA-256 of the received octets; zero: Body.Sum()
	ReversePath string
	Receipt     *Receipt // set by Deliver when Dedup is asked for

	// InTx runs inside the delivery's transaction, after the body is stored:
	// the queue adds what leaves. It may run again when the transaction is
	// retried. RemoteKey names for Dedup the recipients it acts for.
	InTx      func(ctx context.Context, tx pgx.Tx, blob BlobRef) error
	RemoteKey string
}

// BlobRef is a stored body. What refers to it beyond a message row must stand
// in queue_message, see also [Store.HoldBlob] and [ReleaseBlobs].
type BlobRef struct {
	ID   int64
	Size int64 // octets
}

// Target is one mailbox that a Delivery goes to.
type Target struct {
	Account      AccountID
	Mailbox      string // one that is not there: INBOX takes its place
	NoFallback   bool   // APPEND: ErrNoMailbox instead
	Recipient    string // the recipient address, for Dedup
	Flags        Flags  // system flags
	Keywords     []string
	Prefix       []byte    // served before the body: Return-Path and such, with CRLF
	InternalDate time.Time // zero: now
	UIDL         string    // imported; empty: UIDVALIDITY.UID
}

// Placed says where a Target went, in the order of Delivery.Targets.
type Placed struct {
	Account     AccountID
	Mailbox     MailboxID
	Name        string // of the mailbox
	UIDValidity uint32
	UID         UID
	EmailID     int64
	ModSeq      ModSeq
	Duplicate   bool // folded into an earlier copy, whose ids these are
}

// Receipt stands for the delivery rows of one keyed Delivery.
type Receipt struct {
	attempt int64
	keys    [][]byte
}

// Deliver stores a message. It returns when the transaction is committed.
// Errors carry their class: ErrOverQuota, ErrNoMailbox (only with NoFallback),
// ErrUnknownOutcome, or a temporary error of the database.
func (s *Store) Deliver(ctx context.Context, d *Delivery) ([]Placed, error) { return nil, ErrClosed }

// Answered says that the client has heard the replies of these deliveries: it
// sent another command. It returns at once; nil receipts are ignored.
func (s *Store) Answered(receipts ...*Receipt) {}

// Abandon says that the session ended before the client's next command: if it
// sends the same message again within an hour, that is folded into this one.
func (s *Store) Abandon(receipts ...*Receipt) {}

// HoldBlob makes sure inside tx that a stored body stays until tx has added a
// reference of its own (a row in queue_message). ErrGone.
func (s *Store) HoldBlob(ctx context.Context, tx pgx.Tx, blob int64) error { return ErrClosed }

// ReleaseBlobs says inside tx that references to bodies were removed: those
// that nothing refers to any more are collected.
func ReleaseBlobs(ctx context.Context, tx pgx.Tx, blobs ...int64) error { return ErrClosed }
