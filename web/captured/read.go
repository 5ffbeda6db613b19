package captured

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // parts in other charsets than UTF-8

	"posthouse/internal/message"
	"posthouse/mailstore"
)

// maxText bounds the decoded texts in an answer, in octets each.
const maxText = 2 << 20

// detail is a message with its texts and the list of its attachments.
type detail struct {
	summary
	Header      []headerField `json:"header"` // in their order; values unfolded and decoded
	Text        string        `json:"text"`   // of the text/plain parts
	HTML        string        `json:"html"`   // of the text/html parts, as sent
	Truncated   bool          `json:"truncated,omitempty"`
	Attachments []attachment  `json:"attachments"`
}

type headerField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// attachment is a part that is not the text.
type attachment struct {
	Part        string `json:"part"` // its number as in IMAP, for /parts/
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	ContentID   string `json:"content_id,omitempty"`
	Inline      bool   `json:"inline"` // HTML shows it
	Size        int64  `json:"size"`   // octets as transferred
}

// leaf is a part that holds no parts.
type leaf struct {
	message.Part
	header gomessage.Header
	number string
}

// opened is a message that is being read.
type opened struct {
	m      *mailstore.Message
	body   *mailstore.BodyReader
	leaves []leaf
}

const readFields = listFields | mailstore.FieldParts

func (h *handler) open(r *http.Request) (*opened, error) {
	m, err := h.one(r, readFields)
	if err != nil {
		return nil, err
	}
	o := &opened{m: m, body: h.Store.OpenBody(r.Context(), m)}
	parts, err := message.DecodeParts(m.Parts)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", m.UID, err)
	}
	return o, o.walk(parts, nil)
}

// walk collects the leaves below a path. Messages in messages are leaves: they
// are attachments.
func (o *opened) walk(parts message.PartIndex, path []int) error {
	p, ok := parts.Lookup(path)
	if !ok {
		return nil
	}
	if p.IsMultipart {
		for i := 1; i <= message.MaxParts; i++ {
			child := append(append([]int(nil), path...), i)
			if _, ok := parts.Lookup(child); !ok {
				break
			}
			if err := o.walk(parts, child); err != nil {
				return err
			}
		}
		return nil
	}
	raw := make([]byte, min(p.HeaderLen, message.MaxHeader))
	if _, err := o.body.ReadAt(raw, o.offset(p.HeaderOff)); err != nil && err != io.EOF {
		return err
	}
	l := leaf{Part: p, number: "1"}
	message.ScanFields(raw, func(name, field []byte) bool {
		if n := len("content-"); len(name) >= n && strings.EqualFold(string(name[:n]), "content-") {
			_, value, _ := strings.Cut(string(field), ":")
			l.header.Add(string(name), strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(value)))
		}
		return true
	})
	if len(path) > 0 {
		numbers := make([]string, len(path))
		for i, n := range path {
			numbers[i] = strconv.Itoa(n)
		}
		l.number = strings.Join(numbers, ".")
	}
	o.leaves = append(o.leaves, l)
	return nil
}

// offset is where an offset of the parsed message lies behind the prefix.
func (o *opened) offset(off int64) int64 { return int64(len(o.m.Prefix)) + off }

// decoded is the content of a leaf without its transfer encoding, and for text
// in UTF-8. Where a charset or an encoding is unknown it is as it came.
func (o *opened) decoded(l *leaf) (io.Reader, error) {
	e, err := gomessage.New(l.header, io.NewSectionReader(o.body, o.offset(l.BodyOff), l.BodyLen))
	if err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
		return nil, err
	}
	return e.Body, nil
}

// isText reports whether a leaf is one of the message's own texts.
func (l *leaf) isText() bool {
	disposition, _, _ := mime.ParseMediaType(l.header.Get("Content-Disposition"))
	return (l.ContentType == "text/plain" || l.ContentType == "text/html") && disposition != "attachment"
}

func (l *leaf) attachment() attachment {
	disposition, params, err := l.header.ContentDisposition()
	name := params["filename"]
	if err != nil || name == "" {
		_, params, _ = l.header.ContentType()
		name = params["name"]
	}
	id := strings.Trim(l.header.Get("Content-Id"), "<> ")
	return attachment{Part: l.number, Filename: message.DecodeHeader([]byte(name)), ContentType: l.ContentType, ContentID: id,
		Inline: disposition == "inline" || id != "" && disposition == "", Size: l.BodyLen}
}

