package events

import "time"

// Kind is what happened to a message or to one of its recipients.
type Kind string

const (
	Received   Kind = "received"  // accepted from a client: one for each message
	Refused    Kind = "refused"   // a recipient or a whole message was answered 4xx or 5xx
	Stored     Kind = "stored"    // a copy lies in a mailbox
	Queued     Kind = "queued"    // a recipient elsewhere waits
	Delivered  Kind = "delivered" // another host took it over
	Deferred   Kind = "deferred"  // an attempt failed for now
	Bounced    Kind = "bounced"   // it failed for good, its time ran out, or an operator gave it up
	Reported   Kind = "reported"  // a DSN went to the sender; Text says which: failed, delayed, delivered, relayed
	Held       Kind = "held"      // by an operator
	Released   Kind = "released"
	Suppressed Kind = "suppressed" // not sent: the address is on the suppression list
	Complained Kind = "complained" // the recipient's host says that they call it spam
	Captured   Kind = "captured"   // local mode kept it here
)

// Event is one thing that happened. Message is the id that the client heard in
// the 250, the same for all that follows from one acceptance.
type Event struct {
	ID        int64         `json:"id"`
	At        time.Time     `json:"at"`
	Kind      Kind          `json:"kind"`
	Message   string        `json:"message"`
	HeaderID  string        `json:"message_id,omitempty"` // the Message-ID field, of Received only
	Account   int64         `json:"-"`                    // who submitted it; 0: nobody did
	From      string        `json:"from,omitempty"`       // reverse-path
	Recipient string        `json:"recipient,omitempty"`
	Subject   string        `json:"subject,omitempty"` // of Received only, at most 200 octets
	Remote    string        `json:"remote,omitempty"`  // "mx.example.org [192.0.2.1]:25", or the client
	Code      int           `json:"code,omitempty"`
	Enhanced  string        `json:"enhanced,omitempty"`
	Text      string        `json:"text,omitempty"` // the other side's words, or the reason; one line, at most 1,000 octets
	TLS       string        `json:"tls,omitempty"`
	Size      int64         `json:"size,omitempty"`
	Duration  time.Duration `json:"duration,omitempty"`
	Node      string        `json:"node,omitempty"`
}

// Kinds are all kinds, in the order of a message's life.
var Kinds = []Kind{Received, Refused, Stored, Captured, Queued, Suppressed, Held, Released, Deferred, Delivered, Bounced, Reported, Complained}
