package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
)

// person is an address with the name that a reader sees beside it.
type person struct {
	name    string
	address mail.Address
}

// draft is a message as it was asked for in JSON, checked.
type draft struct {
	from            person
	to, cc, bcc     []person
	replyTo         []person
	subject         string
	text, html      string
	hasText         bool // text may be empty
	hasHTML         bool
	headers         [][2]string
	attachments     []attachment
	sendAt          time.Time
	unsubscribe     *unsubscribe
	sizeAttachments int64
}

// attachment is a file in a message. Its content stays in the request's spool.
type attachment struct {
	filename  string
	media     string // with its parameters
	contentID string
	inline    bool
	content   *held
	size      int64 // decoded
}

// unsubscribe is what List-Unsubscribe says (RFC 2369, RFC 8058).
type unsubscribe struct {
	oneClick    bool
	list        string // what is unsubscribed from; empty: all mail of the account
	url, mailto string // elsewhere; without url, one_click leads to our own endpoint
}

var messageFields = []string{"from", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "headers", "attachments",
	"variables", "send_at", "list_unsubscribe"}

// Bounds of what a message may say, in octets.
const (
	maxSubject  = 2000
	maxDisplay  = 320
	maxFilename = 255
	maxHeaders  = 50
	maxValue    = 4000
	maxList     = 100
)

// reader makes drafts of a request's JSON.
type reader struct {
	form
	body     *spool.Spool
	limits   Limits
	oneClick bool // there are links of our own
}

// draft reads the message that n describes; what it lacks comes from common,
// which may be nil.
func (r *reader) draft(n, common *node) *draft {
	d := &draft{}
	if !r.object(n, messageFields...) {
		if n.kind == isNull {
			r.wrong(n, "an object is needed here")
		}
		return d
	}
	get := func(name string) *node {
		if v := n.members[name]; v != nil || common == nil {
			return v
		}
		return common.members[name]
	}
	if from := get("from"); from == nil || from.kind == isNull {
		r.errors = append(r.errors, fieldError{n.pointer() + "/from", "who sends it is needed"})
	} else {
		d.from = r.person(from)
	}
	d.to, d.cc, d.bcc = r.people(get("to")), r.people(get("cc")), r.people(get("bcc"))
	d.replyTo = r.people(get("reply_to"))
	if count := len(d.to) + len(d.cc) + len(d.bcc); count == 0 {
		r.errors = append(r.errors, fieldError{n.pointer() + "/to", "a recipient is needed, in to, cc or bcc"})
	} else if count > r.limits.Recipients {
		r.errors = append(r.errors, fieldError{n.pointer() + "/to", fmt.Sprintf("%d recipients, at most %d", count, r.limits.Recipients)})
	}
	d.subject = r.line(get("subject"), maxSubject)
	d.text, d.hasText = r.content(get("text"))
	d.html, d.hasHTML = r.content(get("html"))
	if !d.hasText && !d.hasHTML {
		r.errors = append(r.errors, fieldError{n.pointer() + "/text", "text or html is needed"})
	}
	d.headers = r.headers(get("headers"))
	r.attachments(d, get("attachments"))
	r.hold(d, get("send_at"))
	r.unsubscribe(d, get("list_unsubscribe"))
	r.expand(d, n, merged(n, common), get)
	return d
}

// content is text or html; there reports whether it was given.
func (r *reader) content(n *node) (s string, there bool) {
	if !r.is(n, isString) {
		return "", false
	}
	if strings.IndexByte(n.text, 0) >= 0 {
		r.wrong(n, "NUL in a text")
	}
	return n.text, true
}

// people reads one address or an array of them.
func (r *reader) people(n *node) []person {
	if n == nil || n.kind == isNull {
		return nil
	}
	if n.kind != isList {
		return []person{r.person(n)}
	}
	var list []person
	for _, e := range r.elements(n, r.limits.Recipients) {
		list = append(list, r.person(e))
	}
	return list
}

// person reads "alice@example.org", "Alice <alice@example.org>" or
// {"address": …, "name": …}.
func (r *reader) person(n *node) person {
	if n.kind == isObject {
		r.object(n, "address", "name")
		p := person{name: r.line(n.members["name"], maxDisplay)}
		at := n.members["address"]
		if at == nil {
			r.wrong(n, "it has no address")
			return p
		}
		p.address = r.address(at, r.line(at, mail.MaxPath))
		return p
	}
	s := r.line(n, mail.MaxPath+maxDisplay)
	if n.kind != isString || s == "" {
		if n.kind == isString {
			r.wrong(n, "an address is needed")
		} else if n.kind == isNull {
			r.wrong(n, "an address is needed, not null")
		}
		return person{}
	}
	name, inner, angle := cutAngle(s)
	if angle {
		return person{name, r.address(n, inner)}
	}
	return person{address: r.address(n, s)}
}

// cutAngle takes "Name <address>" apart; the name may stand in quotes.
func cutAngle(s string) (name, address string, ok bool) {
	s = strings.TrimSpace(s)
	open := strings.LastIndexByte(s, '<')
	if open < 0 || !strings.HasSuffix(s, ">") {
		return "", s, false
	}
	name = strings.TrimSpace(s[:open])
	if len(name) >= 2 && name[0] == '"' && name[len(name)-1] == '"' {
		name = unquote(name[1 : len(name)-1])
	}
	return name, s[open+1 : len(s)-1], true
}

