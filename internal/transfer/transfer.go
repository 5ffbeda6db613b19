// Package transfer moves mail between this server and other ways of keeping it:
// it imports Maildirs, mbox files and the mailboxes of IMAP servers, and exports
// accounts as Maildir or mbox.
//
// A Source lists its folders and reads their messages into a Sink. An import
// can be interrupted at any point and repeated: each message has a key at its
// source, which the store notes in the transaction that stores the message.
// What has been imported once is not imported again, also after it was deleted
// here. Memory is bounded by one batch (see batchMessages, batchOctets) and the
// list of the message names of one folder.
//
// Messages are stored as they are, broken ones too. Files in which lines end in
// LF get CRLF, without which IMAP cannot serve them.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"posthouse/internal/spool"
	"posthouse/mailstore"
)

// Folder is a mailbox at the source.
type Folder struct {
	ID         string   // the source's own name for it
	Path       []string // its name, by levels, decoded
	Use        mailstore.SpecialUse
	Subscribed bool
}

// Message is one message on its way in. The sink closes Body.
type Message struct {
	Key      mailstore.ImportKey
	Flags    mailstore.Flags
	Keywords []string
	Date     time.Time // internal date; zero: now
	UIDL     string    // by which POP3 clients know it
	Body     *spool.Spool
}

// Source is where mail comes from.
type Source interface {
	// Folders lists what can be read.
	Folders(ctx context.Context) ([]Folder, error)
	// Read gives the messages of a folder to the sink, in their order there.
	Read(ctx context.Context, f Folder, sink *Sink) error
	Close() error
}

// key names a message at its source.
func key(parts ...string) (k mailstore.ImportKey) {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	copy(k[:], h.Sum(nil))
	return k
}
