package imapd

import (
	"fmt"
	"strings"
	"testing"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// parseSearch reads a SEARCH program in an empty mailbox.
func parseSearch(line string) (mailstore.Criteria, searchReturn, error) {
	lex := wire.NewLexer(strings.NewReader(line+"\r\n"), wire.User)
	lex.Continue = func() error { return nil }
	lex.Begin()
	var want searchReturn
	p := &searchParser{s: &session{box: &mailbox{view: &mailstore.View{}}}, lex: lex, decode: decodeUTF8}
	if err := p.preamble(&want); err != nil {
		return mailstore.Criteria{}, want, err
	}
	c, err := p.program()
	return c, want, err
}

// show writes criteria as an expression.
func show(c mailstore.Criteria) string {
	var sub []string
	for _, s := range c.Sub {
		sub = append(sub, show(s))
	}
	names := map[mailstore.SearchOp]string{mailstore.SearchAnd: "and", mailstore.SearchOr: "or", mailstore.SearchNot: "not"}
	switch c.Op {
	case mailstore.SearchAll:
		return "all"
	case mailstore.SearchAnd, mailstore.SearchOr, mailstore.SearchNot:
		if c.Op == mailstore.SearchAnd && len(sub) == 1 {
			return sub[0]
		}
		return names[c.Op] + "(" + strings.Join(sub, " ") + ")"
	case mailstore.SearchUIDs:
		return "uids[" + c.UIDs.String() + "]"
	case mailstore.SearchFlags:
		return fmt.Sprintf("flags[%d]", c.Flags)
	case mailstore.SearchKeyword:
		return "keyword[" + c.Text + "]"
	case mailstore.SearchHeader:
		return fmt.Sprintf("%s[%s]", c.Field, c.Text)
	case mailstore.SearchBody:
		return "body[" + c.Text + "]"
	case mailstore.SearchText:
		return "text[" + c.Text + "]"
	case mailstore.SearchLarger, mailstore.SearchSmaller:
		return fmt.Sprintf("size%d[%d]", c.Op-mailstore.SearchLarger, c.Size)
	}
	return fmt.Sprintf("date%d[%s]", c.Op-mailstore.SearchBefore, c.Date.Format("2006-01-02"))
}

func TestSearchGrammar(t *testing.T) {
	for line, want := range map[string]string{
		"ALL":                                    "all",
		"all":                                    "all",
		"ALL UNSEEN":                             "and(all not(flags[1]))",
		"1:* DELETED":                            "and(uids[1:4294967295] flags[8])",
		"UID 1:*":                                "uids[1:4294967295]",
		"UID *:*":                                "uids[]",
		"CHARSET UTF-8 SUBJECT hi":               "subject[hi]",
		"CC a":                                   "cc[a]",
		"RECENT":                                 "uids[]",
		"OLD":                                    "not(uids[])",
		"NEW":                                    "and(uids[] not(flags[1]))",
		"RETURN (MIN) CC a":                      "cc[a]",
		"RETURN () CHARSET US-ASCII ALL":         "all",
		"NOT NOT SEEN":                           "not(not(flags[1]))",
		"OR SEEN DRAFT":                          "or(flags[1] flags[16])",
		"OR OR SEEN DRAFT FLAGGED":               "or(flags[1] flags[16] flags[4])",
		"OR SEEN OR DRAFT FLAGGED":               "or(flags[1] flags[16] flags[4])",
		"OR (SEEN DRAFT) NOT FLAGGED ALL":        "and(or(and(flags[1] flags[16]) not(flags[4])) all)",
		"NOT OR SEEN DRAFT ALL":                  "and(not(or(flags[1] flags[16])) all)",
		"NOT (SEEN DRAFT)":                       "not(and(flags[1] flags[16]))",
		"(ALL)":                                  "all",
		"((ALL))":                                "all",
		"HEADER X-Thing \"\"":                    "x-thing[]",
		"HEADER Subject: hi":                     "subject[hi]",
		"HEADER {1}\r\nX {2+}\r\nhi":             "x[hi]",
		"SUBJECT NIL":                            "subject[NIL]",
		"SUBJECT \"a \\\"b\\\"\"":                "subject[a \"b\"]",
		"BODY \"\"":                              "all",
		"TEXT x":                                 "text[x]",
		"KEYWORD $Label1 UNKEYWORD Junk":         "and(keyword[$Label1] not(keyword[Junk]))",
		"LARGER 10 SMALLER 4294967296":           "and(size0[10] size1[4294967296])",
		"BEFORE 1-Feb-1994 ON \"1-Feb-1994\"":    "and(date0[1994-02-01] date1[1994-02-01])",
		"SENTSINCE 01-feb-1994":                  "date5[1994-02-01]",
		"SUBJECT {5+}\r\nh\u00e4ll":              "subject[häll]",
		"CHARSET ISO-8859-1 SUBJECT \"h\xe4ll\"": "subject[häll]",
		"CHARSET KOI8-R BODY \"\xd4\xc5\xd3\xd4\"": "body[тест]",
		"CHARSET \"UTF-8\" TO {4+}\r\ntest":        "to[test]",
		"ALL ":                                     "all",
	} {
		c, _, err := parseSearch(line)
		if err != nil || show(c) != want {
			t.Errorf("SEARCH %q is %s, %v; want %s", line, show(c), err, want)
		}
	}
}

func TestSearchGrammarRejects(t *testing.T) {
	for _, line := range []string{
		"", "FOO", "NOT", "OR SEEN", "OR SEEN ", "(", "()", "(ALL", "ALL)", "SUBJECT", "SUBJECT ", "HEADER x", "LARGER -1", "LARGER x",
		"BEFORE yesterday", "UID", "UID a", "0", "1,", "KEYWORD", "KEYWORD \\Seen", "CHARSET", "CHARSET UTF-8", "CHARSET x-none ALL",
		"CHARSET UTF-16 ALL ALL ALL FOO", "RETURN", "RETURN (FOO) ALL", "RETURN MIN ALL", "ALL  SEEN", "ALL\tSEEN",
		"SUBJECT \"h\xe4ll\"", "SUBJECT {3}\r\na\x00b",
		strings.Repeat("(", 20000) + "ALL" + strings.Repeat(")", 20000),
		strings.Repeat("NOT ", 20000) + "ALL",
		strings.Repeat("OR SEEN ", 20000) + "ALL",
		strings.Repeat("OR ", 20000) + strings.Repeat("ALL ", 20001),
	} {
		if c, _, err := parseSearch(line); err == nil {
			t.Errorf("SEARCH %.60q is taken for %s", line, show(c))
		}
	}
}

func TestSearchBadCharsetNamesOthers(t *testing.T) {
	_, _, err := parseSearch("CHARSET x-unknown ALL")
	if answer, _ := refusal(err); answer.Type != "NO" || answer.Code != "BADCHARSET (US-ASCII UTF-8)" {
		t.Errorf("answer is %+v", answer)
	}
}

func TestSearchLongOrIsOneOr(t *testing.T) {
	line := strings.Repeat("OR SEEN ", 400) + "ALL"
	c, _, err := parseSearch(line)
	if err != nil || len(c.Sub) != 1 || len(c.Sub[0].Sub) != 401 {
		t.Errorf("%d alternatives, %v", len(c.Sub[0].Sub), err)
	}
}

func FuzzSearchProgram(f *testing.F) {
	f.Add("RETURN (MIN) CHARSET UTF-8 OR (1:* UNSEEN) NOT HEADER x {1+}\r\ny BEFORE 1-Feb-1994")
	f.Fuzz(func(t *testing.T, line string) {
		c, _, err := parseSearch(line)
		if err == nil {
			show(c)
		}
	})
}
