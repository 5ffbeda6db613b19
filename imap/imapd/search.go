package imapd

import (
	"context"

	"posthouse/mailstore"
)

// cmdSearch is SEARCH and UID SEARCH (RFC 3501 §6.4.4, RFC 4731).
func (s *session) cmdSearch(ctx context.Context, c *command) error {
	// What has arrived can be found at once: scripts that poll with SEARCH alone
	// would otherwise see it a round later.
	if err := s.sync(ctx, !c.uid); err != nil {
		return err
	}
	want := new(searchReturn)
	found, err := s.search(ctx, c, want)
	s.saveResult(want, found, err)
	return err
}

// search reads the arguments, searches and answers.
func (s *session) search(ctx context.Context, c *command, want *searchReturn) (found results, err error) {
	p := &searchParser{s: s, ctx: ctx, lex: c.lex, decode: decodeUTF8}
	if err := p.preamble(want); err != nil {
		return found, err
	}
	if s.rev2() && !want.extended { // RFC 9051 §6.4.4: ESEARCH is the only answer
		want.extended, want.all = true, true
	}
	criteria, err := p.program()
	if err == nil && want.relevancy && p.fuzzy == 0 {
		err = errNoFuzzy
	}
	if err == nil {
		err = s.freshTag(want, c.tag)
	}
	if err != nil {
		return found, err
	}
	if err := s.slowly(ctx, c, func(ctx context.Context) (err error) {
		found.set, err = s.srv.Store.Search(ctx, s.box.account, s.box.id, s.box.view, &criteria)
		if err == nil {
			err = want.score(ctx, s, s.box, &criteria, found)
		}
		return err
	}); err != nil {
		return found, err
	}
	top, err := p.highest(want, found)
	if err != nil {
		return found, err
	}
	s.keepContext(p, want, searchContext{tag: c.tag, uid: c.uid, criteria: criteria, found: found.uids()})
	s.answerSearch(c, want, found, top)
	return found, s.enc.Err()
}

// highest is the highest mod-sequence of what the answer speaks of, if the program
// asks for MODSEQ; else 0.
func (p *searchParser) highest(want *searchReturn, found results) (mailstore.ModSeq, error) {
	if p.modSeqs == 0 || found.len() == 0 || !want.tells() {
		return 0, nil
	}
	return p.s.highestOf(p.ctx, p.s.box.view, want.told(found))
}

// preamble reads [RETURN (options) SP] [CHARSET charset SP].
func (p *searchParser) preamble(want *searchReturn) error {
	if err := p.returns(want); err != nil {
		return err
	}
	return p.charset()
}

// charset reads [CHARSET charset SP], and no further than the first word of the
// program.
func (p *searchParser) charset() error {
	word, err := p.peekWord()
	if err != nil || word != "CHARSET" {
		return err
	}
	p.word = ""
	if err := p.lex.SP(); err != nil {
		return err
	}
	if p.s.enabled["UTF8=ACCEPT"] { // RFC 6855 §3: the two would be in conflict
		return bad("No CHARSET after ENABLE UTF8=ACCEPT")
	}
	return p.charsetName()
}

// charsetName reads charset SP.
func (p *searchParser) charsetName() error {
	charset, err := p.lex.Astring()
	if err != nil {
		return err
	}
	if err := p.lex.SP(); err != nil {
		return err
	}
	p.decode, err = searchDecoder(charset)
	return err
}

// peekWord is the name of the next key, if it has one, which stays the next.
func (p *searchParser) peekWord() (word string, err error) {
	if c := p.lex.Peek() | 0x20; p.word == "" && c >= 'a' && c <= 'z' {
		p.word, err = p.lex.Keyword()
	}
	return p.word, err
}
