package wire

import (
	"strings"
	"testing"
	"time"
)

// lexerOn reads a command line of a client that has logged in.
func lexerOn(line string) *Lexer {
	l := NewLexer(strings.NewReader(line+"\r\n"), User)
	l.Continue = func() error { return nil }
	l.Begin()
	return l
}

func TestDate(t *testing.T) {
	for line, want := range map[string]string{
		"1-Feb-1994":         "1994-02-01",
		"01-feb-1994":        "1994-02-01",
		`"29-FEB-2024"`:      "2024-02-29",
		"{10}\r\n1-Feb-1994": "1994-02-01",
		"31-Dec-9999":        "9999-12-31",
		"29-Feb-2023":        "",
		"31-Apr-2023":        "",
		"0-Jan-2023":         "",
		"32-Jan-2023":        "",
		"1-Foo-2023":         "",
		"1-Feb-94":           "",
		"1-Feb-0000":         "",
		"1-Feb-19940":        "",
		"001-Feb-1994":       "",
		"-1-Feb-1994":        "",
		"1 Feb 1994":         "",
		"Feb":                "",
		`""`:                 "",
	} {
		got, err := lexerOn(line).Date()
		switch {
		case want == "" && err == nil:
			t.Errorf("date %q is taken for %v", line, got)
		case want != "" && (err != nil || got.Format(time.DateOnly) != want):
			t.Errorf("date %q is %v, %v; want %s", line, got, err, want)
		}
	}
}

func TestDateTime(t *testing.T) {
	for line, want := range map[string]string{
		`"17-Jul-1996 02:44:25 -0700"`: "1996-07-17T09:44:25Z",
		`" 1-Feb-1994 21:52:25 -0800"`: "1994-02-02T05:52:25Z",
		`"01-Feb-1994 21:52:25 +0000"`: "1994-02-01T21:52:25Z",
		`"1-Feb-1994 21:52:25 +0530"`:  "1994-02-01T16:22:25Z",
		`"31-Dec-2016 23:59:60 +0000"`: "2016-12-31T23:59:59Z",
		`"30-Feb-1994 21:52:25 +0000"`: "",
		`"01-Feb-1994 24:00:00 +0000"`: "",
		`"01-Feb-1994 21:60:25 +0000"`: "",
		`"01-Feb-1994 21:52:25"`:       "",
		`"01-Feb-1994 21:52:25 0000"`:  "",
		`"01-Feb-1994 21:52:25 +9900"`: "",
		`"01-Feb-1994 21:52:25 +000"`:  "",
		`"01-Feb-1994"`:                "",
		`01-Feb-1994`:                  "",
		`""`:                           "",
	} {
		got, err := lexerOn(line).DateTime()
		switch {
		case want == "" && err == nil:
			t.Errorf("date-time %q is taken for %v", line, got)
		case want != "" && (err != nil || got.UTC().Format(time.RFC3339) != want):
			t.Errorf("date-time %q is %v, %v; want %s", line, got, err, want)
		}
	}
}

func FuzzDateTime(f *testing.F) {
	f.Add(" 1-Feb-1994 21:52:25 -0800")
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseDateTime(s)
		if !ok {
			return
		}
		if again, ok := parseDateTime(FormatDateTime(at)); !ok || !again.Equal(at) {
			t.Fatalf("%q is written as %q", s, FormatDateTime(at))
		}
	})
}
