package imapd

import (
	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// PARTIAL (RFC 9394, which widens RFC 5267 §4.4): a page of what a search finds, or
// of what a UID FETCH names, counted from its beginning or from its end.

func init() {
	returnOptions["PARTIAL"] = func(p *searchParser, want *searchReturn) error {
		if want.partial != nil {
			return bad("PARTIAL twice")
		}
		r, err := readPartial(p.lex)
		want.partial = r
		return err
	}
	fetchModifiers["PARTIAL"] = func(f *fetch, c *command) error {
		if !c.uid {
			return bad("PARTIAL is for UID FETCH")
		}
		if f.partial != nil {
			return bad("PARTIAL twice")
		}
		r, err := readPartial(c.lex)
		f.partial = r
		return err
	}
}

// partialRange is 1:100, or -1:-100 counted from the end.
type partialRange struct {
	a, b uint32 // as written, without the signs
	back bool
}

// readPartial reads SP partial-range.
func readPartial(lex *wire.Lexer) (*partialRange, error) {
	if err := lex.SP(); err != nil {
		return nil, err
	}
	r := &partialRange{back: lex.Accept('-')}
	var err error
	if r.a, err = position(lex); err != nil {
		return nil, err
	}
	if err := lex.Require(':'); err != nil {
		return nil, err
	}
	if r.back {
		if err := lex.Require('-'); err != nil {
			return nil, err
		}
	}
	r.b, err = position(lex)
	return r, err
}

// position reads a number above 0.
func position(lex *wire.Lexer) (uint32, error) {
	n, err := lex.Number()
	if err == nil && n == 0 {
		err = wire.Syntaxf("positions count from 1")
	}
	return n, err
}

// of is the page of found.
func (r *partialRange) of(found results) results {
	first, last := int(min(r.a, r.b)), int(max(r.a, r.b))
	if n := found.len(); r.back {
		first, last = n+1-last, n+1-first
	}
	return found.between(first, last)
}

// page is the part of uids that PARTIAL leaves of a FETCH: with CHANGEDSINCE, of
// what changed (RFC 9394 §3.4).
func (f *fetch) page(uids mailstore.UIDSet) mailstore.UIDSet {
	if f.partial == nil {
		return uids
	}
	return f.partial.of(results{set: uids}).set
}

// write writes the return data: the range, the lower position first (2:1 is 1:2:
// RFC 5267 §4.4), and NIL where it holds nothing.
func (r *partialRange) write(enc *wire.Encoder, found results) {
	sign := ""
	if r.back {
		sign = "-"
	}
	enc.Raw(" PARTIAL (" + sign)
	enc.Number(uint64(min(r.a, r.b)))
	enc.Raw(":" + sign)
	enc.Number(uint64(max(r.a, r.b)))
	enc.SP()
	if page := r.of(found); page.len() > 0 {
		enc.Bytes(page.appendTo(nil))
	} else {
		enc.Raw("NIL")
	}
	enc.Byte(')')
}
