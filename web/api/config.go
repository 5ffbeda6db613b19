package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"posthouse/internal/directory"
	"posthouse/internal/events"
	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// Deliverer takes messages over, as local delivery does. When it returns nil
// the message is committed. An error's class decides: Permanent is the
// message's or a recipient's fault, Temporary ours, Unknown nobody knows.
type Deliverer interface {
	Deliver(ctx context.Context, in *mail.Incoming, body *spool.Spool) (settle func(heard bool), err error)
	// DeliverIn runs inTx in the transaction that stores the message.
	DeliverIn(ctx context.Context, in *mail.Incoming, body *spool.Spool, inTx directory.InTx) error
}

// Config is what New needs: Hostname, Directory, Deliverer and Events; what
// else is nil is not done.
type Config struct {
	Hostname  string // in Received, Message-ID and the links of List-Unsubscribe
	Directory *directory.Directory
	Deliverer Deliverer
	Events    *events.Log

	// Sign makes the DKIM-Signature fields of a message by from, each with its
	// CRLF; none where from's domain has no key.
	Sign func(ctx context.Context, from mail.Address, body io.ReaderAt, size int64) ([]byte, error)
	// Allow counts recipients against the account's limits, or refuses: an
	// error of class Temporary is answered 429, a permanent one 403.
	Allow func(ctx context.Context, account int64, recipients int) error
	// QuotaOK asks whether a mailbox here can take so many octets more.
	QuotaOK func(ctx context.Context, account, octets int64) error
	// Suppressions are who gets nothing; Unsubscriber makes and reads the links
	// of one-click unsubscription; Hooks are told of events.
	Suppressions *events.Suppressions
	Unsubscriber *events.Unsubscriber
	Hooks        *events.Hooks
	// Waiting tells how the recipients of a message stand in the queue now.
	Waiting func(ctx context.Context, message string) ([]Waiting, error)

	// Plain accepts keys without TLS: local mode, on loopback.
	Plain bool
	// TrustedProxies may say in X-Forwarded-For and X-Forwarded-Proto who
	// asks, and whether by HTTPS.
	TrustedProxies []netip.Prefix
	// URL is where others reach this server, without a slash at its end, for
	// links in mail; empty: https:// and Hostname.
	URL      string
	SpoolDir string
	Closing  <-chan struct{} // closed when the server stops: waiting ends; may be nil
	Log      *slog.Logger    // nil: slog.Default
	Limits   Limits
}

// Waiting is a recipient that is still in the queue.
type Waiting struct {
	Recipient string
	Held      bool
	Attempts  int
	NextAt    time.Time
}

// Limits of the API; a zero field takes its default.
type Limits struct {
	Message     int64         // octets of a message as it is sent (64 MiB)
	Recipients  int           // of one message (1,000)
	Batch       int           // messages in a batch (500)
	Text        int64         // octets of a JSON body without the attachments' contents (8 MiB)
	Memory      int           // octets of a spool that stay in memory (256 KiB)
	Header      int           // octets of the header of a message/rfc822 (1 MiB)
	Attachments int           // of one message (100)
	InFlight    int           // requests at once (64)
	PerAccount  int           // of one account (16)
	Waiting     int           // of one account, requests that wait for events (8)
	Wait        time.Duration // for events (30 s)
	Hold        time.Duration // send_at lies at most that far ahead (30 days)
	Idle        time.Duration // between two reads of a body (30 s)
	Upload      time.Duration // for one body (10 min)
	Deliver     time.Duration // for the Deliverer (1 min)
}

func (l Limits) withDefaults() Limits {
	orElse(&l.Message, 64<<20)
	orElse(&l.Recipients, 1000)
	orElse(&l.Batch, 500)
	orElse(&l.Text, 8<<20)
	orElse(&l.Memory, spool.Memory)
	orElse(&l.Header, 1<<20)
	orElse(&l.Attachments, 100)
	orElse(&l.InFlight, 64)
	orElse(&l.PerAccount, 16)
	orElse(&l.Waiting, 8)
	orElse(&l.Wait, 30*time.Second)
	orElse(&l.Hold, 30*24*time.Hour)
	orElse(&l.Idle, 30*time.Second)
	orElse(&l.Upload, 10*time.Minute)
	orElse(&l.Deliver, time.Minute)
	return l
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// body is the most that a JSON request may have: base64 makes four octets of
// three.
func (l Limits) body() int64 { return l.Message/3*4 + l.Text }

// New makes the handler of /api/v1/ and what is below. Mount it there, on HTTP
// and HTTPS alike; it says by itself where keys are refused. It starts no
// goroutine.
func New(c Config) http.Handler {
	c.Limits = c.Limits.withDefaults()
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.URL == "" {
		c.URL = "https://" + c.Hostname
	}
	s := &server{Config: c, slots: make(chan struct{}, c.Limits.InFlight)}
	s.active.counts = make(map[int64]int)
	s.asking.counts = make(map[int64]int)
	return s.mux()
}
