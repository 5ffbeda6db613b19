package dsn

import (
	"bytes"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"time"

	"posthouse/internal/mail"
)

// machine writes the second part: message/delivery-status of RFC 3464, or
// message/global-delivery-status of RFC 6533 §4.
func (d *document) machine(p *printer) {
	var b bytes.Buffer
	d.field(&b, "Reporting-MTA", "dns; "+oneWord(d.ReportingMTA))
	if d.EnvelopeID != "" {
		d.field(&b, "Original-Envelope-Id", d.EnvelopeID)
	}
	if !d.ArrivalDate.IsZero() {
		d.field(&b, "Arrival-Date", stamp(d.ArrivalDate))
	}
	if !d.HoldUntil.IsZero() { // RFC 4865 §5
		d.field(&b, "Future-Release-Request", "until; "+d.HoldUntil.UTC().Format(time.RFC3339))
	}
	if !d.DeliverBy.IsZero() { // RFC 2852 §5
		d.field(&b, "Deliver-By-Date", stamp(d.DeliverBy))
	}
	if d.Ref != "" {
		d.field(&b, "X-Posthouse-Id", d.Ref)
	}
	for i := range d.Recipients {
		b.WriteString("\r\n")
		d.recipient(&b, &d.Recipients[i])
	}
	kind := "message/delivery-status"
	if d.global {
		kind = "message/global-delivery-status"
	}
	p.printf("Content-Description: Delivery report\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s", kind, plain(d.global), b.Bytes())
}

func (d *document) recipient(b *bytes.Buffer, r *Recipient) {
	if r.Original != "" {
		d.field(b, "Original-Recipient", d.typed(r.Original))
	}
	d.field(b, "Final-Recipient", d.typed(addressType(r.Final)+";"+r.Final.String()))
	d.field(b, "Action", d.Kind.String())
	d.field(b, "Status", d.status(r).String())
	if r.RemoteMTA != "" {
		d.field(b, "Remote-MTA", "dns; "+oneWord(r.RemoteMTA))
	}
	if r.Diagnostic != "" {
		kind := "X-Posthouse; "
		if r.quotes() {
			kind = "smtp; "
		}
		d.field(b, "Diagnostic-Code", kind+r.Diagnostic)
	}
	if !r.LastAttempt.IsZero() {
		d.field(b, "Last-Attempt-Date", stamp(r.LastAttempt))
	}
	if d.Kind == Delayed && !r.WillRetryUntil.IsZero() {
		d.field(b, "Will-Retry-Until", stamp(r.WillRetryUntil))
	}
}

// field writes one in one line, as spaces in an ENVID or a quoted local part
// are part of it; only what no line can hold is folded.
func (d *document) field(b *bytes.Buffer, name, value string) {
	value = oneLine(value, maxWords)
	if !d.global {
		value = ascii(value)
	}
	if len(value) > 900 || name == "Diagnostic-Code" {
		value = fold(value, " ", 76-len(name))
	}
	fmt.Fprintf(b, "%s: %s\r\n", name, value)
}

func addressType(a mail.Address) string {
	if a.IsASCII() {
		return "rfc822"
	}
	return "utf-8" // RFC 6533 §3
}

// typed is an address with its type, "rfc822;bob@example.org", as this part may
// carry it.
func (d *document) typed(s string) string {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok {
		kind, addr = "rfc822", s
	}
	kind, addr = oneWord(kind), oneLine(addr, maxWords)
	if !isASCII(addr) {
		kind = "utf-8"
		if !d.global {
			addr = utf8Xtext(addr)
		}
	}
	return kind + "; " + addr
}

func quoted(p *printer, text []byte) {
	w := quotedprintable.NewWriter(p)
	if _, err := w.Write(text); err != nil && p.err == nil {
		p.err = err
	}
	if err := w.Close(); err != nil && p.err == nil {
		p.err = err
	}
}