// text joins the decoded leaves of one type. It is cut at maxText, and where a
// part cannot be decoded any further.
func (o *opened) text(contentType string) (text string, cut bool, err error) {
	var b strings.Builder
	for i := range o.leaves {
		l := &o.leaves[i]
		if l.ContentType != contentType || !l.isText() || cut {
			continue
		}
		body, err := o.decoded(l)
		if err != nil {
			return "", false, err
		}
		n, err := io.CopyN(&b, body, int64(maxText-b.Len()))
		cut = err != nil && err != io.EOF || err == nil && n > 0
	}
	return strings.ToValidUTF8(b.String(), "\ufffd"), cut, nil
}

// show answers with everything about one message.
func (h *handler) show(w http.ResponseWriter, r *http.Request) error {
	o, err := h.open(r)
	if err != nil {
		return err
	}
	d := detail{summary: summarize(o.m), Attachments: []attachment{}}
	if d.Header, err = o.header(); err != nil {
		return err
	}
	var cutText, cutHTML bool
	if d.Text, cutText, err = o.text("text/plain"); err != nil {
		return err
	}
	if d.HTML, cutHTML, err = o.text("text/html"); err != nil {
		return err
	}
	d.Truncated = cutText || cutHTML
	for i := range o.leaves {
		if l := &o.leaves[i]; !l.isText() {
			d.Attachments = append(d.Attachments, l.attachment())
		}
	}
	return h.json(w, d)
}

// header is the message's header with the fields that delivery put in front.
func (o *opened) header() ([]headerField, error) {
	raw := make([]byte, min(o.body.Size(), message.MaxHeader))
	if _, err := o.body.ReadAt(raw, 0); err != nil && err != io.EOF {
		return nil, err
	}
	fields := []headerField{}
	message.ScanFields(raw, func(name, field []byte) bool {
		if len(name) > 0 {
			_, value, _ := strings.Cut(string(field), ":")
			fields = append(fields, headerField{string(name), strings.TrimSpace(message.DecodeHeader([]byte(value)))})
		}
		return true
	})
	return fields, nil
}

// source answers with the message's octets.
func (h *handler) source(w http.ResponseWriter, r *http.Request) error {
	m, err := h.one(r, mailstore.FieldPrefix)
	if err != nil {
		return err
	}
	body := h.Store.OpenBody(r.Context(), m)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8") // browsers show it, and run nothing in it
	w.Header().Set("Content-Length", strconv.FormatInt(body.Size(), 10))
	if _, err := body.WriteRange(r.Context(), w, 0, body.Size()); err != nil {
		return h.broken(r, err)
	}
	return nil
}

// part answers with a decoded part as a download.
func (h *handler) part(w http.ResponseWriter, r *http.Request) error {
	o, err := h.open(r)
	if err != nil {
		return err
	}
	for i := range o.leaves {
		if o.leaves[i].number == r.PathValue("part") {
			return h.send(w, r, o, &o.leaves[i], true)
		}
	}
	return notFound("Message %d has no part %s", o.m.UID, r.PathValue("part"))
}

// inline answers with the image that HTML names by its Content-ID (RFC 2392).
func (h *handler) inline(w http.ResponseWriter, r *http.Request) error {
	o, err := h.open(r)
	if err != nil {
		return err
	}
	for i := range o.leaves {
		l := &o.leaves[i]
		if l.attachment().ContentID == r.PathValue("cid") && images[l.ContentType] {
			return h.send(w, r, o, l, false)
		}
	}
	return notFound("Message %d has no image with the Content-ID %s", o.m.UID, r.PathValue("cid"))
}

// images are the types that may be shown in place. SVG is not among them: it
// is a document.
var images = map[string]bool{"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/bmp": true}

func (h *handler) send(w http.ResponseWriter, r *http.Request, o *opened, l *leaf, download bool) error {
	body, err := o.decoded(l)
	if err != nil {
		return err
	}
	contentType, disposition := l.ContentType, "inline"
	if download {
		name := l.attachment().Filename
		if name == "" {
			name = "part-" + l.number
		}
		disposition = mime.FormatMediaType("attachment", map[string]string{"filename": name})
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", disposition)
	if _, err := io.Copy(w, body); err != nil {
		return h.broken(r, err)
	}
	return nil
}

// broken ends an answer that has begun: the client must not take it for whole.
func (h *handler) broken(r *http.Request, err error) error {
	h.Log.Info("captured mail broken off", "event", "captured", "path", r.URL.Path, "err", err)
	panic(http.ErrAbortHandler)
}
