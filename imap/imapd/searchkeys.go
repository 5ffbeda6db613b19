package imapd

import (
	"context"
	"math"
	"strings"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// maxSearchKeys bounds a search program; how deep it nests is bounded by the
// lexer (an OR of many keys does not nest: see key).
const maxSearchKeys = 1000

// searchParser reads a search program (RFC 3501 §6.4.4, §9 search-key).
type searchParser struct {
	s      *session
	lex    *wire.Lexer
	decode decoder
	keys   int

	ctx     context.Context // for keys that ask the database
	modSeqs int             // MODSEQ keys: the answer tells mod-sequences
	fuzzy   int             // FUZZY keys: the answer may tell the relevancy
	late    *lateKeys       // not nil: the program is for many mailboxes

	momentary bool // the program has keys whose answer changes without news

	word string // name of the next key, when it was read ahead
}

// searchKey reads what follows the name of a key.
type searchKey func(p *searchParser) (mailstore.Criteria, error)

// searchKeys are all keys but ( NOT OR and sets, by their names.
var searchKeys = map[string]searchKey{
	"ALL":        func(p *searchParser) (mailstore.Criteria, error) { return mailstore.Criteria{}, nil },
	"ANSWERED":   systemFlagKey(mailstore.FlagAnswered, true),
	"UNANSWERED": systemFlagKey(mailstore.FlagAnswered, false),
	"DELETED":    systemFlagKey(mailstore.FlagDeleted, true),
	"UNDELETED":  systemFlagKey(mailstore.FlagDeleted, false),
	"DRAFT":      systemFlagKey(mailstore.FlagDraft, true),
	"UNDRAFT":    systemFlagKey(mailstore.FlagDraft, false),
	"FLAGGED":    systemFlagKey(mailstore.FlagFlagged, true),
	"UNFLAGGED":  systemFlagKey(mailstore.FlagFlagged, false),
	"SEEN":       systemFlagKey(mailstore.FlagSeen, true),
	"UNSEEN":     systemFlagKey(mailstore.FlagSeen, false),
	"KEYWORD":    keywordKey(true),
	"UNKEYWORD":  keywordKey(false),
	"RECENT":     func(p *searchParser) (mailstore.Criteria, error) { return p.recent(), nil },
	"OLD":        func(p *searchParser) (mailstore.Criteria, error) { return not(p.recent()), nil },
	"NEW": func(p *searchParser) (mailstore.Criteria, error) {
		unseen := not(mailstore.Criteria{Op: mailstore.SearchFlags, Flags: mailstore.FlagSeen})
		return mailstore.Criteria{Op: mailstore.SearchAnd, Sub: []mailstore.Criteria{p.recent(), unseen}}, nil
	},
	"BEFORE":     dateKey(mailstore.SearchBefore),
	"ON":         dateKey(mailstore.SearchOn),
	"SINCE":      dateKey(mailstore.SearchSince),
	"SENTBEFORE": dateKey(mailstore.SearchSentBefore),
	"SENTON":     dateKey(mailstore.SearchSentOn),
	"SENTSINCE":  dateKey(mailstore.SearchSentSince),
	"LARGER":     sizeKey(mailstore.SearchLarger),
	"SMALLER":    sizeKey(mailstore.SearchSmaller),
	"BCC":        fieldKey("bcc"),
	"CC":         fieldKey("cc"),
	"FROM":       fieldKey("from"),
	"SUBJECT":    fieldKey("subject"),
	"TO":         fieldKey("to"),
	"HEADER":     headerKey,
	"BODY":       textKey(mailstore.SearchBody),
	"TEXT":       textKey(mailstore.SearchText),
	"UID":        uidKey,
}

func not(c mailstore.Criteria) mailstore.Criteria {
	return mailstore.Criteria{Op: mailstore.SearchNot, Sub: []mailstore.Criteria{c}}
}

// program reads one or more keys, up to the end of the line: all must match.
func (p *searchParser) program() (mailstore.Criteria, error) {
	all := mailstore.Criteria{Op: mailstore.SearchAnd}
	for {
		key, err := p.key()
		if err != nil {
			return all, err
		}
		all.Sub = append(all.Sub, key)
		if !p.lex.Accept(' ') || p.lex.AtEnd() {
			return all, p.lex.End()
		}
	}
}

// key reads one key. An OR of ORs is read as one OR of many, in whatever way
// they are nested: clients chain dozens.
func (p *searchParser) key() (mailstore.Criteria, error) {
	or := mailstore.Criteria{Op: mailstore.SearchOr}
	for missing := 1; missing > 0; missing-- {
		one, isOr, err := p.operand()
		if err != nil {
			return or, err
		}
		if isOr {
			missing += 2
		} else {
			or.Sub = append(or.Sub, one)
		}
		if missing > 1 {
			if err := p.lex.SP(); err != nil {
				return or, err
			}
		}
	}
	if len(or.Sub) == 1 {
		return or.Sub[0], nil
	}
	return or, nil
}

// operand reads a key, or only the word OR.
func (p *searchParser) operand() (c mailstore.Criteria, isOr bool, err error) {
	if p.keys++; p.keys > maxSearchKeys {
		return c, false, no("LIMIT", "More than %d search keys", maxSearchKeys)
	}
	switch next := p.lex.Peek(); {
	case p.word != "":
	case p.lex.IsList():
		c, err = p.list()
		return c, false, err
	case next == '*' || next >= '0' && next <= '9' || next == '$':
		c, err = p.sequence()
		return c, false, err
	}
	word, err := p.peekWord()
	if err == nil && word == "" {
		err = bad("Expected a search key")
	}
	if err != nil {
		return c, false, err
	}
	p.word = ""
	switch word {
	case "OR":
		return c, true, nil
	case "NOT":
		c, err = p.negation()
		return c, false, err
	}
	read, ok := searchKeys[word]
	if !ok {
		return c, false, bad("Unknown search key")
	}
	c, err = read(p)
	return c, false, err
}

// list reads keys in parentheses.
func (p *searchParser) list() (mailstore.Criteria, error) {
	all := mailstore.Criteria{Op: mailstore.SearchAnd}
	err := p.lex.List(func() error {
		key, err := p.key()
		all.Sub = append(all.Sub, key)
		return err
	})
	if err == nil && len(all.Sub) == 0 {
		err = bad("Empty parentheses in a search")
	}
	return all, err
}

func (p *searchParser) negation() (mailstore.Criteria, error) {
	if err := p.lex.SP(); err != nil {
		return mailstore.Criteria{}, err
	}
	if err := p.lex.Deeper(); err != nil {
		return mailstore.Criteria{}, err
	}
	defer p.lex.Shallower()
	key, err := p.key()
	return not(key), err
}

// sequence reads message sequence numbers. Unlike FETCH a search forgives
// numbers beyond the last message: nothing is there to be found.
func (p *searchParser) sequence() (mailstore.Criteria, error) {
	set, err := p.lex.NumSet()
	if err != nil {
		return mailstore.Criteria{}, err
	}
	if p.late != nil {
		return p.late.numbers(set), nil
	}
	if set.Saved() {
		return mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: p.s.savedResult()}, nil
	}
	return p.growing(set, uint32(p.s.box.view.Len()), p.s.numbered(set)), nil
}

