package imapd

import (
	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// mailboxArg reads a mailbox name and decodes it. A name that cannot be is
// refused with NO, after the rest of the command was skipped.
func (s *session) mailboxArg(lex *wire.Lexer) (string, error) {
	raw, err := lex.Astring()
	if err != nil {
		return "", err
	}
	s.wrote = raw
	return s.decodeName(raw)
}

// decodeName decodes a mailbox name, and notes that the command is about it.
func (s *session) decodeName(raw string) (string, error) {
	name, err := wire.DecodeMailbox(raw, s.utf8())
	s.named = append(s.named, name)
	return name, err
}

// messages resolves what a client wrote: UIDs, sequence numbers of the view, or "$".
// UIDs that do not exist are ignored; a sequence number beyond the last is an
// error (RFC 3501 §9, seq-number), except in an empty mailbox, where clients ask
// for 1:* all the same.
func (s *session) messages(set wire.NumSet, uid bool) (mailstore.UIDSet, error) {
	view := s.box.view
	count := uint32(view.Len())
	if count == 0 {
		return nil, nil
	}
	if set.Saved() {
		return s.savedResult(), nil
	}
	if uid {
		asked := make(mailstore.UIDSet, 0, len(set))
		for _, r := range set.Within(uint32(view.UID(view.Len()))) {
			asked.AddRange(mailstore.UID(r.First), mailstore.UID(r.Last))
		}
		return s.present(asked), nil
	}
	for _, r := range set {
		if r.First > count && r.Last != wire.Star && r.Last > count || r.Last > count && r.First == r.Last {
			return nil, bad("No message has the sequence number %d", r.First)
		}
	}
	return s.numbered(set), nil
}

// numbered are the messages of these sequence numbers, as far as there are any.
func (s *session) numbered(set wire.NumSet) mailstore.UIDSet {
	view := s.box.view
	count := uint32(view.Len())
	var uids mailstore.UIDSet
	for _, r := range set.Within(count) {
		if r.First > count {
			break
		}
		for _, found := range view.UIDs(int(r.First), int(min(r.Last, count))) {
			uids.AddRange(found.Lo, found.Hi)
		}
	}
	return uids
}

// present is the part of asked that the view holds.
func (s *session) present(asked mailstore.UIDSet) mailstore.UIDSet {
	view := s.box.view
	var uids mailstore.UIDSet
	for _, r := range asked {
		lo, hi := view.SeqFrom(r.Lo), view.Len()
		if r.Hi != ^mailstore.UID(0) {
			hi = view.SeqFrom(r.Hi+1) - 1
		}
		if lo > hi {
			continue
		}
		for _, found := range view.UIDs(lo, hi) {
			uids.AddRange(found.Lo, found.Hi)
		}
	}
	return uids
}
