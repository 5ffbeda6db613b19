package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"posthouse/mailstore"
)

// MboxTarget writes mbox files (mboxrd): one for the only mailbox, or one for
// each in a folder. A file appears when it is whole; one that exists is an error.
type MboxTarget struct {
	path   string
	single bool
	file   *os.File
	w      *bufio.Writer
	final  string
}

// NewMbox writes to a file (single) or below a folder.
func NewMbox(path string, single bool) *MboxTarget { return &MboxTarget{path: path, single: single} }

// Begin makes the file of a mailbox.
func (t *MboxTarget) Begin(m mailstore.Mailbox, _ bool) error {
	t.final = t.path
	if !t.single {
		t.final = filepath.Join(t.path, filepath.FromSlash(m.Name)+".mbox")
	}
	if _, err := os.Stat(t.final); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s: %w", t.final, fs.ErrExist))
	}
	if err := os.MkdirAll(filepath.Dir(t.final), 0o700); err != nil {
		return err
	}
	var err error
	t.file, err = os.OpenFile(t.final+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		t.w = bufio.NewWriterSize(t.file, 64<<10)
	}
	return err
}

// Has says no: a file is written anew.
func (t *MboxTarget) Has(*Outgoing) (bool, error) { return false, nil }

// Put appends a message.
func (t *MboxTarget) Put(ctx context.Context, o *Outgoing) error {
	fmt.Fprintf(t.w, "From MAILER-DAEMON %s\n", o.Date.UTC().Format("Mon Jan _2 15:04:05 2006"))
	q := &fromQuoter{w: t.w, start: true, fields: mboxFields(o)}
	lf := &toLF{w: q}
	if _, err := o.Body.WriteRange(ctx, lf, 0, o.Body.Size()); err != nil {
		return err
	}
	if err := lf.Close(); err != nil {
		return err
	}
	if err := q.Close(); err != nil {
		return err
	}
	_, err := t.w.WriteString("\n")
	return err
}

// mboxFields are the flags as mbox keeps them.
func mboxFields(o *Outgoing) string {
	status, more := "O", ""
	if o.Flags&mailstore.FlagSeen != 0 {
		status = "RO"
	}
	for _, f := range []struct {
		flag   mailstore.Flags
		letter string
	}{{mailstore.FlagAnswered, "A"}, {mailstore.FlagFlagged, "F"}, {mailstore.FlagDraft, "T"}, {mailstore.FlagDeleted, "D"}} {
		if o.Flags&f.flag != 0 {
			more += f.letter
		}
	}
	fields := "Status: " + status + "\n"
	if more != "" {
		fields += "X-Status: " + more + "\n"
	}
	if len(o.Keywords) > 0 {
		fields += "X-Keywords: " + strings.Join(o.Keywords, " ") + "\n"
	}
	return fields
}

// End makes the file appear.
func (t *MboxTarget) End() error {
	file := t.file
	t.file = nil
	if err := errors.Join(t.w.Flush(), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(t.final+".new"))
	}
	return os.Rename(t.final+".new", t.final)
}

// Abort removes the file under way.
func (t *MboxTarget) Abort() {
	if t.file != nil {
		t.file.Close() // what was written is of no use
		os.Remove(t.final + ".new")
		t.file = nil
	}
}

// fromQuoter puts ">" before lines of a message that begin with "From ", behind
// any ">", and the fields before the first line: there they are at home in any
// message, but not before a line that would continue them.
type fromQuoter struct {
	w      *bufio.Writer
	start  bool   // at the start of a line
	held   []byte // of a line, while it may be one to quote
	fields string
	open   bool // the last line has no end yet
}

func (q *fromQuoter) Write(p []byte) (int, error) {
	if q.fields != "" && len(p) > 0 {
		if p[0] != ' ' && p[0] != '\t' {
			if _, err := q.w.WriteString(q.fields); err != nil {
				return 0, err
			}
		}
		q.fields = ""
	}
	for _, b := range p {
		if !q.start {
			if err := q.w.WriteByte(b); err != nil {
				return 0, err
			}
			q.start = b == '\n'
			q.open = !q.start
			continue
		}
		q.held = append(q.held, b)
		rest := bytes.TrimLeft(q.held, ">")
		if len(rest) == 0 && len(q.held) < 1000 || len(rest) > 0 && len(rest) < 5 && bytes.HasPrefix([]byte("From "), rest) {
			continue
		}
		if bytes.Equal(rest, []byte("From ")) {
			if err := q.w.WriteByte('>'); err != nil {
				return 0, err
			}
		}
		if err := q.release(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// release writes what was held back.
func (q *fromQuoter) release() error {
	if len(q.held) == 0 {
		return nil
	}
	q.start = q.held[len(q.held)-1] == '\n'
	q.open = !q.start
	_, err := q.w.Write(q.held)
	q.held = q.held[:0]
	return err
}

// Close ends the last line.
func (q *fromQuoter) Close() error {
	if q.fields != "" { // an empty message
		if _, err := q.w.WriteString(q.fields); err != nil {
			return err
		}
	}
	if err := q.release(); err != nil {
		return err
	}
	if q.open {
		return q.w.WriteByte('\n')
	}
	return nil
}
