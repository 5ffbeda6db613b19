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
	Recipients []Recipient
	SMTPUTF8   bool // the client asked for RFC 6531
	Body       BodyType
	RequireTLS bool // RFC 8689: over verified TLS all the way, or not at all

	Return     string // RET of RFC 3461 §4.3: "FULL", "HDRS" or "", not said
	EnvelopeID string // ENVID of RFC 3461 §4.4, its xtext decoded

	DeliverBy time.Time // RFC 2852: when it is late; zero: never
	ByMode    ByMode
	HoldUntil time.Time // RFC 4865: not to be sent before; zero: at once
	Priority  int8      // RFC 6710: -9 to 9
}

// ByMode is what becomes of a message that is late (RFC 2852 §4).
type ByMode struct {
	Return bool // R: it bounces; else N: the sender is told of the delay
	Trace  bool // T: relaying it is reported, too
}

// Recipient is what one RCPT said.
type Recipient struct {
	Address
	Notify   Notify
	Original string // ORCPT of RFC 3461 §4.2, "rfc822;alice@example.org", its xtext decoded; empty: not said
}

// Notify are the conditions under which the sender asked to be told (NOTIFY of
// RFC 3461 §4.1). The zero value says nothing was asked: failures are reported,
// delays may be.
type Notify uint8

const (
	NotifyNever Notify = 1 << iota // excludes the others
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Incoming is a message that a listener has received whole and wants delivered;
// its content travels beside it, in a spool.
type Incoming struct {
	Envelope
	ID       string // unique; stands in the reply, the Received field and the log
	Account  int64  // who logged in; 0: nobody, so that only local recipients are ours to serve
	Remote   string // the client, for the record: "mx.example.org ([192.0.2.1])", what it called itself first
	TLS      string // "TLS 1.3"; empty: it came in clear
	Received []byte // the trace field of this hop (RFC 5321 §4.4), folded, with its CRLF
	Signed   []byte // fields to stand behind Received and before the content: DKIM-Signature, with CRLF
	Arrived  time.Time
	Sum      [32]byte // SHA-256 of the content as received, before anything was edited; zero: that of the body
}
