package wire

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Pattern is a mailbox pattern of LIST: "*" stands for anything, "%" for
// anything within a level (RFC 3501 §6.3.8).
//
// Matching takes one pass over the name, without backtracking: bit i of a
// bit vector says that the first i literal octets of the pattern are matched so
// far, and every octet of the name moves all those states at once. So a name of
// n octets costs at most n times the words of the vector, whatever wildcards
// the pattern has.
type Pattern struct {
	literals int
	words    int
	index    [256]uint16 // octet → 1 + its row in next; 0: not in the pattern
	next     []uint64    // per row: bit i when literal i is that octet
	star     []uint64    // bit i: "*" stands before literal i
	any      []uint64    // bit i: "%" or "*" stands before literal i
	never    bool        // longer than any name
}

// ParsePattern reads reference and pattern as LIST has them: the pattern is
// interpreted as a continuation of the reference. Both are in modified UTF-7 or,
// once enabled, UTF-8; what is neither is matched as it stands.
func ParsePattern(reference, pattern string, acceptUTF8 bool) *Pattern {
	s := reference + pattern
	if !acceptUTF8 {
		if decoded, err := DecodeUTF7(s); err == nil {
			s = decoded
		}
	}
	return compilePattern(canonicalInbox(norm.NFC.String(s)))
}

func compilePattern(s string) *Pattern {
	p := &Pattern{}
	for i := range len(s) {
		if s[i] != '*' && s[i] != '%' {
			p.literals++
		}
	}
	if p.never = p.literals > MaxMailboxName; p.never {
		return p
	}
	p.words = p.literals/64 + 1
	p.star, p.any = make([]uint64, p.words), make([]uint64, p.words)
	rows, at := 0, 0
	for i := range len(s) {
		word, bit := at/64, uint64(1)<<(at%64)
		switch c := s[i]; c {
		case '*':
			p.star[word] |= bit
			p.any[word] |= bit
		case '%':
			p.any[word] |= bit
		default:
			if p.index[c] == 0 {
				rows++
				p.index[c] = uint16(rows)
				p.next = append(p.next, make([]uint64, p.words)...)
			}
			p.next[int(p.index[c]-1)*p.words+word] |= bit
			at++
		}
	}
	return p
}

// row is the vector of the positions where the pattern has octet c, or nil.
func (p *Pattern) row(c byte) []uint64 {
	r := int(p.index[c])
	if r == 0 {
		return nil
	}
	return p.next[(r-1)*p.words : r*p.words]
}

// Match reports whether the decoded name matches. In "INBOX" and below it the
// first level matches in any case (RFC 3501 §5.1).
func (p *Pattern) Match(name string) bool {
	matched, _ := p.match(name)
	return matched
}

// match also counts the words of the vector that it moved.
func (p *Pattern) match(name string) (matched bool, steps int) {
	if p.never || len(name) > MaxMailboxName {
		return false, 0
	}
	inbox := name == "INBOX" || strings.HasPrefix(name, "INBOX/")
	var space [MaxMailboxName/64 + 1]uint64
	state := space[:p.words]
	state[0] = 1
	for i := range len(name) {
		c := name[i]
		stay := p.any
		if c == Delimiter {
			stay = p.star
		}
		row := p.row(c)
		var lower []uint64
		if inbox && i < len("INBOX") {
			lower = p.row(c | 0x20)
		}
		steps += p.words
		if !p.step(state, stay, row, lower) {
			return false, steps
		}
	}
	return state[p.words-1]>>(p.literals%64)&1 == 1, steps
}

// step moves the states over one octet and reports whether any is left.
func (p *Pattern) step(state, stay, row, lower []uint64) bool {
	var carry, alive uint64
	for w := range state {
		var hit uint64
		if row != nil {
			hit = row[w]
		}
		if lower != nil {
			hit |= lower[w]
		}
		moved := state[w] & hit
		state[w] = state[w]&stay[w] | moved<<1 | carry
		carry = moved >> 63
		alive |= state[w]
	}
	return alive != 0
}