func uidKey(p *searchParser) (mailstore.Criteria, error) {
	if err := p.lex.SP(); err != nil {
		return mailstore.Criteria{}, err
	}
	set, err := p.lex.NumSet()
	if err != nil {
		return mailstore.Criteria{}, err
	}
	if p.late != nil {
		return p.late.uids(set), nil
	}
	if set.Saved() {
		return mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: p.s.savedResult()}, nil
	}
	last := lastUID(p.s.box.view)
	return p.growing(set, uint32(last), uidSet(set.Within(uint32(last)))), nil
}

// growing are the messages of a set, and with "n:*" those that will come: a search
// that is kept up to date finds them. "*" alone is another message then.
func (p *searchParser) growing(set wire.NumSet, last uint32, uids mailstore.UIDSet) mailstore.Criteria {
	for _, r := range set {
		switch first := max(r.First, r.Last); {
		case r.First != wire.Star && r.Last != wire.Star:
		case first == wire.Star || first > max(last, 1):
			p.momentary = true
		default:
			uids.AddRange(lastUID(p.s.box.view)+1, math.MaxUint32)
		}
	}
	return mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: uids}
}

// lastUID is the highest UID in a view, 0 if it is empty.
func lastUID(view *mailstore.View) mailstore.UID {
	if view.Len() == 0 {
		return 0
	}
	return view.UID(view.Len())
}

// recent is what this session was given as \Recent.
func (p *searchParser) recent() mailstore.Criteria {
	if p.late != nil {
		return p.late.recent()
	}
	p.momentary = true
	return mailstore.Criteria{Op: mailstore.SearchUIDs, UIDs: p.s.box.recent}
}

func systemFlagKey(f mailstore.Flags, set bool) searchKey {
	return func(*searchParser) (mailstore.Criteria, error) {
		c := mailstore.Criteria{Op: mailstore.SearchFlags, Flags: f}
		if !set {
			c = not(c)
		}
		return c, nil
	}
}

func keywordKey(set bool) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		if err := p.lex.SP(); err != nil {
			return mailstore.Criteria{}, err
		}
		word, err := p.lex.Atom()
		c := mailstore.Criteria{Op: mailstore.SearchKeyword, Text: word}
		if !set {
			c = not(c)
		}
		return c, err
	}
}

func dateKey(op mailstore.SearchOp) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		if err := p.lex.SP(); err != nil {
			return mailstore.Criteria{}, err
		}
		date, err := p.lex.Date()
		return mailstore.Criteria{Op: op, Date: date}, err
	}
}

func sizeKey(op mailstore.SearchOp) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		if err := p.lex.SP(); err != nil {
			return mailstore.Criteria{}, err
		}
		n, err := p.lex.Number64()
		return mailstore.Criteria{Op: op, Size: int64(n)}, err
	}
}

// text reads a string in the charset of the search.
func (p *searchParser) text() (string, error) {
	if err := p.lex.SP(); err != nil {
		return "", err
	}
	s, err := p.lex.Astring()
	if err != nil {
		return "", err
	}
	return p.decode(s)
}

func fieldKey(name string) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		text, err := p.text()
		return mailstore.Criteria{Op: mailstore.SearchHeader, Field: name, Text: text}, err
	}
}

func headerKey(p *searchParser) (mailstore.Criteria, error) {
	if err := p.lex.SP(); err != nil {
		return mailstore.Criteria{}, err
	}
	name, err := p.lex.Astring()
	if err != nil {
		return mailstore.Criteria{}, err
	}
	return fieldKey(strings.ToLower(strings.TrimSuffix(name, ":")))(p)
}

// textKey reads a string that every message contains when it is empty.
func textKey(op mailstore.SearchOp) searchKey {
	return func(p *searchParser) (mailstore.Criteria, error) {
		text, err := p.text()
		if text == "" {
			return mailstore.Criteria{Op: mailstore.SearchAll}, err
		}
		return mailstore.Criteria{Op: op, Text: text}, err
	}
}
