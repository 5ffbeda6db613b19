package smtpd

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"posthouse/internal/admission"
	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// Mode is what a listener is for.
type Mode uint8

const (
	MX            Mode = iota // port 25: mail for our domains, from anybody; no AUTH
	Submission                // port 587: STARTTLS, then AUTH, before MAIL
	SubmissionTLS             // port 465: TLS from the first octet, then AUTH
	LMTP                      // a trusted MTA in front of us; recipients answered one by one
	LocalMX                   // port 1025 of local mode: MX, and AUTH too
)

func (m Mode) String() string {
	return [...]string{"smtp", "submission", "submissions", "lmtp", "smtp"}[m]
}

func (m Mode) offersAuth() bool { return m == Submission || m == SubmissionTLS || m == LocalMX }

// submits reports whether users hand in mail here: what delays it, hastens it or
// gives it rank is theirs to ask for.
func (m Mode) submits() bool { return m.offersAuth() }

// needsAuth: RFC 6409 §4.3.
func (m Mode) needsAuth() bool { return m == Submission || m == SubmissionTLS }

// Deliverer takes a message over: when it returns nil the message is committed,
// and the client hears 250. The error's class (mail.ClassOf) decides between
// 4xx and 5xx; a *mail.Error brings its whole reply along.
//
// settle, unless nil, is called once: with true when the client has proven, by
// its next command, that it heard the 250; with false when the connection ended
// before. It does not block.
type Deliverer interface {
	Deliver(ctx context.Context, in *mail.Incoming, body *spool.Spool) (settle func(heard bool), err error)
}

// Config of a Server. Directory, Deliverer and Hostname are needed.
type Config struct {
	Hostname  string // in the banner, EHLO and Received
	Directory *directory.Directory
	Deliverer Deliverer
	// QuotaOK is asked at RCPT whether an account can take that many octets
	// more (0: the client did not say). A permanent error refuses the
	// recipient, any other defers it. nil: nobody has a quota.
	QuotaOK func(ctx context.Context, account, octets int64) error
	// Relays is asked at RCPT whether mail for an address that is not local is
	// taken from a client that has not logged in: we are its domain's backup MX,
	// and the recipient is known there. A *mail.Error refuses or defers it. nil:
	// nobody relays.
	Relays func(ctx context.Context, rcpt mail.Address) error
	// Return gives the address that the rewritten sender of a forward stands for
	// (SRS), and the zero one for what is none: bounces to it are taken. A
	// *mail.Error refuses a forged one. nil: there are none.
	Return func(ctx context.Context, rcpt mail.Address) (mail.Address, error)
	// MaySend is asked at each RCPT whether an account may write to so many
	// recipients, Allow at the end of the message, when they are counted. A
	// *mail.Error is the reply. nil: there are no limits.
	MaySend, Allow func(ctx context.Context, account int64, recipients int) error
	// Sign makes the fields, each with its CRLF, that stand in front of a
	// message that somebody submits: its DKIM-Signature. from is the address of
	// its From field. An error defers the message. nil: nothing is signed.
	Sign func(ctx context.Context, from mail.Address, body io.ReaderAt, size int64) ([]byte, error)
	// Welcome is asked at port 25 before the banner whether a client is to be
	// spoken with: DNS lists, bans. A *mail.Error is what it hears instead; any
	// other error lets it in. nil: everybody is welcome.
	Welcome func(ctx context.Context, client netip.Addr) error
	// Reverse names a client for the Received field, within ctx: a name that
	// leads back to its address, or nothing. It is asked at port 25, once in ten
	// minutes for an address, while the client talks. nil: no names.
	Reverse        func(ctx context.Context, client netip.Addr) string
	Events         *events.Log     // what is refused; nil: not recorded
	TLS            *tls.Config     // nil: no STARTTLS, and no SubmissionTLS
	Admission      *admission.Gate // nil: no caps
	Log            *slog.Logger    // nil: slog.Default
	SpoolDir       string
	AllowPlainAuth bool           // AUTH without TLS: local mode, loopback only
	Capture        bool           // LocalMX takes mail for other domains from anybody: the Deliverer keeps it here
	TrustedProxies []netip.Prefix // must speak the PROXY protocol; nobody else may
	Limits         Limits
}

// Limits of a Server; a zero field takes its default.
type Limits struct {
	Message      int64 // octets of content, the dots not counted (64 MiB)
	Recipients   int   // in one transaction (1,000)
	Memory       int   // octets of a body kept in memory, the rest goes to a file (256 KiB)
	Line         int64 // octets in a line of a body (1 MiB; RFC 5321 §4.5.3.1.6 has 998 as what one may rely on)
	Header       int   // octets of a header that submission edits (1 MiB)
	Hops         int   // Received fields, then it is a loop (100)
	AuthFailures int   // then 421 (3)
	Errors       int   // 5xx to commands, then 421 (20)
	Refused      int   // recipients refused, then 421 (100)
	Junk         int   // RSET, NOOP, EHLO and such between two messages, then 421 (100)

	Hold      time.Duration // how far ahead a message may be submitted, RFC 4865 (30 days)
	DeliverBy time.Duration // the least time in which one is delivered or returned, RFC 2852 (1 s)

	Greet     time.Duration // wait before the banner, to catch who talks first (none)
	Welcome   time.Duration // for Config.Welcome (5 s)
	Handshake time.Duration // TLS or PROXY (30 s)
	Command   time.Duration // for one whole command line, and for the client to take a reply (5 min)
	DataIdle  time.Duration // between two reads in a body (5 min)
	DataTotal time.Duration // for one body (1 h)
	Deliver   time.Duration // for the Deliverer (5 min; RFC 5321 §4.5.3.2.6 lets clients wait for 10)
}

func (l Limits) withDefaults() Limits {
	orElse(&l.Message, 64<<20)
	orElse(&l.Recipients, 1000)
	orElse(&l.Memory, spool.Memory)
	orElse(&l.Line, 1<<20)
	orElse(&l.Header, 1<<20)
	orElse(&l.Hops, 100)
	orElse(&l.AuthFailures, 3)
	orElse(&l.Errors, 20)
	orElse(&l.Refused, 100)
	orElse(&l.Junk, 100)
	orElse(&l.Hold, 30*24*time.Hour)
	orElse(&l.DeliverBy, time.Second)
	orElse(&l.Welcome, 5*time.Second)
	orElse(&l.Handshake, 30*time.Second)
	orElse(&l.Command, 5*time.Minute)
	orElse(&l.DataIdle, 5*time.Minute)
	orElse(&l.DataTotal, time.Hour)
	orElse(&l.Deliver, 5*time.Minute)
	return l
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
