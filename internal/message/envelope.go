package message

// envelopeFields are what ENVELOPE is made of. Strings are nil where the field
// is missing. Fields that should stand once: the first counts; addresses of
// repeated fields are joined.
type envelopeFields struct {
	date, subject, inReplyTo, messageID []byte
	from, sender, replyTo, to, cc, bcc  []address
}

// parse reads the fields of a header. The values may share its memory.
func (e *envelopeFields) parse(header []byte) {
	*e = envelopeFields{from: e.from[:0], sender: e.sender[:0], replyTo: e.replyTo[:0], to: e.to[:0], cc: e.cc[:0], bcc: e.bcc[:0]}
	ScanFields(header, func(name, raw []byte) bool {
		if len(name) < 2 {
			return true
		}
		var text *[]byte
		var list *[]address
		switch lower(name[0]) {
		case 'd':
			text = pick(name, "date", &e.date)
		case 's':
			if text = pick(name, "subject", &e.subject); text == nil {
				list = pick(name, "sender", &e.sender)
			}
		case 'i':
			text = pick(name, "in-reply-to", &e.inReplyTo)
		case 'm':
			text = pick(name, "message-id", &e.messageID)
		case 'f':
			list = pick(name, "from", &e.from)
		case 'r':
			list = pick(name, "reply-to", &e.replyTo)
		case 't':
			list = pick(name, "to", &e.to)
		case 'c':
			list = pick(name, "cc", &e.cc)
		case 'b':
			list = pick(name, "bcc", &e.bcc)
		}
		if text == nil && list == nil {
			return true
		}
		_, value := splitField(raw)
		if value = unfold(value); list != nil {
			*list = parseAddresses(*list, value)
		} else if *text == nil {
			*text = present(value)
		}
		return true
	})
	if len(e.sender) == 0 {
		e.sender = e.from
	}
	if len(e.replyTo) == 0 {
		e.replyTo = e.from
	}
}

func pick[T any](name []byte, want string, field *T) *T {
	if equalFold(name, want) {
		return field
	}
	return nil
}

// append writes the ENVELOPE (RFC 3501 §7.4.2). The date is the field's own
// text, however bad it is.
func (e *envelopeFields) append(dst []byte) []byte {
	dst = append(dst, '(')
	dst = appendNString(dst, e.date)
	dst = append(dst, ' ')
	dst = appendNString(dst, e.subject)
	for _, list := range [][]address{e.from, e.sender, e.replyTo, e.to, e.cc, e.bcc} {
		dst = append(dst, ' ')
		dst = appendAddresses(dst, list)
	}
	dst = append(dst, ' ')
	dst = appendNString(dst, e.inReplyTo)
	dst = append(dst, ' ')
	dst = appendNString(dst, e.messageID)
	return append(dst, ')')
}

func appendAddresses(dst []byte, list []address) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range list {
		dst = list[i].append(dst)
	}
	return append(dst, ')')
}

// append writes one address. A NIL host marks a group, so a mailbox without a
// domain has an empty one.
func (a *address) append(dst []byte) []byte {
	switch a.role {
	case groupEnd:
		return append(dst, "(NIL NIL NIL NIL)"...)
	case groupStart:
		dst = append(dst, "(NIL NIL "...)
		dst = appendString(dst, a.mailbox)
		return append(dst, " NIL)"...)
	}
	dst = append(dst, '(')
	dst = appendNString(dst, a.name)
	dst = append(dst, ' ')
	dst = appendNString(dst, a.route)
	dst = append(dst, ' ')
	dst = appendString(dst, a.mailbox)
	dst = append(dst, ' ')
	dst = appendString(dst, a.host)
	return append(dst, ')')
}
