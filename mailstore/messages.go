package mailstore

import (
	"context"
	"io"
	"time"
)

// Fields says what Messages reads beside ids, size and dates.
type Fields uint32

// The fields of a message.
const (
	FieldEnvelope Fields = 1 << iota
	FieldBodyStructure
	FieldHeaderSubset
	FieldParts
	FieldPreview
	FieldPrefix // implied by FieldHeaderSubset and FieldParts, and needed by OpenBody
	FieldUIDL
	FieldSort // sort keys and sent date
)

// Message is one message as it was stored; nothing of it ever changes.
type Message struct {
	UID               UID
	BlobID            int64
	EmailID, ThreadID int64 // RFC 8474
	Prefix            []byte
	Size              int64 // octets, prefix included
	InternalDate      time.Time
	SavedDate         time.Time // RFC 8514
	Envelope          []byte    // see message.Parsed
	BodyStructure     []byte
	HeaderSubset      []byte
	Parts             []byte // offsets count from after the prefix
	Preview           string
	UIDL              string
	SentDate          time.Time // zero: none

	SortSubject, SortFrom, SortTo string // RFC 5256
	DisplayFrom, DisplayTo        string // RFC 5957
}

// Messages yields the messages of the set that are there, by rising UID, also
// those expunged but not swept. It reads pages of 1,000 and holds neither a
// transaction nor a connection while yield runs. The *Message and its bytes are
// valid until yield returns. An error of yield ends it and is returned as is.
func (s *Store) Messages(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, fields Fields, yield func(*Message) error) error {
	return ErrClosed
}

// ModSeqs gives the mod-sequences of the messages of the set that are there
// (RFC 7162 §3.1.4). since: only those above it.
func (s *Store) ModSeqs(ctx context.Context, acct AccountID, mbox MailboxID, uids UIDSet, since ModSeq) (map[UID]ModSeq, error) {
	return nil, ErrClosed
}

// BodyReader reads the octets of one message: its prefix, then its body. It
// fetches only the frames needed, holds one of them, and no connection between
// calls. It is for one goroutine.
type BodyReader struct {
	ctx  context.Context
	s    *Store
	blob int64
	size int64
}

// OpenBody makes a reader of a message read with FieldPrefix. Nothing is
// fetched before the first read, so there is nothing to close.
func (s *Store) OpenBody(ctx context.Context, m *Message) *BodyReader {
	return &BodyReader{ctx: ctx, s: s, blob: m.BlobID, size: m.Size}
}

// Size is the number of octets, prefix included.
func (b *BodyReader) Size() int64 { return b.size }

// ReadAt implements io.ReaderAt.
func (b *BodyReader) ReadAt(p []byte, off int64) (int, error) { return 0, ErrClosed }

// WriteRange writes n octets from off to w, or up to the end.
func (b *BodyReader) WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	return 0, ErrClosed
}
