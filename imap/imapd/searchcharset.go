package imapd

import (
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"

	"posthouse/imap/wire"
)

// badCharset names what every client can use instead (RFC 3501 §6.4.4).
const badCharset = imap.ResponseCodeBadCharset + " (US-ASCII UTF-8)"

// decoder makes UTF-8 of the strings of a search program.
type decoder func(s string) (string, error)

// decodeUTF8 serves UTF-8, US-ASCII and searches without a charset: clients
// send UTF-8 in all of them.
func decodeUTF8(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", wire.Syntaxf("a search string that is not in the charset")
	}
	return s, nil
}

// searchDecoder finds the decoder for the charset that the client named.
func searchDecoder(charset string) (decoder, error) {
	switch strings.ToUpper(charset) {
	case "UTF-8", "US-ASCII", "ASCII", "UTF8":
		return decodeUTF8, nil
	}
	enc, err := ianaindex.IANA.Encoding(charset)
	if err != nil || enc == nil { // unknown, or known but not to us
		if enc, err = htmlindex.Get(charset); err != nil {
			return nil, no(badCharset, "Unknown charset")
		}
	}
	if enc == encoding.Replacement {
		return nil, no(badCharset, "Charset not supported")
	}
	return func(s string) (string, error) {
		text, err := enc.NewDecoder().String(s)
		if err != nil {
			return "", wire.Syntaxf("a search string that is not in the charset")
		}
		return text, nil
	}, nil
}
