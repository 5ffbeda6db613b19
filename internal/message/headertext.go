package message

import (
	"bytes"
	"strings"
)

// maxHeaderText bounds Parsed.HeaderText, in octets.
const maxHeaderText = 64 << 10

// HeaderTextCut stands for a HeaderText that would be beyond its bound.
const HeaderTextCut = "\x01\x01\x01\x01\x03"

// The fields of HeaderText, in their order.
const (
	TextFrom = iota
	TextTo
	TextCc
	TextBcc
	TextSubject
	textFields
)

// HeaderTextField is the place of a field (any case) in Parsed.HeaderText: the
// text between the 0x01 octets before and behind it. ok is false for fields that
// are not in it.
//
// HeaderText is five such texts, parted by 0x01: From, To, Cc, Bcc, Subject.
// Each field of that name adds 0x02 and its folded value, so that an empty text
// means that there is none. Folded text has no octet below 0x20: a folded needle
// matches a field exactly when it is contained in the field's text. Where that
// would be too long it is HeaderTextCut, and the header has to be read.
func HeaderTextField(name string) (place int, ok bool) {
	for i, n := range [textFields]string{"from", "to", "cc", "bcc", "subject"} {
		if strings.EqualFold(name, n) {
			return i, true
		}
	}
	return 0, false
}

// headerText makes the folded text of the fields that are searched most.
func headerText(header []byte) string {
	var texts [textFields][]byte
	size, cut := 0, false
	ScanFields(header, func(name, raw []byte) bool {
		if len(name) < 2 || len(name) > len("subject") {
			return true
		}
		place, ok := HeaderTextField(string(name))
		if !ok {
			return true
		}
		before := len(texts[place])
		texts[place] = appendFieldText(texts[place], name, raw)
		size += len(texts[place]) - before
		cut = cut || size > maxHeaderText
		return !cut
	})
	if cut {
		return HeaderTextCut
	}
	out := make([]byte, 0, size+textFields)
	for i, t := range texts {
		if i > 0 {
			out = append(out, 1)
		}
		out = append(out, t...)
	}
	return string(out)
}

// appendFieldText appends 0x02 and the folded value of one field. Address lists
// with comments, escapes or odd white space are there a second time, as a client
// shows them: "Name <local@domain>".
func appendFieldText(dst, name, raw []byte) []byte {
	_, value := splitField(raw)
	value = unfold(value)
	dst = append(dst, 2)
	if isASCII(value) && !bytes.Contains(value, []byte("=?")) {
		dst = FoldBytes(dst, value)
	} else {
		dst = FoldBytes(dst, []byte(DecodeHeader(value)))
	}
	if !isAddressField(name) || !oddAddresses(value) {
		return dst
	}
	dst = append(dst, 2)
	var line []byte
	for _, a := range parseAddresses(nil, value) {
		line = a.appendPlain(line)
	}
	return FoldBytes(dst, []byte(DecodeHeader(line)))
}

func isAddressField(name []byte) bool {
	switch len(name) {
	case 2, 3, 4, 6, 8:
		return among(name, addressFields)
	}
	return false
}

var addressFields = []string{"from", "to", "cc", "bcc", "sender", "reply-to"}

// oddAddresses reports whether the plain form of an address list reads other
// than its text.
func oddAddresses(value []byte) bool {
	for i, c := range value {
		switch {
		case c == '\\' || c == '(':
			return true
		case c == '@' || c == '.':
			if i > 0 && value[i-1] == ' ' || c == '@' && i+1 < len(value) && value[i+1] == ' ' {
				return true
			}
		}
	}
	return false
}

// appendPlain writes an address as people read it.
func (a *address) appendPlain(dst []byte) []byte {
	switch a.role {
	case groupStart:
		return append(append(dst, a.mailbox...), ": "...)
	case groupEnd:
		return append(bytes.TrimSuffix(dst, []byte(", ")), "; "...)
	}
	if a.name != nil {
		dst = append(append(dst, a.name...), " <"...)
	}
	dst = append(dst, a.mailbox...)
	if len(a.host) > 0 {
		dst = append(append(dst, '@'), a.host...)
	}
	if a.name != nil {
		dst = append(dst, '>')
	}
	return append(dst, ", "...)
}

// SearchHeaderField reports whether a field of that name in the header contains
// the folded needle; the empty needle asks whether there is such a field.
func SearchHeaderField(header []byte, name, foldedNeedle string) bool {
	found := false
	var text []byte
	ScanFields(header, func(n, raw []byte) bool {
		if equalFold(n, name) {
			text = appendFieldText(text[:0], n, raw)
			found = bytes.Contains(text, []byte(foldedNeedle))
		}
		return !found
	})
	return found
}
