package imapd

import (
	"context"

	"posthouse/mailstore"
)

// searchReturn is what the client wants to know of the messages found (RFC 4731
// §3.1). The zero value asks for the SEARCH response of RFC 3501.
type searchReturn struct {
	extended             bool
	min, max, all, count bool
}

// cmdSearch is SEARCH and UID SEARCH (RFC 3501 §6.4.4, RFC 4731).
func (s *session) cmdSearch(ctx context.Context, c *command) error {
	// What has arrived can be found at once: scripts that poll with SEARCH alone
	// would otherwise see it a round later.
	if err := s.sync(ctx, !c.uid); err != nil {
		return err
	}
	var want searchReturn
	p := &searchParser{s: s, ctx: ctx, lex: c.lex, decode: decodeUTF8}
	if err := p.preamble(&want); err != nil {
		return err
	}
	if s.rev2() && !want.extended { // RFC 9051 §6.4.4: ESEARCH is the only answer
		want.extended, want.all = true, true
	}
	criteria, err := p.program()
	if err != nil {
		return err
	}
	var found mailstore.UIDSet
	if err := s.slowly(ctx, c, func(ctx context.Context) (err error) {
		found, err = s.srv.Store.Search(ctx, s.acct(), s.box.id, s.box.view, &criteria)
		return err
	}); err != nil {
		return err
	}
	var top mailstore.ModSeq
	if p.modSeqs > 0 && !found.IsEmpty() {
		if top, err = s.highestOf(ctx, want.told(found)); err != nil {
			return err
		}
	}
	if !c.uid {
		found = s.sequenceNumbers(found)
	}
	if want.extended {
		s.writeESearch(c, want, found, top)
	} else {
		s.writeSearch(found, top)
	}
	return s.enc.Err()
}

// preamble reads [RETURN (options) SP] [CHARSET charset SP], and no further than
// the first word of the program.
func (p *searchParser) preamble(want *searchReturn) error {
	word, err := p.peekWord()
	if err == nil && word == "RETURN" {
		if err := p.returnOptions(want); err != nil {
			return err
		}
		word, err = p.peekWord()
	}
	if err != nil || word != "CHARSET" {
		return err
	}
	p.word = ""
	if err := p.lex.SP(); err != nil {
		return err
	}
	charset, err := p.lex.Astring()
	if err != nil {
		return err
	}
	if p.s.enabled["UTF8=ACCEPT"] { // RFC 6855 §3: the two would be in conflict
		return bad("No CHARSET after ENABLE UTF8=ACCEPT")
	}
	if p.decode, err = searchDecoder(charset); err != nil {
		return err
	}
	return p.lex.SP()
}

// peekWord is the name of the next key, if it has one, which stays the next.
func (p *searchParser) peekWord() (word string, err error) {
	if c := p.lex.Peek() | 0x20; p.word == "" && c >= 'a' && c <= 'z' {
		p.word, err = p.lex.Keyword()
	}
	return p.word, err
}

func (p *searchParser) returnOptions(want *searchReturn) error {
	p.word = ""
	if err := p.lex.SP(); err != nil {
		return err
	}
	want.extended = true
	err := p.lex.List(func() error {
		option, err := p.lex.Keyword()
		if err != nil {
			return err
		}
		switch option {
		case "MIN":
			want.min = true
		case "MAX":
			want.max = true
		case "ALL":
			want.all = true
		case "COUNT":
			want.count = true
		default:
			return bad("Unknown SEARCH return option")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !want.min && !want.max && !want.count {
		want.all = true // RETURN () is RETURN (ALL)
	}
	return p.lex.SP()
}

// sequenceNumbers of messages in the view, as a set of numbers.
func (s *session) sequenceNumbers(uids mailstore.UIDSet) mailstore.UIDSet {
	var seqs mailstore.UIDSet
	for uid := range uids.Each {
		if seq, ok := s.box.view.Seq(uid); ok {
			seqs.Add(mailstore.UID(seq))
		}
	}
	return seqs
}

// writeSearch writes the SEARCH response, which is due even when it is empty,
// with the highest mod-sequence if it was asked for (RFC 7162 §3.1.5).
func (s *session) writeSearch(found mailstore.UIDSet, top mailstore.ModSeq) {
	s.enc.Raw("* SEARCH")
	for n := range found.Each {
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
// found it says nothing but the count.
func (s *session) writeESearch(c *command, want searchReturn, found mailstore.UIDSet, top mailstore.ModSeq) {
	s.enc.Raw("* ESEARCH (TAG ")
	s.enc.String(c.tag)
	s.enc.Raw(")")
	if c.uid {
		s.enc.Raw(" UID")
	}
	if !found.IsEmpty() {
		if want.min {
			s.enc.Raw(" MIN ")
			s.enc.Number(uint64(found[0].Lo))
		}
		if want.max {
			s.enc.Raw(" MAX ")
			s.enc.Number(uint64(found[len(found)-1].Hi))
		}
		if want.all {
			s.enc.Raw(" ALL ")
			s.enc.Bytes(found.AppendTo(nil))
		}
	}
	if want.count {
		s.enc.Raw(" COUNT ")
		s.enc.Number(uint64(found.Len()))
	}
	if top > 0 { // last (RFC 4731 §3.2)
		s.enc.Raw(" MODSEQ ")
		s.enc.Number(uint64(top))
	}
	s.enc.CRLF()
}
