package message

import (
	"bytes"
	"crypto/sha256"
)

// ThreadID stands for one message id in ThreadKeys: the first octets of the
// SHA-256 of its unquoted form.
type ThreadID [16]byte

// What the first octet of ThreadKeys says.
const (
	threadReply = 1 << iota // the subject is that of a reply or a forwarded message
	threadOwn               // the message has an id of its own: the first of those that follow
)

// ThreadKeys is what THREAD=REFERENCES (RFC 5256 §3) asks of a header, packed: an
// octet of bits, then 16 octets for each message id: its own, if it has one, and
// its references, oldest first: the ids of References, else the first of
// In-Reply-To. Of more than 200 references the first and the last 199 are kept.
// The header may be its subset (Parsed.HeaderSubset).
func ThreadKeys(header []byte) []byte {
	var subject, messageID, inReplyTo, refs []byte
	ScanFields(header, func(name, raw []byte) bool {
		var field *[]byte
		switch len(name) {
		case len("subject"):
			field = pick(name, "subject", &subject)
		case len("references"):
			if field = pick(name, "message-id", &messageID); field == nil {
				field = pick(name, "references", &refs)
			}
		case len("in-reply-to"):
			field = pick(name, "in-reply-to", &inReplyTo)
		}
		if field != nil && *field == nil {
			_, value := splitField(raw)
			*field = present(unfold(value))
		}
		return true
	})
	_, reply := BaseSubject(subject)
	return threadKeys(messageID, refs, inReplyTo, reply)
}

func threadKeys(messageID, references, inReplyTo []byte, reply bool) []byte {
	out := make([]byte, 1, 1+3*len(ThreadID{}))
	if reply {
		out[0] |= threadReply
	}
	if own, _, ok := cutMessageID(messageID); ok {
		out[0] |= threadOwn
		out = appendThreadID(out, own)
	}
	var ids [][]byte
	for rest := references; ; {
		id, after, ok := cutMessageID(rest)
		if !ok {
			break
		}
		if rest = after; len(ids) == 2*maxReferences { // keep memory in bounds
			ids = append(ids[:1], ids[len(ids)-maxReferences+1:]...)
		}
		ids = append(ids, id)
	}
	if len(ids) > maxReferences {
		ids = append(ids[:1], ids[len(ids)-maxReferences+1:]...)
	}
	if len(ids) == 0 {
		if id, _, ok := cutMessageID(inReplyTo); ok {
			ids = [][]byte{id}
		}
	}
	for _, id := range ids {
		out = appendThreadID(out, id)
	}
	return out
}

func appendThreadID(dst, id []byte) []byte {
	sum := sha256.Sum256(id)
	return append(dst, sum[:len(ThreadID{})]...)
}

// DecodeThreadKeys takes ThreadKeys apart; ok is false for what they never are.
func DecodeThreadKeys(packed []byte) (reply, hasOwn bool, ids []ThreadID, ok bool) {
	const size = len(ThreadID{})
	if len(packed)%size != 1 {
		return false, false, nil, false
	}
	ids = make([]ThreadID, len(packed)/size)
	for i := range ids {
		ids[i] = ThreadID(packed[1+i*size:])
	}
	hasOwn = packed[0]&threadOwn != 0
	return packed[0]&threadReply != 0, hasOwn, ids, !hasOwn || len(ids) > 0
}

// cutMessageID finds the next valid msg-id (RFC 5322 §3.6.4, with the white space
// that folding left in it forgiven): what stands between the brackets, the quotes
// of its left side removed, because RFC 5256 §3 compares ids so.
func cutMessageID(s []byte) (id, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(s, '<')
		if i < 0 {
			return nil, nil, false
		}
		s = s[i+1:]
		if id, n, ok := readMessageID(s[:min(len(s), maxMessageID)]); ok {
			return id, s[n:], true
		}
	}
}

// readMessageID reads n octets, up to the closing bracket.
func readMessageID(s []byte) (id []byte, n int, ok bool) {
	id = make([]byte, 0, min(len(s), 80))
	at, quoted := -1, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' && at < 0:
			quoted = !quoted
			continue
		case c == '\\' && quoted && i+1 < len(s):
			i++
			c = s[i]
		case quoted:
		case c <= ' ':
			continue
		case c == '@':
			at = len(id)
		case c == '<':
			return nil, 0, false
		case c == '>':
			return id, i + 1, at > 0 && at < len(id)-1
		}
		id = append(id, c)
	}
	return nil, 0, false
}