// unquote takes the backslashes out of a quoted string (RFC 5322 §3.2.4).
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (r *reader) address(n *node, s string) mail.Address {
	a, err := mail.ParseAddress(strings.TrimSpace(s))
	if err != nil && n.kind == isString {
		r.wrong(n, "%q is no mail address", s)
	}
	return a
}

// hold reads when the message may leave (as RFC 4865 has it for SMTP).
func (r *reader) hold(d *draft, n *node) {
	d.sendAt = r.moment(n)
	if !d.sendAt.IsZero() && time.Until(d.sendAt) > r.limits.Hold {
		r.wrong(n, "at most %s from now", r.limits.Hold)
	}
}

func (r *reader) unsubscribe(d *draft, n *node) {
	if n == nil || !r.object(n, "one_click", "list", "url", "mailto") {
		return
	}
	u := &unsubscribe{oneClick: r.boolean(n.members["one_click"]), list: r.line(n.members["list"], maxList)}
	if at := n.members["url"]; at != nil {
		u.url = r.line(at, 900)
		if parsed, err := url.Parse(u.url); err != nil || parsed.Scheme != "https" || parsed.Host == "" || !isPrintable(u.url) || strings.ContainsAny(u.url, "<> ") {
			r.wrong(at, "an https address is needed (RFC 8058)")
		}
	}
	if at := n.members["mailto"]; at != nil {
		u.mailto = r.address(at, strings.TrimPrefix(r.line(at, mail.MaxPath), "mailto:")).String()
		if !isPrintable(u.mailto) || strings.ContainsAny(u.mailto, "<> \"?") {
			r.wrong(at, "only a plain ASCII address can stand here")
		}
	}
	if u.oneClick && u.url == "" && !r.oneClick {
		r.wrong(n, "this server has no links for one_click: give a url")
	}
	if !u.oneClick && u.url == "" && u.mailto == "" {
		r.wrong(n, "one_click, url or mailto is needed")
	}
	if u.oneClick && u.url == "" && len(d.to)+len(d.cc)+len(d.bcc) > 1 {
		r.wrong(n, "one_click takes off one recipient: send to each by itself, or give a url")
	}
	d.unsubscribe = u
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// attachments checks all but reads their contents only to see that they are
// base64, and how much.
func (r *reader) attachments(d *draft, n *node) {
	for _, e := range r.elements(n, r.limits.Attachments) {
		if !r.object(e, "filename", "content_type", "content", "content_id", "inline") {
			continue
		}
		a := attachment{filename: r.line(e.members["filename"], maxFilename), inline: r.boolean(e.members["inline"])}
		a.media = r.mediaType(e.members["content_type"])
		if id := e.members["content_id"]; id != nil {
			a.inline = true
			a.contentID = strings.TrimSuffix(strings.TrimPrefix(r.line(id, 200), "<"), ">")
			if !isContentID(a.contentID) {
				r.wrong(id, "letters, digits and .-_@+ are what it can have")
			}
		} else if a.inline {
			r.wrong(e, "what is inline needs a content_id, which html refers to as cid:")
		}
		content := e.members["content"]
		if content == nil || content.kind != isString {
			r.errors = append(r.errors, fieldError{e.pointer() + "/content", "base64 is needed"})
			continue
		}
		var err error
		if a.content, err = parseHeld(content.text, r.body); err == nil {
			a.size, err = io.Copy(io.Discard, a.open())
		}
		if err != nil {
			r.wrong(content, "not base64 (RFC 4648 §4): %s", plainly(err))
			continue
		}
		if d.sizeAttachments += a.size; d.sizeAttachments > r.limits.Message {
			r.wrong(n, "more than %d octets together", r.limits.Message)
			return
		}
		d.attachments = append(d.attachments, a)
	}
	inlines := 0
	for _, a := range d.attachments {
		if a.inline {
			inlines++
		}
	}
	if inlines > 0 && !d.hasHTML {
		r.wrong(n, "what is inline belongs to html, and there is none")
	}
}

func plainly(err error) string {
	if _, ok := errors.AsType[base64.CorruptInputError](err); ok || errors.Is(err, errEscape) {
		return "a character that it does not have"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return "it cannot be read"
}

// open gives the file itself.
func (a *attachment) open() io.Reader {
	return base64.NewDecoder(base64.StdEncoding, a.content.base64())
}

// mediaType is one that may be an attachment's: not multipart, whose parts we
// did not write, nor message/rfc822, which may not be base64 (RFC 2046 §5.2.1).
func (r *reader) mediaType(n *node) string {
	s := r.line(n, 200)
	if s == "" {
		return "application/octet-stream"
	}
	media, params, err := mime.ParseMediaType(s)
	formatted := mime.FormatMediaType(media, params)
	if err != nil || !strings.Contains(media, "/") || !isPrintable(formatted) || formatted == "" {
		r.wrong(n, "%q is no media type", s)
	}
	if strings.HasPrefix(media, "multipart/") || strings.HasPrefix(media, "message/") {
		r.wrong(n, "%s cannot be attached as base64", media)
	}
	delete(params, "name")
	return mime.FormatMediaType(media, params)
}

func isContentID(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_@+", c) >= 0) {
			return false
		}
	}
	return s != ""
}
