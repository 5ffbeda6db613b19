package imapd

import (
	"context"
	"slices"

	"posthouse/mailstore"
)

// SEARCH=FUZZY (RFC 6203): the FUZZY key, in which texts are looked for by words
// like theirs, and RELEVANCY, which says how well each message found meets them.
// Every other key means within FUZZY what it means elsewhere.

func init() {
	searchKeys["FUZZY"] = fuzzyKey
	returnOptions["RELEVANCY"] = func(_ *searchParser, want *searchReturn) error { want.relevancy = true; return nil }
}

// fuzzyKey reads SP search-key (§3).
func fuzzyKey(p *searchParser) (mailstore.Criteria, error) {
	if err := p.lex.SP(); err != nil {
		return mailstore.Criteria{}, err
	}
	if err := p.lex.Deeper(); err != nil {
		return mailstore.Criteria{}, err
	}
	defer p.lex.Shallower()
	p.fuzzy++
	key, err := p.key()
	return mailstore.Criteria{Op: mailstore.SearchFuzzy, Sub: []mailstore.Criteria{key}}, err
}

// errNoFuzzy refuses to rank what was not looked for in a fuzzy way (§4, §5).
var errNoFuzzy = bad("RELEVANCY is for searches with FUZZY")

// score fills in the relevancy that the answer tells: of the page that PARTIAL
// asks for, else of all that was found, in the order of the answer.
func (want *searchReturn) score(ctx context.Context, s *session, box *mailbox, criteria *mailstore.Criteria, found results) error {
	if !want.relevancy {
		return nil
	}
	if want.partial != nil {
		found = want.partial.of(found)
	}
	byUID, err := s.scores(ctx, box, criteria, found.uids())
	if err != nil {
		return err
	}
	want.scores = make([]uint8, 0, found.len())
	for uid := range found.each {
		want.scores = append(want.scores, byUID[uid])
	}
	return nil
}

// scores is the relevancy of messages of a mailbox, from 1 to 100.
func (s *session) scores(ctx context.Context, box *mailbox, criteria *mailstore.Criteria, uids mailstore.UIDSet) (map[mailstore.UID]uint8, error) {
	scores, err := s.srv.Store.Relevancy(ctx, box.account, box.id, box.view, criteria, uids)
	if err != nil {
		return nil, err
	}
	byUID := make(map[mailstore.UID]uint8, len(scores))
	i := 0
	for uid := range uids.Each {
		byUID[uid] = scores[i]
		i++
	}
	return byUID, nil
}

// writeRelevancy writes the return data (§4).
func (s *session) writeRelevancy(want *searchReturn) {
	if !want.relevancy {
		return
	}
	s.enc.Raw(" RELEVANCY (")
	for i, score := range want.scores {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.Number(uint64(score))
	}
	s.enc.Byte(')')
}

// ranked reports whether RELEVANCY is among the sort criteria (§5).
func ranked(by []mailstore.SortCriterion) bool {
	return slices.ContainsFunc(by, func(c mailstore.SortCriterion) bool { return c.Key == mailstore.SortRelevancy })
}

// rank gives the RELEVANCY criterion what it sorts by.
func (s *session) rank(ctx context.Context, by []mailstore.SortCriterion, criteria *mailstore.Criteria, found mailstore.UIDSet) error {
	if !ranked(by) {
		return nil
	}
	scores, err := s.srv.Store.Relevancy(ctx, s.box.account, s.box.id, s.box.view, criteria, found)
	for i := range by {
		if by[i].Key == mailstore.SortRelevancy {
			by[i].Scores = scores
		}
	}
	return err
}
