package message

import "errors"

// Part is one part of a message. All offsets count from the first octet of the
// message, without the prefix that a recipient's copy may have.
type Part struct {
	Path             []int  // IMAP part numbers; empty for the whole message
	HeaderOff        int64  // MIME header of the part, or the header of the message
	HeaderLen        int64  // with the empty line that ends it
	BodyOff, BodyLen int64  // as it is transferred, still encoded
	Encoding         string // lower-case Content-Transfer-Encoding, "7bit" where it is missing
	ContentType      string // lower-case type/subtype
	IsMultipart      bool
	IsMessage        bool  // message/rfc822 with a structure: its body is a header and a text
	InnerHeaderLen   int64 // IsMessage: length of the header at BodyOff
}

// Section selects what of a part is meant (RFC 3501 §6.4.5).
type Section uint8

const (
	SectionBody   Section = iota // BODY[] or BODY[1.2]
	SectionHeader                // BODY[HEADER], BODY[1.2.HEADER]: the whole message or a message/rfc822 part
	SectionText                  // BODY[TEXT], BODY[1.2.TEXT]
	SectionMIME                  // BODY[1.2.MIME]
)

// PartIndex is the decoded list of a message's parts.
type PartIndex struct{ parts []Part }

var errPackedParts = errors.New("message: malformed packed parts")

// DecodeParts reads Parsed.Parts.
func DecodeParts(packed []byte) (PartIndex, error) { return PartIndex{}, nil }

// Lookup finds a part by its IMAP number; the empty path is the whole message.
func (ix PartIndex) Lookup(path []int) (Part, bool) { return Part{}, false }

// Range says where the octets of a section lie. A section that does not exist
// (a part number too high, HEADER of a part that is no message) is not ok: IMAP
// answers it with NIL or an empty string.
func (ix PartIndex) Range(path []int, s Section) (off, n int64, ok bool) { return 0, 0, false }
