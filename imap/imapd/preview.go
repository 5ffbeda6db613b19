package imapd

import (
	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// This file is PREVIEW (RFC 8970). Previews are made at delivery, so that LAZY
// never has to put anybody off.

func init() {
	fetchAttributes["PREVIEW"] = fetchItem{name: "PREVIEW", stored: true, fields: mailstore.FieldPreview,
		args: previewModifiers, write: writePreview}
	// Outside a list "PREVIEW (LAZY)" cannot be told from modifiers of FETCH
	// before the word is read.
	fetchModifiers["LAZY"] = func(f *fetch, _ *command) error {
		if len(f.items) != 1 || f.items[0].name != "PREVIEW" {
			return wire.Syntaxf("LAZY belongs to PREVIEW")
		}
		return nil
	}
}

// previewModifiers reads " (LAZY)" (§3.1).
func previewModifiers(lex *wire.Lexer) error {
	if err := lex.SP(); err != nil {
		return err
	}
	return lex.List(func() error {
		word, err := lex.Keyword()
		if err == nil && word != "LAZY" {
			err = wire.Syntaxf("unknown modifier of PREVIEW")
		}
		return err
	})
}

// writePreview writes the text; an empty one says that there is nothing to show (§3.1).
func writePreview(f *fetch, m *fetched, _ *fetchItem) error {
	f.s.enc.Raw("PREVIEW ")
	f.s.enc.String(m.row.Preview)
	return nil
}
