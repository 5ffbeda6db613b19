package mailstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
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

	// Leave adds to a batch, in the form of statements, what InTx does: mail
	// that nobody here gets then shares its transaction, and one round trip,
	// with other deliveries. The statements must do nothing when the body's row
	// is not there: then the delivery was made before, or InTx follows. nil:
	// there is only InTx, and a transaction of its own for each delivery.
	Leave func(b *pgx.Batch, blob BlobRef) error
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

// item is a Delivery on its way through a transaction.
type item struct {
	d       *Delivery
	sum     [32]byte // of the body
	blob    int64
	frame   []byte // a body of at most one frame, compressed; nil when it is empty
	extra   int64  // wireExtra of the body
	attempt int64
	targets []target
	remote  []byte     // Dedup key of what InTx does
	hashes  [][16]byte // threadHashes

	placed  []Placed
	receipt []deliveryRow
	inTx    bool  // InTx is still to be done: not a duplicate
	left    bool  // Leave's statements did it
	again   bool  // a mailbox was not free: to be done in a lane of its own
	err     error // what became of it, once done is closed
	done    chan struct{}
}

// target is a Target on its way.
type target struct {
	Target
	key     []byte // Dedup key, or nil
	email   int64
	fresh   int64 // thread id if it starts a thread
	mailbox MailboxID
	name    string
	thread  int64
	keyword Flags
	skip    bool // a duplicate
}

// size is what the message of this target counts.
func (t *target) size(it *item) int64 { return int64(len(t.Prefix)) + it.d.Body.Size() }

// Deliver stores a message. It returns when the transaction is committed.
// Errors carry their class: ErrOverQuota, ErrNoMailbox (only with NoFallback),
// ErrUnknownOutcome, or a temporary error of the database.
func (s *Store) Deliver(ctx context.Context, d *Delivery) ([]Placed, error) {
	it, err := s.newItem(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := s.commits.submit(ctx, it); err != nil {
		return nil, err
	}
	if d.Dedup {
		d.Receipt = &Receipt{rows: it.receipt}
	}
	return it.placed, nil
}

// newItem does all that needs no database beyond fresh ids: parsing, hashing
// and compressing happen in the caller's goroutine.
func (s *Store) newItem(ctx context.Context, d *Delivery) (*item, error) {
	if len(d.Targets) == 0 && d.InTx == nil {
		return nil, errors.New("mailstore: a delivery to nobody")
	}
	it := &item{d: d, sum: d.Body.Sum(), done: make(chan struct{}), inTx: d.InTx != nil}
	var err error
	if d.Parsed == nil {
		if d.Parsed, err = message.Parse(d.Body, d.Body.Size()); err != nil {
			return nil, fmt.Errorf("parse a message: %w", err)
		}
	}
	it.hashes = threadHashes(d.Parsed)
	if n := frames(d.Body.Size()); n == 1 {
		if it.frame, err = encodeFrame(d.Body, 0); err != nil {
			return nil, err
		}
	}
	if it.extra, err = wireExtra(d.Body); err != nil {
		return nil, fmt.Errorf("read a spooled body: %w", err)
	}
	if it.blob, err = s.newIDs(ctx, 2); err != nil {
		return nil, err
	}
	it.attempt = it.blob + 1
	it.targets = make([]target, len(d.Targets))
	it.placed = make([]Placed, len(d.Targets))
	now := time.Now()
	for i := range it.targets {
		t := &it.targets[i]
		t.Target = d.Targets[i]
		t.Mailbox = cleanText(CanonicalName(t.Mailbox))
		t.UIDL = cleanText(t.UIDL)
		t.Flags &= SystemFlags
		if t.InternalDate.IsZero() {
			t.InternalDate = now
		}
		if t.email, err = s.newIDs(ctx, 2); err != nil {
			return nil, err
		}
		t.fresh = t.email + 1
		if d.Dedup {
			t.key = dedupKey(d, t.Recipient, int64(t.Account))
		}
	}
	if d.Dedup && d.InTx != nil {
		it.remote = dedupKey(d, d.RemoteKey, 0)
	}
	return it, nil
}

// dedupKey is the hash that a delivery row is found by.
func dedupKey(d *Delivery, recipient string, account int64) []byte {
	h := sha256.New()
	sum := d.Sum
	if sum == ([32]byte{}) {
		sum = d.Body.Sum()
	}
	h.Write(sum[:])
	var n [8]byte
	for _, s := range []string{d.ReversePath, recipient} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	binary.BigEndian.PutUint64(n[:], uint64(account))
	h.Write(n[:])
	return h.Sum(nil)
}

// alone reports whether the item needs a transaction of its own.
func (it *item) alone() bool {
	if it.d.InTx != nil && !it.leaves() || frames(it.d.Body.Size()) > 1 || it.extra > 0 {
		return true
	}
	for i := range it.targets {
		if len(it.targets[i].Keywords) > 0 {
			return true
		}
	}
	return false
}
