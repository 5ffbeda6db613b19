package imapd

import (
	"context"
	"strconv"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// This file is OBJECTID (RFC 8474). The ids are keys of the mailstore: they are
// never given twice, EMAILID and THREADID stay with a message through COPY, MOVE
// and undelete, MAILBOXID with a mailbox through RENAME. A letter in front keeps
// the three apart.

func objectID(kind string, id int64) string { return kind + strconv.FormatInt(id, 10) }

func mailboxID(id mailstore.MailboxID) string { return objectID("F", int64(id)) }

func init() {
	statusTexts["MAILBOXID"] = func(_ *session, _ context.Context, m *mailstore.Mailbox) (string, error) {
		return "(" + mailboxID(m.ID) + ")", nil
	}
	fetchAttributes["EMAILID"] = fetchItem{name: "EMAILID", stored: true, write: func(f *fetch, m *fetched, _ *fetchItem) error {
		f.s.enc.Raw("EMAILID (" + objectID("M", m.row.EmailID) + ")")
		return nil
	}}
	fetchAttributes["THREADID"] = fetchItem{name: "THREADID", stored: true, write: func(f *fetch, m *fetched, _ *fetchItem) error {
		f.s.enc.Raw("THREADID (" + objectID("T", m.row.ThreadID) + ")")
		return nil
	}}
	searchKeys["EMAILID"] = objectIDKey('M', mailstore.SearchEmailID)
	searchKeys["THREADID"] = objectIDKey('T', mailstore.SearchThreadID)
}

var objectIDChars = func() (set wire.Class) {
	for c := range set {
		set[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	return set
}()

// objectIDKey reads an id to search for (§5.3). One that is well formed and not
// ours is that of no message.
func objectIDKey(kind byte, op mailstore.SearchOp) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		if err := p.lex.SP(); err != nil {
			return mailstore.Criteria{}, err
		}
		word, err := p.lex.Word(&objectIDChars, "an object id")
		if err != nil {
			return mailstore.Criteria{}, err
		}
		if len(word) > 255 {
			return mailstore.Criteria{}, wire.Syntaxf("an object id of more than 255 octets")
		}
		id, err := strconv.ParseInt(word[1:], 10, 64)
		if err != nil || word != objectID(string(kind), id) {
			return mailstore.Criteria{Op: mailstore.SearchOr}, nil
		}
		return mailstore.Criteria{Op: op, Size: id}, nil
	}
}
