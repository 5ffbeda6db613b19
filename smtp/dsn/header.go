package dsn

import (
	"bytes"
	"strings"
	"time"

	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
)

// header writes the fields of the report itself, without the empty line.
func (d *document) header(p *printer) {
	var h gomail.Header
	h.SetContentType("multipart/report", map[string]string{"report-type": "delivery-status", "boundary": d.boundary})
	h.AddRaw([]byte("MIME-Version: 1.0\r\n"))
	h.Set("Auto-Submitted", "auto-replied") // RFC 3834 §5
	if id := d.returned.messageID; id != "" {
		h.Set("References", id)
		h.Set("In-Reply-To", id)
	}
	h.SetSubject(d.subject())
	h.AddRaw([]byte("Message-ID: <" + oneWord(d.ID) + "@" + oneWord(d.ReportingMTA) + ">\r\n"))
	h.Set("To", "<"+oneLine(d.To.String(), maxWords)+">")
	h.Set("From", "Mail Delivery System <MAILER-DAEMON@"+oneWord(d.ReportingMTA)+">")
	h.SetDate(d.date())
	var b bytes.Buffer
	if err := textproto.WriteHeader(&b, h.Header.Header); err != nil {
		p.err = err
		return
	}
	p.Write(bytes.TrimSuffix(b.Bytes(), []byte("\r\n"))) // the part's delimiter brings the empty line
}

// subject says what happened, and to what.
func (d *document) subject() string {
	what := [...]string{"Not delivered", "Delayed", "Delivered", "Sent on", "Sent on"}[d.Kind]
	if s := d.returned.subject; s != "" {
		return what + ": " + s
	}
	return what + ": your message"
}

// isMessageID reports whether s can stand in References: msg-id of RFC 5322
// §3.6.4, short and printable.
func isMessageID(s string) bool {
	if len(s) < 5 || len(s) > 250 || s[0] != '<' || s[len(s)-1] != '>' || strings.Count(s, "@") != 1 {
		return false
	}
	return !strings.ContainsFunc(s[1:len(s)-1], func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>()\\,;:\"", r) })
}

func stamp(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }
