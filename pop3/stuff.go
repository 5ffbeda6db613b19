package pop3

import (
	"bufio"
	"bytes"
)

// stuffer writes a message as a multi-line response (RFC 1939 §3): every line
// ended by CRLF, a dot doubled at its start, a dot alone at the end. With a
// limit of body lines it stops there (TOP).
type stuffer struct {
	w      *bufio.Writer
	left   int   // body lines still to be sent; below 0: all
	octets int64 // sent, without the dots doubled and the last one

	header bool // no empty line yet
	start  bool // at the start of a line
	empty  bool // this line has nothing yet but perhaps a CR
	cr     bool // the octet before was CR
	done   bool // the limit was reached
}

// write takes the next octets of the message.
func (o *stuffer) write(p []byte) error {
	for len(p) > 0 && !o.done {
		if o.start {
			if o.left == 0 && !o.header {
				o.done = true
				return nil
			}
			o.start, o.empty = false, true
			if p[0] == '.' {
				if err := o.w.WriteByte('.'); err != nil {
					return err
				}
			}
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			return o.part(p)
		}
		if err := o.part(p[:end]); err != nil {
			return err
		}
		if err := o.endLine(); err != nil {
			return err
		}
		p = p[end+1:]
	}
	return nil
}

// part writes some of a line.
func (o *stuffer) part(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if o.empty && !(len(p) == 1 && p[0] == '\r' && !o.cr) {
		o.empty = false
	}
	o.cr = p[len(p)-1] == '\r'
	o.octets += int64(len(p))
	_, err := o.w.Write(p)
	return err
}

// endLine writes what is missing of a CRLF.
func (o *stuffer) endLine() error {
	end := "\r\n"
	if o.cr {
		end = "\n"
	}
	o.octets += int64(len(end))
	if o.header {
		o.header = !o.empty
	} else if o.left > 0 {
		o.left--
	}
	o.start, o.cr, o.empty = true, false, false
	_, err := o.w.WriteString(end)
	return err
}

// finish ends the last line, if it needs that, and the response.
func (o *stuffer) finish() error {
	if !o.start { // the last line has no LF, perhaps a CR that belongs to it
		o.cr = false
		if err := o.endLine(); err != nil {
			return err
		}
	}
	_, err := o.w.WriteString(".\r\n")
	return err
}
