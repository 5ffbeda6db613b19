package dsn

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"posthouse/internal/mail"
)

// people writes the first part: what happened, in plain words.
func (d *document) people(p *printer) {
	var b bytes.Buffer
	d.opening(&b)
	for i := range d.Recipients {
		d.tell(&b, &d.Recipients[i])
	}
	d.closing(&b)
	p.printf("Content-Description: What happened\r\n")
	if isASCII(b.String()) {
		p.printf("Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n%s", b.Bytes())
		return
	}
	p.printf("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	quoted(p, b.Bytes())
}

// paragraph writes text in lines of about 72 characters, indented.
func paragraph(b *bytes.Buffer, indent, format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	if text != "" {
		fmt.Fprintf(b, "%s%s\r\n", indent, fold(text, indent, 72-len(indent)))
	}
}

func (d *document) opening(b *bytes.Buffer) {
	subject := d.returned.subject
	if subject == "" {
		subject = "(no subject)"
	}
	paragraph(b, "", "This is the mail server %s.", oneWord(d.ReportingMTA))
	b.WriteString("\r\n")
	those := "recipients"
	if len(d.Recipients) == 1 {
		those = "recipient"
	}
	paragraph(b, "", [...]string{
		Failed:    "Your message could not be delivered to the %s below, and will not be tried again. Whoever is not named here is not concerned.",
		Delayed:   "Your message has not been delivered to the %s below yet. You need not send it again: the server goes on trying.",
		Delivered: "Your message has been delivered to the %s below. You asked to be told.",
		Relayed:   "Your message has been handed on for the %s below. You asked to be told when it is delivered; the server that has it now sends no such reports, so this is the last that you will hear.",
		Expanded:  "Your message has been sent on to where the %s below leads. You asked to be told when it is delivered; there will be no reports from behind that address.",
	}[d.Kind], those)
	b.WriteString("\r\n")
	paragraph(b, "    ", "Subject: %s", subject)
	if d.returned.date != "" {
		paragraph(b, "    ", "Written: %s", d.returned.date)
	}
	if !d.ArrivalDate.IsZero() {
		paragraph(b, "    ", "Arrived here: %s", stamp(d.ArrivalDate))
	}
}

// tell is about one recipient.
func (d *document) tell(b *bytes.Buffer, r *Recipient) {
	const in, quote = "    ", "      > "
	fmt.Fprintf(b, "\r\n  %s\r\n", oneLine(readable(r.Final), 900))
	if was := formerAddress(r); was != "" {
		paragraph(b, in, "(You wrote to %s, which leads there.)", was)
	}
	if d.Kind == Failed || d.Kind == Delayed {
		what, todo := explain(d.Kind, d.status(r))
		paragraph(b, in, "%s", what)
		if todo != "" {
			paragraph(b, in, "%s", todo)
		}
	}
	said := oneLine(r.Diagnostic, maxWords)
	switch {
	case said == "":
	case r.quotes():
		paragraph(b, in, "The server %s said:", oneWord(r.RemoteMTA))
	case r.RemoteMTA != "":
		paragraph(b, in, "In detail, with the server %s:", oneWord(r.RemoteMTA))
	default:
		paragraph(b, in, "In detail:")
	}
	if said != "" { // as far as a line may reach, so that it can be searched for and copied whole
		fmt.Fprintf(b, "%s%s\r\n", quote, fold(said, quote, 400))
	}
	if d.Kind == Delayed && !r.WillRetryUntil.IsZero() {
		told := " If that fails, you will be told."
		if r.FailsUntold {
			told = ""
		}
		paragraph(b, in, "It will be tried until %s (%s).%s", stamp(r.WillRetryUntil), span(r.WillRetryUntil.Sub(d.date())), told)
	}
}

func (d *document) closing(b *bytes.Buffer) {
	b.WriteString("\r\n")
	switch {
	case d.Original == nil:
	case d.returned.full:
		paragraph(b, "", "Your message is attached.")
	default:
		paragraph(b, "", "The header of your message is attached.")
	}
	ref := ""
	if d.Ref != "" {
		ref = ", and name the message " + oneWord(d.Ref)
	}
	paragraph(b, "", "Should you need help, write to postmaster@%s%s. There is no use in answering this message: no person reads the answers.", oneWord(d.ReportingMTA), ref)
}

// readable is an address with its domain as people write it.
func readable(a mail.Address) string {
	if a.Domain == "" || strings.HasPrefix(a.Domain, "[") || a.IsASCII() && !strings.Contains(a.Domain, "xn--") {
		return a.String()
	}
	return strings.TrimSuffix(a.String(), a.Domain) + a.UnicodeDomain()
}

// formerAddress is what the sender wrote, where that is another address.
func formerAddress(r *Recipient) string {
	kind, addr, ok := strings.Cut(r.Original, ";")
	if !ok || !strings.EqualFold(kind, "rfc822") && !strings.EqualFold(kind, "utf-8") || strings.EqualFold(addr, r.Final.String()) {
		return ""
	}
	return oneLine(addr, maxWords)
}

// span is a duration in words: "in 3 days", never less than a minute.
func span(left time.Duration) string {
	n, unit := int64(left.Round(time.Minute)/time.Minute), "minute"
	switch {
	case left >= 47*time.Hour:
		n, unit = int64(left.Round(24*time.Hour)/(24*time.Hour)), "day"
	case left >= 100*time.Minute:
		n, unit = int64(left.Round(time.Hour)/time.Hour), "hour"
	}
	if n = max(n, 1); n > 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s more", n, unit)
}
