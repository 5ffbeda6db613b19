package wire

import (
	"strings"

	"github.com/emersion/go-imap/v2"
)

// Class is a set of octets.
type Class [256]bool

func class(in func(c byte) bool) (set Class) {
	for i := range set {
		set[i] = in(byte(i))
	}
	return set
}

func isCTL(c byte) bool { return c < 0x20 || c == 0x7f }

// The character classes of RFC 3501 §9. Octets over 0x7f are let into astrings
// and list patterns: what they mean is decided by who decodes the name.
var (
	AtomChars = class(func(c byte) bool {
		return c < 0x80 && !isCTL(c) && strings.IndexByte(" (){%*\"\\]", c) < 0
	})
	AstringChars = class(func(c byte) bool { return AtomChars[c] || c == ']' || c >= 0x80 })
	ListChars    = class(func(c byte) bool { return AstringChars[c] || c == '%' || c == '*' })
	TagChars     = class(func(c byte) bool { return (AtomChars[c] || c == ']') && c != '+' })
	Digits       = class(func(c byte) bool { return c >= '0' && c <= '9' })
	quotedChars  = class(func(c byte) bool { return c != '"' && c != '\\' && c != '\r' && c != '\n' && c != 0 })
	notEOL       = class(func(c byte) bool { return c != '\r' && c != '\n' })
)

// MaxAtom bounds an atom, a tag, a flag: in octets.
const MaxAtom = 1000

// Take consumes the longest run of octets of set, which may be empty and must
// not be longer than max.
func (l *Lexer) Take(set *Class, max int) (string, error) {
	var long []byte // what came before the buffer was refilled
	for !l.ended {
		if l.r == l.w && l.fill() != nil {
			return "", l.err
		}
		n := 0
		for rest := l.buf[l.r:l.w]; n < len(rest) && set[rest[n]]; n++ {
		}
		run := l.buf[l.r : l.r+n]
		if l.advance(n); l.err != nil {
			return "", l.err
		}
		if len(long)+n > max {
			return "", Syntaxf("a word of more than %d octets", max)
		}
		if l.r < l.w {
			if long == nil {
				return string(run), nil
			}
			return string(append(long, run...)), nil
		}
		long = append(long, run...)
	}
	return string(long), nil
}

// Word consumes at least one octet of set.
func (l *Lexer) Word(set *Class, what string) (string, error) {
	s, err := l.Take(set, MaxAtom)
	if err == nil && s == "" {
		err = l.fail("expected %s", what)
	}
	return s, err
}

// Atom consumes an atom.
func (l *Lexer) Atom() (string, error) { return l.Word(&AtomChars, "an atom") }

// Keyword consumes an atom and gives it in upper case: command names, fetch
// items, search keys are compared without regard to case.
func (l *Lexer) Keyword() (string, error) {
	s, err := l.Atom()
	return strings.ToUpper(s), err
}

// Tag consumes the tag of a command.
func (l *Lexer) Tag() (string, error) { return l.Word(&TagChars, "a tag") }

// IsString reports whether a quoted string or a literal comes next.
func (l *Lexer) IsString() bool { return l.Peek() == '"' || l.IsLiteral() }

// QuotedOrLiteral consumes a quoted string or a literal (RFC 3501 string).
func (l *Lexer) QuotedOrLiteral() (string, error) {
	if l.Peek() == '"' {
		return l.quoted()
	}
	if l.IsLiteral() {
		return l.literalString()
	}
	return "", l.fail("expected a string")
}

// Astring consumes an atom (with "]" in it) or a string.
func (l *Lexer) Astring() (string, error) {
	if l.IsString() {
		return l.QuotedOrLiteral()
	}
	return l.Word(&AstringChars, "an atom or a string")
}

