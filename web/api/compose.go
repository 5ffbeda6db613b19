package api

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message"
)

// composer writes a draft as MIME.
type composer struct {
	*draft
	id, hostname string
	unsubscribe  string // our own link for the one recipient; empty: none
	date         time.Time
}

// write sends the message to w: 7-bit, unless an address is not ASCII, with
// lines of at most 998 octets. The parts are
//
//	mixed( alternative( text, related( html, inline… ) ), attachment… )
//
// and of these only what is needed.
func (c *composer) write(w io.Writer) error {
	top := c.header()
	root := c.tree()
	top = append(top, root.fields...)
	return root.write(func(h message.Header) (*message.Writer, error) { return message.CreateWriter(w, h) }, top)
}

// header are the fields of the message itself.
func (c *composer) header() [][]byte {
	list := [][]byte{
		rawField("Date", c.date.Format(time.RFC1123Z)),
		rawField("From", c.from.String()),
	}
	for _, f := range []struct {
		name   string
		people []person
	}{{"Reply-To", c.replyTo}, {"To", c.to}, {"Cc", c.cc}} {
		if len(f.people) > 0 {
			list = append(list, rawField(f.name, addressList(f.people)))
		}
	}
	if len(c.to)+len(c.cc) == 0 { // all of them blind: some servers want a field (RFC 5322 §A.1.3)
		list = append(list, rawField("To", "undisclosed-recipients:;"))
	}
	if c.subject != "" {
		list = append(list, rawField("Subject", unstructured(c.subject)))
	}
	list = append(list, rawField("Message-ID", "<"+c.id+"@"+c.hostname+">"), rawField("MIME-Version", "1.0"))
	list = append(list, c.listUnsubscribe()...)
	for _, h := range c.headers {
		list = append(list, rawField(h[0], unstructured(h[1])))
	}
	return list
}

// listUnsubscribe: RFC 8058 wants both fields, and both signed.
func (c *composer) listUnsubscribe() (list [][]byte) {
	u := c.draft.unsubscribe
	if u == nil {
		return nil
	}
	var links []string
	link := u.url
	if link == "" {
		link = c.unsubscribe
	}
	if link != "" {
		links = append(links, "<"+link+">")
	}
	if u.mailto != "" {
		links = append(links, "<mailto:"+u.mailto+">")
	}
	list = append(list, rawField("List-Unsubscribe", strings.Join(links, ", ")))
	if u.oneClick {
		list = append(list, rawField("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
	}
	return list
}

// part is an entity and what stands in it.
type part struct {
	fields [][]byte
	parts  []*part
	open   func() io.Reader // of a leaf
}

// tree lays the parts out.
func (c *composer) tree() *part {
	var inline, attached []*part
	for _, a := range c.attachments {
		if a.inline {
			inline = append(inline, a.part("inline"))
		} else {
			attached = append(attached, a.part("attachment"))
		}
	}
	var body []*part
	if c.hasText {
		body = append(body, textPart("plain", c.text))
	}
	if c.hasHTML {
		body = append(body, multipart("related", append([]*part{textPart("html", c.html)}, inline...)))
	}
	return multipart("mixed", append([]*part{multipart("alternative", body)}, attached...))
}

// multipart holds parts; where there is only one, that is enough.
func multipart(kind string, parts []*part) *part {
	if len(parts) == 1 {
		return parts[0]
	}
	value := "multipart/" + kind + "; boundary=" + boundary()
	if kind == "related" { // RFC 2387 §3.1
		value = "multipart/related; type=\"text/html\"; boundary=" + boundary()
	}
	return &part{fields: [][]byte{rawField("Content-Type", value)}, parts: parts}
}

// boundary stands in no text: it is random. Neither base64 nor
// quoted-printable has "=_".
func boundary() string { return "\"=_" + strings.ToLower(rand.Text()) + "\"" }

// textPart is a text in UTF-8, its line ends CRLF.
func textPart(kind, text string) *part {
	text = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n", "\r\n")
	if !strings.HasSuffix(text, "\r\n") { // a message ends with a line's end
		text += "\r\n"
	}
	return &part{
		fields: [][]byte{
			rawField("Content-Type", "text/"+kind+"; charset=utf-8"),
			rawField("Content-Transfer-Encoding", "quoted-printable"),
		},
		open: func() io.Reader { return strings.NewReader(text) },
	}
}

func (a *attachment) part(kind string) *part {
	p := &part{fields: [][]byte{
		rawField("Content-Type", a.media),
		rawField("Content-Transfer-Encoding", "base64"),
		rawField("Content-Disposition", disposition(kind, a.filename)),
	}, open: a.open}
	if a.contentID != "" {
		p.fields = append(p.fields, rawField("Content-ID", "<"+a.contentID+">"))
	}
	return p
}

// write sends the part through the writer that create makes of its header.
func (p *part) write(create func(message.Header) (*message.Writer, error), fields [][]byte) error {
	var h message.Header
	for _, f := range slices.Backward(fields) { // each goes to the top
		h.AddRaw(f)
	}
	w, err := create(h)
	if err != nil {
		return err
	}
	for _, sub := range p.parts {
		if err := sub.write(w.CreatePart, sub.fields); err != nil {
			return err
		}
	}
	if p.open != nil {
		if _, err := io.Copy(w, p.open()); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write a part: %w", err)
	}
	return nil
}

// bounded refuses a message that grows over the limit while it is written.
type bounded struct {
	w    io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fault("too-large", "The message is larger than this server takes")
	}
	return b.w.Write(p)
}
