package wire

import (
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		reference, pattern, name string
		want                     bool
	}{
		{"", "*", "INBOX", true},
		{"", "*", "a/b/c", true},
		{"", "%", "a", true},
		{"", "%", "a/b", false},
		{"", "%/%", "a/b", true},
		{"", "%/%", "a/b/c", false},
		{"", "a%", "abc", true},
		{"", "a%", "a/bc", false},
		{"", "a*c", "a/bc", true},
		{"", "a%*c", "a/bc", true},
		{"", "%*", "a/bc", true},
		{"", "*%", "a/bc", true},
		{"", "a", "a", true},
		{"", "a", "ab", false},
		{"", "", "a", false},
		{"", "A", "a", false},
		{"", "inbox", "INBOX", true},
		{"", "InBoX", "INBOX", true},
		{"", "inb%", "INBOX", true},
		{"", "%x", "INBOX", true},
		{"", "*BOX", "INBOX", true},
		{"", "inbox/%", "INBOX/a", true},
		{"", "inbox/A", "INBOX/a", false},
		{"", "INBOX", "inboxes", false},
		{"a/", "%", "a/b", true},
		{"a/", "b", "a/b", true},
		{"a", "%", "ab", true},
		{"in", "box", "INBOX", true},
		{"", "&AOQ-%", "äöü", true},
		{"", "&AOQ-*", "a", false},
		{"", "R&D", "R&D", true},
		{"", "*" + strings.Repeat("x", 63) + "*y", strings.Repeat("x", 64) + "/y", true},
		{"", strings.Repeat("x", 64), strings.Repeat("x", 64), true},
		{"", strings.Repeat("x", 65), strings.Repeat("x", 64), false},
		{"", strings.Repeat("x", 1000) + "%", strings.Repeat("x", 1000), true},
		{"", strings.Repeat("x", 1001), strings.Repeat("x", 1000), false},
	} {
		if got := ParsePattern(c.reference, c.pattern, false).Match(c.name); got != c.want {
			t.Errorf("LIST %q %.20q matches %.20q: %v, want %v", c.reference, c.pattern, c.name, got, c.want)
		}
	}
}

// PROTOCOLS.md, IMAP rule 12; TRUST.md row 6.
func TestRule12WildcardBombIsLinear(t *testing.T) {
	name := strings.Repeat("a", MaxMailboxName)
	total := 0
	for _, pattern := range []string{
		strings.Repeat("*a", 1000) + "b",
		strings.Repeat("%a", 1000) + "b",
		strings.Repeat("*%", 1<<19),
		strings.Repeat("*a%*", 900),
		strings.Repeat("a*", 1<<19),
	} {
		p := ParsePattern("", pattern, false)
		_, steps := p.match(name)
		total += steps
		if limit := len(name) * (MaxMailboxName/64 + 1); steps > limit {
			t.Errorf("%.8q…: %d steps, want at most %d", pattern, steps, limit)
		}
	}
	if total < len(name) { // the floor: it must have matched something
		t.Errorf("only %d steps in all", total)
	}
}

// matchNaive is the definition, with its exponential backtracking.
func matchNaive(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch pattern[0] {
	case '*', '%':
		for i := 0; ; i++ {
			if matchNaive(pattern[1:], name[i:]) {
				return true
			}
			if i == len(name) || pattern[0] == '%' && name[i] == '/' {
				return false
			}
		}
	}
	return name != "" && name[0] == pattern[0] && matchNaive(pattern[1:], name[1:])
}

func FuzzPattern(f *testing.F) {
	f.Add("a*b%c", "aXb/c")
	f.Add("%/%", "a/b")
	f.Add("*a*a%", "aaa/aa")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(name) > 30 || len(pattern) > 200 || strings.Count(pattern, "*")+strings.Count(pattern, "%") > 6 || strings.HasPrefix(name, "INBOX") {
			return
		}
		if got, want := compilePattern(pattern).Match(name), matchNaive(pattern, name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}