// Nstring consumes NIL or a string; ok is false for NIL.
func (l *Lexer) Nstring() (s string, ok bool, err error) {
	if l.IsString() {
		s, err = l.QuotedOrLiteral()
		return s, err == nil, err
	}
	word, err := l.Keyword()
	if err == nil && word != "NIL" {
		err = Syntaxf("expected a string or NIL")
	}
	return "", false, err
}

// quoted consumes a quoted string, as long as the line allows.
func (l *Lexer) quoted() (string, error) {
	if err := l.Require('"'); err != nil {
		return "", err
	}
	var out []byte
	for {
		run, err := l.Take(&quotedChars, l.Limits.Line)
		if err != nil {
			return "", err
		}
		switch {
		case l.Accept('"'):
			if out == nil {
				return run, l.err
			}
			return string(append(out, run...)), l.err
		case l.Accept('\\'):
			c := l.Peek()
			if c != '"' && c != '\\' {
				return "", l.fail("a backslash in a quoted string quotes only a quote or a backslash")
			}
			l.advance(1)
			out = append(append(out, run...), c)
		default:
			return "", l.fail("unterminated quoted string")
		}
	}
}

// Number consumes a number of 32 bits (RFC 3501 number).
func (l *Lexer) Number() (uint32, error) {
	n, err := l.Number64()
	if err == nil && n > 1<<32-1 {
		return 0, Syntaxf("number out of range")
	}
	return uint32(n), err
}

// Number64 consumes a number of 63 bits (RFC 9051 number64).
func (l *Lexer) Number64() (uint64, error) {
	s, err := l.Take(&Digits, MaxAtom)
	if err != nil {
		return 0, err
	}
	if s == "" {
		return 0, l.fail("expected a number")
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		if n > (1<<63-1-9)/10 {
			return 0, Syntaxf("number out of range")
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, nil
}

// IsList reports whether a parenthesis opens here.
func (l *Lexer) IsList() bool { return l.Peek() == '(' }

// List consumes "(" [item *(SP item)] ")". Lists nest up to Limits.MaxDepth.
func (l *Lexer) List(item func() error) error {
	if err := l.Enter(); err != nil {
		return err
	}
	for first := true; !l.Accept(')'); first = false {
		if !first {
			if err := l.SP(); err != nil {
				return err
			}
			if l.Accept(')') { // a space before the parenthesis: forgiven
				break
			}
		}
		if err := item(); err != nil {
			return err
		}
	}
	l.depth--
	return l.err
}

// Enter consumes "(" and counts the depth; Leave consumes its ")".
func (l *Lexer) Enter() error {
	if err := l.Require('('); err != nil {
		return err
	}
	return l.Deeper()
}

// Leave consumes ")".
func (l *Lexer) Leave() error {
	l.Shallower()
	return l.Require(')')
}

// Deeper counts a level of nesting that has no parenthesis (a NOT, an OR).
func (l *Lexer) Deeper() error {
	if l.depth++; l.depth > l.Limits.MaxDepth {
		return Syntaxf("nested more than %d deep", l.Limits.MaxDepth)
	}
	return nil
}

// Shallower leaves a level that Deeper entered.
func (l *Lexer) Shallower() { l.depth-- }

// Flag consumes "\name" or a keyword. Whether the flag may be set is decided by
// the command.
func (l *Lexer) Flag() (imap.Flag, error) {
	slash := l.Accept('\\')
	name, err := l.Word(&AtomChars, "a flag")
	if slash {
		name = `\` + name
	}
	return imap.Flag(name), err
}

// MaxFlags bounds a list of flags; a mailbox has room for 60 at most.
const MaxFlags = 200

// FlagList consumes "(" [flag *(SP flag)] ")".
func (l *Lexer) FlagList() ([]imap.Flag, error) {
	var flags []imap.Flag
	err := l.List(func() error {
		f, err := l.Flag()
		if flags = append(flags, f); len(flags) > MaxFlags {
			return Syntaxf("more than %d flags", MaxFlags)
		}
		return err
	})
	return flags, err
}
