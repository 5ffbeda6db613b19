package events

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"

	"posthouse/internal/mail"
)

// ErrNoReport says that a message is no feedback report.
var ErrNoReport = errors.New("not a feedback report")

// Bounds of a feedback report.
const (
	maxReport       = 1 << 20  // octets of it that are read
	maxReportHeader = 64 << 10 // octets of each header in it
	maxReportRcpts  = 100      // recipients that it names
)

// Report is a feedback report in the Abuse Reporting Format (RFC 5965).
type Report struct {
	Type       string         // abuse, fraud, virus, not-spam, other, in lower case
	UserAgent  string         // of who reports
	From       mail.Address   // Original-Mail-From
	Recipients []mail.Address // Original-Rcpt-To; often left out, to hide who complained
	Source     string         // Source-IP
	Domains    []string       // Reported-Domain
	Arrived    time.Time      // Arrival-Date or Received-Date; zero: not said
	HeaderID   string         // Message-ID of the message that is complained about
	To         []mail.Address // of that message's header
}

// ParseARF reads a feedback report from a whole message. Of reports that break
// their format in small ways it takes what is there. ErrNoReport for what is
// none, or can not be read.
func ParseARF(r io.Reader) (*Report, error) {
	r = io.LimitReader(r, maxReport)
	body := bufio.NewReader(r)
	header, err := readHeader(body)
	if err != nil {
		return nil, err
	}
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || !strings.EqualFold(params["report-type"], "feedback-report") || params["boundary"] == "" {
		return nil, ErrNoReport
	}
	var report Report
	parts := multipart.NewReader(body, params["boundary"])
	for range 10 { // there are three
		part, err := parts.NextRawPart()
		if err != nil {
			break // cut off by the limit, or its end is missing: what was read counts
		}
		kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil {
			continue
		}
		content := bufio.NewReader(decoded(part, part.Header.Get("Content-Transfer-Encoding")))
		switch kind {
		case "message/feedback-report":
			if h, err := readHeader(content); err == nil {
				report.fields(h)
			}
		case "message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers":
			if h, err := readHeader(content); err == nil {
				report.original(h)
			}
		}
	}
	if report.Type == "" {
		return nil, fmt.Errorf("%w: it has no Feedback-Type", ErrNoReport)
	}
	return &report, nil
}

// readHeader reads a header, with or without an empty line at its end.
func readHeader(r *bufio.Reader) (textproto.MIMEHeader, error) {
	var text bytes.Buffer
	for text.Len() < maxReportHeader {
		l, err := r.ReadSlice('\n')
		text.Write(l)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) || len(bytes.TrimRight(l, "\r\n")) == 0 {
			break
		}
	}
	text.WriteString("\r\n\r\n")
	h, err := textproto.NewReader(bufio.NewReader(&text)).ReadMIMEHeader()
	if err != nil && len(h) == 0 {
		return nil, fmt.Errorf("%w: its header is damaged", ErrNoReport)
	}
	return h, nil
}

func decoded(r io.Reader, encoding string) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	}
	return r
}

// fields takes the machine-readable part (RFC 5965 §3).
func (r *Report) fields(h textproto.MIMEHeader) {
	r.Type = strings.ToLower(line(h.Get("Feedback-Type"), maxName))
	r.UserAgent = line(h.Get("User-Agent"), maxID)
	r.Source = line(h.Get("Source-Ip"), maxName)
	if list := addresses(h["Original-Mail-From"]); len(list) > 0 {
		r.From = list[0]
	}
	r.Recipients = addresses(h["Original-Rcpt-To"])
	for _, d := range h["Reported-Domain"] {
		r.Domains = append(r.Domains, line(d, maxAddress))
	}
	for _, name := range []string{"Arrival-Date", "Received-Date"} {
		if at, err := netmail.ParseDate(strings.TrimSpace(h.Get(name))); err == nil {
			r.Arrived = at
			break
		}
	}
}

// original takes the header of what is complained about.
func (r *Report) original(h textproto.MIMEHeader) {
	r.HeaderID = line(strings.TrimSpace(h.Get("Message-Id")), maxID)
	for _, field := range h["To"] {
		r.To = append(r.To, addresses(strings.Split(field, ","))...)
	}
	r.To = r.To[:min(len(r.To), maxReportRcpts)]
}

// addresses are those that can be read, each from a field of its own.
func addresses(fields []string) (list []mail.Address) {
	for _, f := range fields {
		f = strings.TrimSpace(f)
		if open := strings.LastIndexByte(f, '<'); open >= 0 {
			f = f[open+1:]
			if end := strings.IndexByte(f, '>'); end >= 0 {
				f = f[:end]
			}
		}
		if kind, rest, ok := strings.Cut(f, ";"); ok && strings.EqualFold(strings.TrimSpace(kind), "rfc822") {
			f = strings.TrimSpace(rest)
		}
		if a, err := mail.ParseAddress(f); err == nil && len(list) < maxReportRcpts {
			list = append(list, a)
		}
	}
	return list
}
