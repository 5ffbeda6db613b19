// Package relay delivers to other hosts: it finds where a domain's mail goes
// (RFC 5321 §5, MX and address records), which transport security is owed
// there (MTA-STS, DANE, REQUIRETLS), and speaks SMTP or LMTP as a client.
//
// It keeps nothing: the queue decides when to try and what to do with each
// recipient's Result.
package relay

import (
	"context"
	"io"
	"net/netip"
	"time"

	"posthouse/internal/mail"
)

// Route is a way to a destination. Messages with the same Key may share a
// session.
type Route struct {
	Key    string // names the destination in the queue: a domain, an address literal, or "relay:NAME"
	Domain string // whose MX records lead there; empty with Hosts
	Hosts  []Host // static next hops, tried in order; a Domain's MX are not asked for then
	LMTP   bool   // RFC 2033
	TLS    TLSMode
	Auth   *Login       // nil: none; sent over TLS only, or to loopback
	Source []netip.Addr // local addresses to connect from, at most one for each family; empty: the system chooses
	HELO   string       // name in EHLO; empty: the relay's
	SOCKS5 string       // "127.0.0.1:1080"; empty: direct

	// Fallback is tried when nobody on this route takes a connection, or
	// those who do refuse us as a client. nil: there is none.
	Fallback *Route
}

// Host is one next hop: a name (its address records are asked for) or an
// address, and a port.
type Host struct {
	Name string
	Port uint16 // 0: the relay's port
}

// Login are credentials for a smarthost.
type Login struct{ User, Password string }

// TLSMode is what a Route asks of transport security, beside what the
// destination's own policies do.
type TLSMode uint8

const (
	TLSOpportunistic TLSMode = iota // STARTTLS where offered; unverified, or in clear, where policy allows
	TLSVerified                     // STARTTLS with a certificate that the roots vouch for, or no delivery
	TLSImplicit                     // TLS from the first octet (port 465), verified
	TLSNever                        // in clear: a next hop on loopback or a private wire
)

// Content is a message as it is sent: header and body, CRLF lines, its dots not
// stuffed. It is read by one goroutine at a time.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Message is one message for recipients that share a route.
type Message struct {
	mail.Envelope
	Ref         string // its id in the log; not sent
	Content     Content
	TLSOptional bool // the header says TLS-Required: No (RFC 8689 §5)

	// Commit is asked right before the final dot (or the last chunk) whether
	// the message may still be sent; an error ends the transaction and the
	// connection, and the recipients are Deferred. nil: it may.
	Commit func(context.Context) error
}

// Outcome is what became of one recipient.
type Outcome uint8

const (
	Deferred  Outcome = iota // try again: 4xx, or no answer before the message was handed over
	Delivered                // the next hop answered 250 for it
	Failed                   // for good: 5xx, or the destination can take no mail
	Ambiguous                // the message was sent whole, and the reply never came: it may have arrived
)

// Result is the outcome for one recipient, with the other side's words.
type Result struct {
	Outcome  Outcome
	Stage    Stage
	Host     string // name of the next hop; empty: none was reached
	Addr     netip.AddrPort
	TLS      string // "TLS1.3, verified by DANE"; empty: in clear
	Code     int    // 0: there was no reply
	Enhanced mail.Enhanced
	Text     string // the reply's text or our own reason, printable, one line, at most 1,000 octets
	DSN      bool   // delivered to a host that reports onward (it offered DSN): no report of ours is due but on relaying
	At       time.Time
}

// Stage is where in the dialogue a Result came about.
type Stage uint8

const (
	StageDNS Stage = iota
	StagePolicy
	StageConnect
	StageBanner
	StageEHLO
	StageTLS
	StageAuth
	StageMail
	StageRcpt
	StageData // the 354
	StageBody
	StageDot
)
