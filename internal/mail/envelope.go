package mail

import "time"

// BodyType is what MAIL said of the content (RFC 6152, RFC 3030).
type BodyType uint8

const (
	Body7Bit   BodyType = iota // nothing was said
	Body8Bit                   // BODY=8BITMIME
	BodyBinary                 // BODY=BINARYMIME: NUL, bare CR and bare LF may occur
)

// String is the value of the BODY parameter.
func (b BodyType) String() string {
	return [...]string{"7BIT", "8BITMIME", "BINARYMIME"}[b]
}

// Envelope is what MAIL and RCPT said (RFC 5321 §2.3.1).
type Envelope struct {
	From       Address // zero: the null reverse-path
	Recipients []Address
	SMTPUTF8   bool // the client asked for RFC 6531
	Body       BodyType
}

// Incoming is a message that a listener has received whole and wants delivered;
// its content travels beside it, in a spool.
type Incoming struct {
	Envelope
	ID       string // unique; stands in the reply, the Received field and the log
	Account  int64  // who logged in; 0: nobody, so that only local recipients are ours to serve
	Received []byte // the trace field of this hop (RFC 5321 §4.4), folded, with its CRLF
	Arrived  time.Time
	Sum      [32]byte // SHA-256 of the content as received, before anything was edited; zero: that of the body
}
