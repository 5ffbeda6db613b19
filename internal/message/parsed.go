package message

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// Bounds of what is read out of one message.
const (
	MaxDepth = 100  // levels of nesting in the structure
	MaxParts = 1000 // parts in the structure, the messages in parts counted, too
)

// Parsed is what one message says about itself, ready to be stored.
type Parsed struct {
	Size          int64
	Envelope      []byte // IMAP text of ENVELOPE, with its parentheses (RFC 3501 §7.4.2); 8-bit strings are literals
	BodyStructure []byte // IMAP text of BODYSTRUCTURE with extension data
	Parts         []byte // packed, see DecodeParts
	HeaderSubset  []byte // verbatim lines of the fields that clients ask for, see SubsetCovers; empty: covers nothing
	Preview       string // RFC 8970: at most 200 characters and 256 octets

	SortSubject, SortFrom, SortTo, SortCc string // RFC 5256 keys, folded
	DisplayFrom, DisplayTo                string // RFC 5957 keys, folded
	IsReply                               bool   // the subject is that of a reply or a forwarded message (RFC 5256 §2.1)

	SentDate   time.Time // the Date field in its own zone, zero if it is absent or unusable
	HeaderText string    // folded From, To, Cc, Bcc and Subject, see HeaderTextField

	MessageID  string   // with its angle brackets, or empty
	ThreadKeys []byte   // see ThreadKeys
	References []string // ids of References, else the first of In-Reply-To, oldest first
}

// Parse reads a message of size octets. Its only errors are those of r: any
// octets are a message. Time is linear in size; memory is bounded by the limits
// of the package: about 20 KiB for most mail, some 20 MiB for the worst.
func Parse(r io.ReaderAt, size int64) (*Parsed, error) {
	p := &Parsed{Size: size}
	var st structure
	w, err := walkMessage(r, size, func(w *walk, i int32, header []byte, m *mimeHeader) {
		if i == 0 {
			p.readHeader(header, &st.env)
		}
		st.add(&w.entities[i], header, m)
	})
	if err != nil {
		return nil, fmt.Errorf("parse a message: %w", err)
	}
	p.BodyStructure, _ = st.append(make([]byte, 0, st.used+64), w, 0)
	p.Parts = packParts(w.entities)
	if p.Preview, err = preview(r, w); err != nil {
		return nil, fmt.Errorf("parse a message: %w", err)
	}
	return p, nil
}

// readHeader takes all that the message's own header says, but its MIME fields.
func (p *Parsed) readHeader(header []byte, env *envelopeFields) {
	env.parse(header)
	p.Envelope = env.append(make([]byte, 0, 256))
	p.HeaderSubset = headerSubset(header)
	p.HeaderText = headerText(header)
	p.SortSubject, p.IsReply = BaseSubject(env.subject)
	p.SortFrom, p.SortTo, p.SortCc = sortMailbox(env.from), sortMailbox(env.to), sortMailbox(env.cc)
	p.DisplayFrom, p.DisplayTo = sortDisplay(env.from), sortDisplay(env.to)
	p.SentDate = ParseDate(string(clip(env.date, maxDate)))
	if ids := messageIDs(nil, env.messageID, 1); len(ids) > 0 {
		p.MessageID = ids[0]
	}
	refs, _ := Field(header, "references")
	p.References = references([]byte(refs), env.inReplyTo)
	p.ThreadKeys = threadKeys(env.messageID, []byte(refs), env.inReplyTo, p.IsReply)
}

const (
	maxReferences = 200 // ids; of a longer list the first and the last ones are kept
	maxMessageID  = 998 // octets of one id, RFC 5322 §2.1.1
)

// references are the ids of the References field, else the first id of
// In-Reply-To (RFC 5256 §3).
func references(all, inReplyTo []byte) []string {
	ids := messageIDs(nil, all, 1)
	if len(ids) == 0 {
		return messageIDs(nil, inReplyTo, 1)
	}
	from := len(all)
	for n := 0; n < maxReferences && from > 0; n++ {
		from = max(bytes.LastIndexByte(all[:from], '<'), 0)
	}
	if from == 0 {
		return messageIDs(nil, all, maxReferences)
	}
	return messageIDs(ids, all[from+1:], maxReferences-1)
}

// messageIDs appends up to n ids that stand between angle brackets. White space
// inside, where a long id was folded, goes.
func messageIDs(ids []string, s []byte, n int) []string {
	for ; n > 0; n-- {
		i := bytes.IndexByte(s, '<')
		if i < 0 {
			return ids
		}
		s = s[i:]
		end := bytes.IndexByte(s, '>')
		if end < 0 {
			return ids
		}
		if end > 1 && end < maxMessageID {
			ids = append(ids, string(validText(string(withoutSpace(s[:end+1])))))
		}
		s = s[end+1:]
	}
	return ids
}

func withoutSpace(s []byte) []byte {
	if !bytes.ContainsAny(s, " \t\r\n\x00") {
		return s
	}
	return bytes.Map(func(r rune) rune {
		if r <= ' ' {
			return -1
		}
		return r
	}, s)
}
