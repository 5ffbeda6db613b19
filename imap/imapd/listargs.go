package imapd

import (
	"strings"

	"posthouse/imap/wire"
)

// maxPatterns bounds the patterns of one LIST: all mailboxes are matched with each.
const maxPatterns = 100

// parseList reads [selection] reference patterns [RETURN (options)].
func (s *session) parseList(lex *wire.Lexer, req *listRequest) error {
	if lex.IsList() {
		req.extended = true
		if err := lex.List(func() error { return req.selectOption(lex) }); err != nil {
			return err
		}
		if req.recursive && !req.subscribed && !req.specialUse {
			return bad("RECURSIVEMATCH needs an option to match") // RFC 5258 §3.1
		}
		if err := lex.SP(); err != nil {
			return err
		}
	}
	ref, err := lex.Astring()
	if err != nil {
		return err
	}
	req.reference.name = ref
	if err := lex.SP(); err != nil {
		return err
	}
	if lex.IsList() {
		req.extended = true
		if err := lex.List(func() error { return s.parsePattern(lex, ref, &req.patterns) }); err != nil {
			return err
		}
	} else if err := s.parsePattern(lex, ref, &req.patterns); err != nil {
		return err
	}
	if lex.Accept(' ') && !lex.AtEnd() {
		req.extended = true
		if err := req.parseReturn(lex); err != nil {
			return err
		}
	}
	req.root = !req.extended && req.emptyPattern
	return lex.End()
}

// parseReferenceAndPattern reads the arguments of LSUB and XLIST.
func (s *session) parseReferenceAndPattern(lex *wire.Lexer, ref *reference, p *patterns) error {
	name, err := lex.Astring()
	if err != nil {
		return err
	}
	ref.name = name
	if err := lex.SP(); err != nil {
		return err
	}
	if err := s.parsePattern(lex, name, p); err != nil {
		return err
	}
	ref.root = p.emptyPattern
	return lex.End()
}

func (s *session) parsePattern(lex *wire.Lexer, ref string, p *patterns) error {
	if len(p.compiled) == maxPatterns {
		return bad("More than %d patterns", maxPatterns)
	}
	var text string
	var err error
	if lex.IsString() {
		text, err = lex.QuotedOrLiteral()
	} else {
		text, err = lex.Word(&wire.ListChars, "a mailbox pattern")
	}
	if err != nil {
		return err
	}
	p.emptyPattern = text == ""
	p.wildcard = p.wildcard || strings.ContainsAny(text, "*%")
	p.percent = p.percent || strings.Contains(text, "%")
	if text != "" { // nothing is what an empty pattern matches
		p.compiled = append(p.compiled, wire.ParsePattern(ref, text, s.utf8()))
	}
	return nil
}

func (req *listRequest) selectOption(lex *wire.Lexer) error {
	option, err := lex.Keyword()
	if err != nil {
		return err
	}
	switch option {
	case "SUBSCRIBED":
		req.subscribed, req.returnSubscribed = true, true
	case "SPECIAL-USE":
		req.specialUse = true
	case "RECURSIVEMATCH":
		req.recursive = true
	case "REMOTE": // there are no remote mailboxes
	default:
		return bad("Unknown LIST selection option")
	}
	return nil
}

func (req *listRequest) parseReturn(lex *wire.Lexer) error {
	word, err := lex.Keyword()
	if err != nil {
		return err
	}
	if word != "RETURN" {
		return bad("Expected RETURN")
	}
	if err := lex.SP(); err != nil {
		return err
	}
	return lex.List(func() error {
		option, err := lex.Keyword()
		if err != nil {
			return err
		}
		switch option {
		case "SUBSCRIBED":
			req.returnSubscribed = true
		case "CHILDREN", "SPECIAL-USE":
		case "MYRIGHTS": // RFC 8440
			req.myRights = true
		case "STATUS":
			if err := lex.SP(); err != nil {
				return err
			}
			req.status, err = parseStatusItems(lex)
			return err
		default:
			return bad("Unknown LIST return option")
		}
		return nil
	})
}
