package imapd

import (
	"strings"

	"posthouse/imap/wire"
	"posthouse/internal/message"
	"posthouse/mailstore"
)

// fetchItem is one thing that FETCH answers with: its name as it stands in the
// response, what it needs, and how it is written.
type fetchItem struct {
	name    string
	fields  mailstore.Fields
	stored  bool // needs the message's row
	marks   bool // sets \Seen
	section *bodySection
	args    func(lex *wire.Lexer) error // reads " (" and what follows in a list; nil: nothing may
	write   func(f *fetch, m *fetched, item *fetchItem) error
}

// fetchAttributes are the items that are one word. Those of extensions are added
// by the files that honour them.
var fetchAttributes = map[string]fetchItem{}

func init() {
	for _, item := range []fetchItem{
		{name: "UID", write: writeUID},
		{name: "FLAGS", write: writeFlagsItem},
		{name: "INTERNALDATE", stored: true, write: writeInternalDate},
		{name: "RFC822.SIZE", stored: true, write: writeSize},
		{name: "ENVELOPE", stored: true, fields: mailstore.FieldEnvelope, write: writeEnvelope},
		{name: "BODYSTRUCTURE", stored: true, fields: mailstore.FieldBodyStructure, write: writeStructure},
		{name: "BODY", stored: true, fields: mailstore.FieldBodyStructure, write: writeStructure},
	} {
		fetchAttributes[item.name] = item
	}
}

// fetchMacros stand for several items (RFC 3501 §6.4.5), and not in a list.
var fetchMacros = map[string][]string{
	"ALL":  {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"},
	"FAST": {"FLAGS", "INTERNALDATE", "RFC822.SIZE"},
	"FULL": {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"},
}

var itemChars = func() (set wire.Class) {
	for c := range set {
		set[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-'
	}
	return set
}()

// parseItem reads one item; alone: it is not in a list, and may be a macro.
func (f *fetch) parseItem(lex *wire.Lexer, alone bool) error {
	if len(f.items) >= maxFetchItems {
		return wire.Syntaxf("more than %d items", maxFetchItems)
	}
	word, err := lex.Word(&itemChars, "a fetch item")
	if err != nil {
		return err
	}
	word = strings.ToUpper(word)
	if macro, ok := fetchMacros[word]; ok && alone {
		for _, name := range macro {
			f.items = append(f.items, fetchAttributes[name])
		}
		return nil
	}
	if lex.Accept('[') {
		if binarySections[word] != nil {
			return f.parseBinary(lex, word)
		}
		return f.parseSection(lex, word)
	}
	if item, ok := wholeSections[word]; ok {
		f.items = append(f.items, item)
		return nil
	}
	item, ok := fetchAttributes[word]
	if !ok {
		return wire.Syntaxf("unknown fetch item")
	}
	f.items = append(f.items, item)
	if item.args != nil && !alone && lex.Peek() == ' ' && lex.Second() == '(' {
		return item.args(lex)
	}
	return nil
}

func writeUID(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.enc.Raw("UID ")
	f.s.enc.Number(uint64(m.uid))
	return nil
}

func writeFlagsItem(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.enc.Raw("FLAGS ")
	f.s.enc.Raw(f.names.text(m.flags, f.s.box.recent.Contains(m.uid)))
	return nil
}

func writeInternalDate(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.enc.Raw(`INTERNALDATE "`)
	f.s.enc.Raw(wire.FormatDateTime(m.row.InternalDate))
	f.s.enc.Byte('"')
	return nil
}

func writeSize(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.enc.Raw("RFC822.SIZE ")
	f.s.enc.Number(uint64(m.row.Size))
	return nil
}

func writeEnvelope(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.enc.Raw("ENVELOPE ")
	f.s.enc.Bytes(m.row.Envelope)
	return nil
}

func writeStructure(f *fetch, m *fetched, item *fetchItem) error {
	f.s.enc.Raw(item.name)
	f.s.enc.SP()
	structure := m.row.BodyStructure
	if item.name == "BODY" {
		structure = message.BodyFromStructure(structure)
	}
	f.s.enc.Bytes(structure)
	return nil
}
