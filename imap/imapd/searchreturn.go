package imapd

import (
	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// searchReturn is what the client wants to know of the messages found (RFC 4731
// §3.1). The zero value asks for the SEARCH response of RFC 3501, or for SORT.
type searchReturn struct {
	extended             bool
	min, max, all, count bool

	save    bool          // searchres.go
	partial *partialRange // partial.go
	update  bool          // context.go

	relevancy bool    // fuzzy.go
	scores    []uint8 // of the messages told, in the order of the answer
}

// returnOptions are the words of RETURN (…). Those of extensions are added by the
// files that honour them.
var returnOptions = map[string]func(p *searchParser, want *searchReturn) error{
	"MIN":   func(_ *searchParser, want *searchReturn) error { want.min = true; return nil },
	"MAX":   func(_ *searchParser, want *searchReturn) error { want.max = true; return nil },
	"ALL":   func(_ *searchParser, want *searchReturn) error { want.all = true; return nil },
	"COUNT": func(_ *searchParser, want *searchReturn) error { want.count = true; return nil },
}

// returns reads [RETURN (options) SP].
func (p *searchParser) returns(want *searchReturn) error {
	word, err := p.peekWord()
	if err != nil || word != "RETURN" {
		return err
	}
	p.word = ""
	if err := p.lex.SP(); err != nil {
		return err
	}
	want.extended = true
	err = p.lex.List(func() error {
		option, err := p.lex.Keyword()
		if err != nil {
			return err
		}
		read, ok := returnOptions[option]
		if !ok {
			return wire.Syntaxf("unknown return option")
		}
		return read(p, want)
	})
	if err != nil {
		return err
	}
	if want.partial != nil && want.all { // RFC 9394 §3.1
		return bad("Either PARTIAL or ALL")
	}
	if !want.tells() && !want.save {
		want.all = true // RETURN () is RETURN (ALL)
	}
	return p.lex.SP()
}

// tells reports whether the answer is more than a tagged OK (RFC 5182 §2.1).
func (want *searchReturn) tells() bool {
	return !want.extended || want.min || want.max || want.all || want.count || want.partial != nil
}

// told are the messages that the answer speaks of: of MIN, MAX and PARTIAL alone
// only those (RFC 4731 §3.2, RFC 5182 §2.4, RFC 9394 §3.2).
func (want *searchReturn) told(found results) mailstore.UIDSet {
	if found.len() == 0 {
		return nil
	}
	if !want.extended || want.all || want.count || !want.tells() {
		return found.uids()
	}
	var told mailstore.UIDSet
	first, last := found.ends()
	if want.min {
		told.Add(first)
	}
	if want.max {
		told.Add(last)
	}
	if want.partial != nil {
		told = told.Union(want.partial.of(found).uids())
	}
	return told
}

// answerSearch writes what was found. top is the highest mod-sequence if it was asked
// for, else 0.
func (s *session) answerSearch(c *command, want *searchReturn, found results, top mailstore.ModSeq) {
	if !want.tells() {
		return
	}
	if !c.uid {
		found = found.numbers(s.box.view)
	}
	if want.extended {
		s.writeESearch(tagCorrelator(c.tag), c.uid, want, found, top)
		return
	}
	s.writeFound(c.name, found, top)
}

// writeFound writes the SEARCH or SORT response, which is due even when it is
// empty (RFC 7162 §3.1.5, §3.1.6).
func (s *session) writeFound(name string, found results, top mailstore.ModSeq) {
	s.enc.Raw("* " + name)
	for n := range found.each {
		s.enc.SP()
		s.enc.Number(uint64(n))
	}
	if top > 0 {
		s.enc.Raw(" (MODSEQ ")
		s.enc.Number(uint64(top))
		s.enc.Byte(')')
	}
	s.enc.CRLF()
}

// writeESearch writes the ESEARCH response (RFC 4731 §3.1): of what was not
// found it says nothing but the count. The correlator has its parentheses.
func (s *session) writeESearch(correlator string, uid bool, want *searchReturn, found results, top mailstore.ModSeq) {
	s.enc.Raw("* ESEARCH " + correlator)
	s.writeReturnData(uid, want, found, top)
}

// writeReturnData writes the rest of an ESEARCH response, behind its correlator.
func (s *session) writeReturnData(uid bool, want *searchReturn, found results, top mailstore.ModSeq) {
	if uid {
		s.enc.Raw(" UID")
	}
	n := found.len()
	if n > 0 {
		first, last := found.ends()
		if want.min {
			s.enc.Raw(" MIN ")
			s.enc.Number(uint64(first))
		}
		if want.max {
			s.enc.Raw(" MAX ")
			s.enc.Number(uint64(last))
		}
		if want.all {
			s.enc.Raw(" ALL ")
			s.enc.Bytes(found.appendTo(nil))
		}
	}
	if want.count {
		s.enc.Raw(" COUNT ")
		s.enc.Number(uint64(n))
	}
	if want.partial != nil {
		want.partial.write(s.enc, found)
	}
	s.writeRelevancy(want)
	if top > 0 { // last (RFC 4731 §3.2)
		s.enc.Raw(" MODSEQ ")
		s.enc.Number(uint64(top))
	}
	s.enc.CRLF()
}

// tagCorrelator says which command a response belongs to (RFC 4466 §2.6.2). A tag
// has no octet that would have to be quoted.
func tagCorrelator(tag string) string { return `(TAG "` + tag + `")` }
