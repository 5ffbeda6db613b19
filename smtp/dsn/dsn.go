// Package dsn writes delivery status notifications: multipart/report messages
// (RFC 6522) of three parts, the first for people, the second for machines
// (RFC 3464, or RFC 6533 where an address is not ASCII), the third the message
// in question or its header.
//
// Whatever a remote server said and whatever an address holds, it stays inside
// its line: controls become spaces, what is not UTF-8 becomes a question mark,
// long texts are cut. The part boundary is random, so that no returned message
// can contain it. The size is bounded: see Report.
//
// Who is to be told of what (RFC 3461 §4.1 and §5.2, never a report on a
// message with the null reverse-path) is decided by the caller.
package dsn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// Kind is what a report says of all its recipients: the Action of RFC 3464
// §2.3.3.
type Kind uint8

const (
	Failed    Kind = iota // for good
	Delayed               // not yet; it is tried again
	Delivered             // it lies in the mailbox
	Relayed               // handed to a host that reports no further
	Expanded              // handed to several addresses, of which nobody reports
)

// String is the value of the Action field.
func (k Kind) String() string {
	return [...]string{"failed", "delayed", "delivered", "relayed", "expanded"}[k]
}

// Report is what one notification says.
type Report struct {
	Kind         Kind
	ID           string       // of the report, unique: its Message-ID is <ID@ReportingMTA>
	Ref          string       // of the original in our log; empty: not told
	ReportingMTA string       // our host name
	Date         time.Time    // zero: now
	To           mail.Address // the original's reverse-path; never the null one
	EnvelopeID   string       // ENVID, decoded; empty: not said
	ArrivalDate  time.Time    // of the original
	HoldUntil    time.Time    // it was not to be sent before (RFC 4865); zero: not asked for
	DeliverBy    time.Time    // nor to arrive after (RFC 2852); zero: not asked for
	Recipients   []Recipient  // at least one
	Return       string       // RET: "FULL", "HDRS", or "", not said
	SMTPUTF8     bool         // the original came with it: its sender reads UTF-8 in headers
	RequireTLS   bool         // so did it: RFC 8689 §5 has its header alone returned

	// Original is the message as we have it; nil: nothing is returned. It goes
	// back whole with Failed alone, unless RET=HDRS, and only up to MaxFull
	// octets (0: 1 MiB), or 128 KiB unless RET=FULL; else its header, up to 64
	// KiB of it.
	Original Content
	MaxFull  int64
}

// Content is a message: header and body, with CRLF lines.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Recipient is what happened to one of them.
type Recipient struct {
	Final          mail.Address  // where it was to go at last
	Original       string        // ORCPT, decoded: "rfc822;bob@example.org"; empty: not said
	Status         mail.Enhanced // zero: that of the Kind
	RemoteMTA      string        // the host it came to that with, a name or an address literal; empty: we decided
	Diagnostic     string        // its reply, "550 5.1.1 No such user"; what begins with no code is our own reason
	LastAttempt    time.Time     // zero: not told
	WillRetryUntil time.Time     // with Delayed; zero: not told
	FailsUntold    bool          // with Delayed: nobody will hear of a failure (RFC 3461 §4.1)
}

// quotes reports whether the diagnostic is another server's reply.
func (r *Recipient) quotes() bool {
	d := r.Diagnostic
	return r.RemoteMTA != "" && len(d) >= 3 && d[0] >= '2' && d[0] <= '5' && isDigit(d[1]) && isDigit(d[2]) && (len(d) == 3 || d[3] == ' ' || d[3] == '-')
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// status is that of the report's kind unless the recipient has one.
func (r *Report) status(rcpt *Recipient) mail.Enhanced {
	if rcpt.Status != (mail.Enhanced{}) {
		return rcpt.Status
	}
	return [...]mail.Enhanced{Failed: {5, 0, 0}, Delayed: {4, 0, 0}, Delivered: {2, 0, 0}, Relayed: {2, 0, 0}, Expanded: {2, 0, 0}}[r.Kind]
}

// Write writes the report as a message, and returns the envelope that it needs:
// from the null reverse-path (RFC 5321 §4.5.5) to Report.To, itself never
// reported on (RFC 3461 §6.1), with the BODY and SMTPUTF8 that its content asks
// for.
func Write(w io.Writer, r *Report) (mail.Envelope, error) {
	if r.To.IsZero() || len(r.Recipients) == 0 || r.ReportingMTA == "" {
		return mail.Envelope{}, errors.New("dsn: a report needs a host, a recipient and somebody to tell")
	}
	d := &document{Report: r, boundary: rand.Text()}
	return d.write(w)
}

// Compose writes the report into a spool, and gives what is to be handed to
// local delivery with it. The caller closes the spool.
func Compose(r *Report, spoolDir string) (*mail.Incoming, *spool.Spool, error) {
	s := spool.New(spoolDir, spool.Memory)
	envelope, err := Write(s, r)
	if err != nil {
		s.Close() // memory, or an unlinked file: there is nothing to lose
		return nil, nil, fmt.Errorf("write a report to %s: %w", r.To, err)
	}
	return &mail.Incoming{Envelope: envelope, ID: r.ID, Arrived: r.date()}, s, nil
}

func (r *Report) date() time.Time {
	if r.Date.IsZero() {
		return time.Now()
	}
	return r.Date
}

// document is a report being written.
type document struct {
	*Report
	boundary string
	global   bool // the machine's part is of RFC 6533
	returned returned
}

func (d *document) write(w io.Writer) (mail.Envelope, error) {
	env := mail.Envelope{Recipients: []mail.Recipient{{Address: d.To, Notify: mail.NotifyNever}}}
	if err := d.inspect(); err != nil {
		return env, fmt.Errorf("read the message to return: %w", err)
	}
	d.global = d.SMTPUTF8 && d.hasUTF8Address()
	if d.global || d.returned.eightBit {
		env.Body = mail.Body8Bit
	}
	env.SMTPUTF8 = !d.To.IsASCII()
	p := &printer{w: w}
	d.header(p)
	p.printf("\r\n--%s\r\n", d.boundary)
	d.people(p)
	p.printf("\r\n--%s\r\n", d.boundary)
	d.machine(p)
	if d.Original != nil {
		p.printf("\r\n--%s\r\n", d.boundary)
		d.giveBack(p)
	}
	p.printf("\r\n--%s--\r\n", d.boundary)
	return env, p.err
}

// hasUTF8Address asks for the formats of RFC 6533.
func (d *document) hasUTF8Address() bool {
	for i := range d.Recipients {
		if r := &d.Recipients[i]; !r.Final.IsASCII() || !isASCII(r.Original) {
			return true
		}
	}
	return false
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.w.Write(b)
	p.err = err
	return n, err
}
