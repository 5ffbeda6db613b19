package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"posthouse/mailstore"
)

// maxFields bounds the header fields that are held back until it is known where
// the header ends; what follows is taken as it is.
const maxFields = 1 << 20

// mboxReader cuts an mbox into messages.
type mboxReader struct {
	in   *bufio.Reader
	date time.Time // of the message that comes next
	open bool      // its From line was read
}

// next reads one message, io.EOF after the last. A message that Thunderbird has
// deleted but not yet taken out has no body.
func (r *mboxReader) next(sink *Sink) (Message, error) {
	for !r.open { // the first one, or garbage before it
		line, err := r.in.ReadSlice('\n')
		if date, ok := fromLine(line); ok {
			r.date, r.open = date, true
		} else if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return Message{}, err
		}
	}
	r.open = false
	msg := Message{Date: r.date}
	body := sink.Spool()
	w := &mboxBody{out: toCRLF{w: body}, msg: &msg, header: true}
	if err := r.copy(w); err != nil {
		body.Close()
		return Message{}, err
	}
	if w.expunged {
		return msg, body.Close()
	}
	msg.Body = body
	return msg, nil
}

// copy copies lines up to the next separator: a From line after an empty line,
// which belongs to the separator.
func (r *mboxReader) copy(w *mboxBody) error {
	blank, inLine := false, false // an empty line is held back; the rest of a long line follows
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if !inLine && blank {
			if date, ok := fromLine(line); ok {
				r.date, r.open = date, true
				return w.end()
			}
		}
		ended := errors.Is(err, io.EOF)
		if blank && len(line) > 0 {
			if err := w.line([]byte("\n"), true); err != nil {
				return err
			}
			blank = false
		}
		switch {
		case len(line) == 0:
		case !inLine && len(bytes.TrimRight(line, "\r\n")) == 0 && w.header: // the end of the header is no separator's
			err := w.line(line, true)
			if err != nil {
				return err
			}
			// yet a From line may follow an empty body at once
			if next, peekErr := r.in.Peek(5); peekErr == nil && string(next) == "From " {
				blank, w.heldEmpty = true, true
			}
		case !inLine && len(bytes.TrimRight(line, "\r\n")) == 0:
			blank = true
		default:
			if err := w.line(line, !inLine); err != nil {
				return err
			}
		}
		if ended {
			return w.end()
		}
		inLine = errors.Is(err, bufio.ErrBufferFull)
	}
}

// mboxBody takes the lines of a message and keeps what the mbox has put among
// its header fields apart.
type mboxBody struct {
	out       toCRLF
	msg       *Message
	header    bool
	heldEmpty bool
	fields    bytes.Buffer
	last      []byte // the field that may go on
	expunged  bool
}

// line takes a line, or a part of one when start is false.
func (w *mboxBody) line(line []byte, start bool) error {
	if !w.header {
		if w.heldEmpty {
			w.heldEmpty = false
			return nil // it was written as the end of the header
		}
		if start {
			if rest := bytes.TrimLeft(line, ">"); len(rest) < len(line) && bytes.HasPrefix(rest, []byte("From ")) {
				line = line[1:]
			}
		}
		_, err := w.out.Write(line)
		return err
	}
	switch {
	case !start, len(line) > 0 && (line[0] == ' ' || line[0] == '\t'):
		w.last = append(w.last, line...)
	case len(bytes.TrimRight(line, "\r\n")) == 0:
		if err := w.endHeader(); err != nil {
			return err
		}
		_, err := w.out.Write(line)
		return err
	default:
		w.field()
		w.last = append(w.last, line...)
	}
	if w.fields.Len()+len(w.last) > maxFields {
		return w.endHeader()
	}
	return nil
}

// endHeader writes what was held back.
func (w *mboxBody) endHeader() error {
	w.field()
	w.header = false
	_, err := w.out.Write(w.fields.Bytes())
	w.fields = bytes.Buffer{}
	return err
}

func (w *mboxBody) end() error {
	if w.header {
		return w.endHeader()
	}
	return nil
}

// field takes one whole field: the mbox's own become flags and are left out.
func (w *mboxBody) field() {
	name, value, ok := strings.Cut(string(w.last[:min(len(w.last), 4096)]), ":")
	value = strings.TrimSpace(value)
	if !ok || !w.own(strings.ToLower(strings.TrimSpace(name)), value) {
		w.fields.Write(w.last)
	}
	w.last = w.last[:0]
}

// own reads the fields that mail programs keep their state of an mbox in.
func (w *mboxBody) own(name, value string) bool {
	m := w.msg
	set := func(letters string, flags map[rune]mailstore.Flags) {
		for _, c := range letters {
			m.Flags |= flags[c]
		}
	}
	switch name {
	case "status":
		set(value, map[rune]mailstore.Flags{'R': mailstore.FlagSeen})
	case "x-status":
		set(value, map[rune]mailstore.Flags{
			'A': mailstore.FlagAnswered, 'F': mailstore.FlagFlagged, 'D': mailstore.FlagDeleted, 'T': mailstore.FlagDraft})
	case "x-keywords", "x-mozilla-keys":
		m.Keywords = append(m.Keywords, strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\r' || r == '\n' })...)
	case "x-mozilla-status":
		w.mozilla(value)
	case "x-uidl":
		m.UIDL = value
		return false // other programs look for it
	case "x-mozilla-status2", "x-uid", "x-imap", "x-imapbase", "content-length":
	default:
		return false
	}
	return true
}

// mozilla reads Thunderbird's flags, four hexadecimal digits.
func (w *mboxBody) mozilla(value string) {
	bits, err := strconv.ParseUint(value, 16, 32)
	if err != nil {
		return
	}
	for bit, flag := range map[uint64]mailstore.Flags{1: mailstore.FlagSeen, 2: mailstore.FlagAnswered, 4: mailstore.FlagFlagged} {
		if bits&bit != 0 {
			w.msg.Flags |= flag
		}
	}
	if bits&0x1000 != 0 {
		w.msg.Keywords = append(w.msg.Keywords, "$Forwarded")
	}
	w.expunged = bits&8 != 0
}
