package imapd

import (
	"context"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// maxSortKeys bounds a sort program; there are seven criteria, and two of RFC 5957.
const maxSortKeys = 50

// sortKeys are the criteria of RFC 5256 §3 and RFC 5957 §3.
var sortKeys = map[string]mailstore.SortKey{
	"ARRIVAL": mailstore.SortArrival, "CC": mailstore.SortCc, "DATE": mailstore.SortDate, "FROM": mailstore.SortFrom,
	"SIZE": mailstore.SortSize, "SUBJECT": mailstore.SortSubject, "TO": mailstore.SortTo,
	"RELEVANCY": mailstore.SortRelevancy, "DISPLAYFROM": mailstore.SortDisplayFrom, "DISPLAYTO": mailstore.SortDisplayTo,
}

// cmdSort is SORT and UID SORT (RFC 5256 §3), with RETURN (RFC 5267 §3).
func (s *session) cmdSort(ctx context.Context, c *command) error {
	if err := s.sync(ctx, !c.uid); err != nil {
		return err
	}
	want := new(searchReturn)
	found, err := s.sort(ctx, c, want)
	s.saveResult(want, found, err)
	return err
}

// sort reads the arguments, sorts and answers.
func (s *session) sort(ctx context.Context, c *command, want *searchReturn) (found results, err error) {
	p := &searchParser{s: s, ctx: ctx, lex: c.lex, decode: decodeUTF8}
	if err := p.returns(want); err != nil {
		return found, err
	}
	by, err := sortProgram(c.lex)
	if err != nil {
		return found, err
	}
	if err := c.lex.SP(); err != nil {
		return found, err
	}
	if err := p.charsetName(); err != nil {
		return found, err
	}
	criteria, err := p.program()
	if err == nil && p.fuzzy == 0 && (want.relevancy || ranked(by)) {
		err = errNoFuzzy
	}
	if err == nil && want.update {
		err = bad("UPDATE is for SEARCH: there is no CONTEXT=SORT")
	}
	if err != nil {
		return found, err
	}
	if err := s.slowly(ctx, c, func(ctx context.Context) error {
		set, err := s.srv.Store.Search(ctx, s.box.account, s.box.id, s.box.view, &criteria)
		if err != nil {
			return err
		}
		if err := s.rank(ctx, by, &criteria, set); err != nil {
			return err
		}
		if found.order, err = s.srv.Store.Sort(ctx, s.box.account, s.box.id, s.box.view, set, by); err != nil {
			return err
		}
		return want.score(ctx, s, s.box, &criteria, found)
	}); err != nil {
		return found, err
	}
	top, err := p.highest(want, found)
	if err != nil {
		return found, err
	}
	s.answerSearch(c, want, found, top)
	return found, s.enc.Err()
}

// sortProgram reads "(" [REVERSE SP] key … ")".
func sortProgram(lex *wire.Lexer) (by []mailstore.SortCriterion, err error) {
	err = lex.List(func() error {
		word, err := lex.Keyword()
		if err != nil {
			return err
		}
		reverse := word == "REVERSE"
		if reverse {
			if err := lex.SP(); err != nil {
				return err
			}
			if word, err = lex.Keyword(); err != nil {
				return err
			}
		}
		key, ok := sortKeys[word]
		if !ok {
			return wire.Syntaxf("unknown sort criterion")
		}
		if by = append(by, mailstore.SortCriterion{Key: key, Reverse: reverse}); len(by) > maxSortKeys {
			return wire.Syntaxf("more than %d sort criteria", maxSortKeys)
		}
		return nil
	})
	if err == nil && len(by) == 0 {
		err = wire.Syntaxf("no sort criteria")
	}
	return by, err
}
