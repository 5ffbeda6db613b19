package imapd

import (
	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// WITHIN (RFC 5032): messages by how many seconds ago their internal date is.

func init() {
	searchKeys["OLDER"] = agoKey(mailstore.SearchOlder)
	searchKeys["YOUNGER"] = agoKey(mailstore.SearchYounger)
}

// agoKey reads SP nz-number.
func agoKey(op mailstore.SearchOp) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		if err := p.lex.SP(); err != nil {
			return mailstore.Criteria{}, err
		}
		n, err := p.lex.Number()
		if err == nil && n == 0 {
			err = wire.Syntaxf("an interval of 0 seconds")
		}
		p.momentary = true
		return mailstore.Criteria{Op: op, Size: int64(n)}, err
	}
}
