package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// json prints v for programs.
func (con *console) json(v any) error {
	e := json.NewEncoder(con.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say prints a line for people.
func (con *console) say(format string, args ...any) error {
	_, err := fmt.Fprintf(con.out, format+"\n", args...)
	return err
}

// table prints rows under a heading, in columns.
func (con *console) table(heading string, rows [][]string) error {
	w := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// fields prints names and values for people.
func (con *console) fields(pairs [][2]string) error {
	w := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	for _, p := range pairs {
		fmt.Fprintf(w, "%s\t%s\n", p[0], p[1])
	}
	return w.Flush()
}

// or is s, or instead when s is empty.
func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// count and size show a limit; nil is none.
func count(n *int64) string {
	if n == nil {
		return "unlimited"
	}
	return strconv.FormatInt(*n, 10)
}

func size(n *int64) string {
	if n == nil {
		return "unlimited"
	}
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 40, "T"}, {1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if *n >= u.bytes && *n%u.bytes == 0 {
			return strconv.FormatInt(*n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(*n, 10)
}

// sizeFlag is a limit on the command line: a number, with K, M, G or T for
// powers of 1,024, or none.
type sizeFlag struct{ limit *int64 }

func (f *sizeFlag) UnmarshalText(text []byte) error {
	s := strings.ToUpper(strings.TrimSpace(string(text)))
	if s == "NONE" {
		f.limit = nil
		return nil
	}
	s = strings.TrimSuffix(strings.TrimSuffix(s, "B"), "I")
	shift := 0
	if i := strings.IndexAny(s, "KMGT"); i >= 0 && i == len(s)-1 {
		shift = 10 * (1 + strings.IndexByte("KMGT", s[i]))
		s = s[:i]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is not a limit: write a number such as 1000, 500M or 2G, or none", text)
	}
	n <<= shift
	f.limit = &n
	return nil
}
