package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Where commands stand: indented or fenced in a document, between backticks, and
// in doctor as the line that mends a finding.
var (
	inCode  = regexp.MustCompile(`(?m)^[ \t]*(posthouse .*)$`)
	spoken  = regexp.MustCompile("`(posthouse [^`\\n]+)`")
	mending = regexp.MustCompile(`"(?:or: |see )?(posthouse [^"\n]+)"`)
)

// TestDocumentedCommands parses every command that the documents, the comments
// and the messages of the program name: what people are told to type is taken.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	check := func(path string, p *regexp.Regexp, whole bool) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.FindAllStringSubmatch(string(text), -1) {
			for _, args := range typed(m[1]) {
				key := fmt.Sprint(whole, args)
				if seen[key] {
					continue
				}
				seen[key] = true
				// A parser keeps what it parsed.
				_, err := newParser(new(cli), io.Discard, io.Discard, func(int) {}).Parse(args)
				// A sentence may name a command without its arguments.
				if err != nil && (whole || !strings.HasPrefix(err.Error(), "expected ") && !strings.HasPrefix(err.Error(), "missing ")) {
					t.Errorf("%s: %s: %v", path, m[1], err)
				}
			}
		}
	}
	for _, folder := range []string{"../../*.md", "../../docs/*.md", "*.go", "../../internal/*/*.go", "../../mailstore/localpg/*.go", "../../packaging/postinst"} {
		files, err := filepath.Glob(folder)
		if err != nil || len(files) == 0 {
			t.Fatal(folder, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			check(path, spoken, false)
			if strings.HasSuffix(path, ".md") {
				check(path, inCode, true)
			} else if strings.Contains(path, "/doctor/") {
				check(path, mending, false)
			}
		}
	}
	if len(seen) < 120 {
		t.Errorf("only %d commands were found", len(seen))
	}
}

var (
	verbs    = regexp.MustCompile(`%(\[\d\])?[a-z]`)
	redirect = regexp.MustCompile(`\s[<>]\s.*`)
	between  = regexp.MustCompile(`&&|\|\||;`)
)

// typed gives the arguments of each posthouse of a line. What is left out (…),
// optional, to choose from, or goes on in the next line is nothing to type.
func typed(line string) (list [][]string) {
	line, _, _ = strings.Cut(line, " #")
	if strings.ContainsAny(line, "…[") && !strings.Contains(line, "%[") || strings.Contains(line, "...") || strings.Contains(line, " | ") ||
		strings.HasSuffix(line, `\`) || strings.HasPrefix(line, "posthouse %") {
		return nil
	}
	line = strings.ReplaceAll(redirect.ReplaceAllString(verbs.ReplaceAllString(line, "x"), ""), "SIZE", "1G")
	for _, part := range between.Split(line, -1) {
		if args := words(part); len(args) > 1 && args[0] == "posthouse" && args[1] != "--help" {
			list = append(list, args[1:])
		}
	}
	return list
}

// words splits as a shell does, as far as documents need it.
func words(s string) (list []string) {
	var word strings.Builder
	quote, any, escaped := rune(0), false, false
	for _, r := range s {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote == 0:
			escaped, any = true, true
		case quote == 0 && (r == '\'' || r == '"'):
			quote, any = r, true
		case r == quote:
			quote = 0
		case quote == 0 && r == ' ':
			if any {
				list = append(list, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if any {
		list = append(list, word.String())
	}
	return list
}
