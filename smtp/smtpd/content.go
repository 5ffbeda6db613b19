package smtpd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"posthouse/internal/mail"
	"posthouse/internal/spool"
	"posthouse/internal/submission"
)

// content takes the octets of a body, as sent but for the dots, checks them and
// spools them verbatim. Its first complaint is kept, and the rest is read over
// so that the session stays in step.
type content struct {
	out    io.Writer // the spool, or what edits the header on its way there
	limits Limits
	binary bool // BODY=BINARYMIME: anything goes behind the header

	size     int64
	err      error // the first complaint
	behind   bool  // the header has ended
	line     int64 // octets in the current line so far
	start    [9]byte
	cr       bool // the last octet was a CR
	received int
	sum      hash.Hash // of what was received, where out changes it; or nil
}

var errEndless = errors.New("the client goes on beyond twice the limit")

func (t *content) complain(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Write fails only when the client has sent more than twice what it may.
func (t *content) Write(p []byte) (int, error) {
	if t.size += int64(len(p)); t.size > t.limits.Message {
		t.complain(mail.Refuse(552, mail.Enhanced{5, 3, 4}, tooLarge(t.limits.Message)))
		if t.size > 2*t.limits.Message {
			return 0, errEndless
		}
	}
	if t.err != nil {
		return len(p), nil
	}
	t.check(p)
	if t.err != nil {
		return len(p), nil
	}
	if t.sum != nil {
		t.sum.Write(p)
	}
	if _, err := t.out.Write(p); err != nil {
		if _, ok := errors.AsType[*mail.Error](err); !ok {
			err = mail.Defer(452, mail.Enhanced{4, 3, 1}, "No space for the message, try again later", err)
		}
		t.complain(err)
	}
	return len(p), nil
}

// check looks at every line of p: its end, its length, NULs and, in the
// header, Received fields.
func (t *content) check(p []byte) {
	for len(p) > 0 && t.err == nil {
		if t.binary && t.behind {
			return
		}
		part := p
		i := bytes.IndexByte(p, '\n')
		if i >= 0 {
			part = p[:i+1]
		}
		p = p[len(part):]
		t.checkPart(part)
		if i >= 0 && t.err == nil {
			t.endLine()
		}
	}
}

// checkPart takes a piece of one line, with its LF if it ends here.
func (t *content) checkPart(part []byte) {
	if t.line < int64(len(t.start)) {
		copy(t.start[t.line:], part)
	}
	t.line += int64(len(part))
	if t.bare(part) {
		t.complain(errBare)
	}
	if bytes.IndexByte(part, 0) >= 0 {
		t.complain(mail.Refuse(550, mail.Enhanced{5, 6, 0}, "NUL in the message needs BODY=BINARYMIME"))
	}
	if t.line > t.limits.Line {
		t.complain(mail.Refuse(550, mail.Enhanced{5, 6, 0}, fmt.Sprintf("Line of more than %d octets", t.limits.Line)))
	}
}

// bare reports whether part, after what came before, has a CR or LF that is not
// half of a CRLF. A CR at its end waits for the next part.
func (t *content) bare(part []byte) bool {
	first, last := part[0], len(part)-1
	bad := t.cr && first != '\n'
	if part[last] == '\n' {
		bad = bad || last == 0 && !t.cr || last > 0 && part[last-1] != '\r'
	}
	if i := bytes.IndexByte(part, '\r'); i >= 0 && i < last {
		bad = bad || i+1 != last || part[last] != '\n'
	}
	t.cr = part[last] == '\r'
	return bad
}

func (t *content) endLine() {
	if !t.behind {
		if t.line == 2 {
			t.behind = true
		} else if t.line >= int64(len(t.start)) && bytes.EqualFold(t.start[:], []byte("Received:")) {
			if t.received++; t.received > t.limits.Hops {
				t.complain(mail.Refuse(554, mail.Enhanced{5, 4, 6}, fmt.Sprintf("Loop: more than %d Received fields", t.limits.Hops)))
			}
		}
	}
	t.line = 0
}

var errBare = mail.Refuse(550, mail.Enhanced{5, 6, 0}, "Bare CR or LF in the message (RFC 5321, 2.3.8)")

// receiveBody spools the body that r yields. On an error there is no spool.
func (c *conn) receiveBody(tx *transaction, r io.Reader) (*spool.Spool, error) {
	s := spool.New(c.srv.cfg.SpoolDir, c.srv.cfg.Limits.Memory)
	t := &content{out: s, limits: c.srv.cfg.Limits, binary: tx.Body == mail.BodyBinary}
	var edit *submission.Editor
	if c.account.ID != 0 {
		edit = c.newEditor(tx, s)
		t.out = edit
		t.sum = sha256.New()
	}
	var err error
	if c.stage == stageChunks {
		_, err = io.Copy(t, &shorten{r: r, extra: func() int { return tx.extra }})
	} else {
		err = c.readBody(t)
	}
	switch {
	case tx.abandoned:
		err = errAbandoned
	case errors.Is(err, errEndless):
		c.abort("552 5.3.4 " + errEndless.Error())
	case err != nil: // nobody is there to hear of it
		err = mail.Defer(451, mail.Enhanced{4, 4, 2}, "Message broken off", err)
	case tx.poisoned:
		err = errBare
	case t.err != nil:
		err = t.err
	case t.cr && !t.binary:
		err = errBare
	case edit != nil:
		err = edit.Finish()
		tx.author = edit.Author
	}
	if t.sum != nil {
		t.sum.Sum(tx.sum[:0])
	}
	if err != nil {
		s.Close() // an unlinked file: there is nothing to lose
		return nil, err
	}
	return s, nil
}

// abort says a last word and drops the connection, in the middle of a body.
func (c *conn) abort(reply string) {
	c.out.WriteString(reply + "\r\n")
	if err := c.flush(); err != nil {
		c.log.Debug("last reply not sent", "event", "smtp.close", "error", err.Error())
	}
	c.ending.Store(true)
	c.dead.Store(true)
}
