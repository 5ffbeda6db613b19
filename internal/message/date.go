package message

import (
	"strings"
	"time"
)

// maxDate is how much of a Date field is looked at, in octets.
const maxDate = 256

// ParseDate reads a Date field (RFC 5322 §3.3, §4.3) and what programs write in
// its place: obsolete zones, two-digit years, missing seconds or zones, wrong or
// missing week days, comments, asctime's and ISO 8601's order. The time is in
// the zone that the field gives; it is zero where there is no date in the text.
func ParseDate(s string) time.Time {
	s = clip(s, maxDate)
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(s)); err == nil {
		return t
	}
	d := dateReader{month: -1, day: -1, year: -1, zone: time.UTC}
	for s != "" {
		s = d.token(s)
	}
	return d.time()
}

// dateReader collects the elements of a date in whatever order they come.
type dateReader struct {
	day, month, year  int
	hour, minute, sec int
	clock             bool
	zone              *time.Location
}

// token takes one word off s.
func (d *dateReader) token(s string) string {
	if s[0] == '(' {
		return string(skipComment([]byte(s)))
	}
	n := 0
	for n < len(s) && !strings.ContainsRune(" \t\r\n,(", rune(s[n])) {
		n++
	}
	if n == 0 {
		return s[1:]
	}
	switch word := s[:n]; {
	case strings.Contains(word, ":"):
		d.readClock(word)
	case (word[0] == '+' || word[0] == '-') && len(word) > 1:
		d.readOffset(word)
	case word[0] >= '0' && word[0] <= '9':
		for part := range strings.SplitSeq(word, "-") { // 18-Nov-1999, 1999-11-18
			d.readWord(part)
		}
	default:
		d.readWord(word)
	}
	return s[n:]
}

// readWord reads a number or a name.
func (d *dateReader) readWord(word string) {
	if n, digits := leadingNumber(word); digits > 0 {
		switch {
		case digits >= 3 && d.year < 0:
			if d.year = n; digits == 3 { // RFC 5322 §4.3
				d.year += 1900
			}
		case d.day < 0:
			d.day = n
		case d.month < 0 && d.year >= 0 && d.day <= 12: // 1999-11-18: what was the day is the month
			d.month, d.day = d.day-1, n
		case d.year < 0 && n < 50:
			d.year = 2000 + n
		case d.year < 0:
			d.year = 1900 + n
		}
		return
	}
	if len(word) < 1 {
		return
	}
	if len(word) >= 3 && d.month < 0 {
		if i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", strings.ToLower(word[:3])); i >= 0 && i%3 == 0 {
			d.month = i / 3
			return
		}
	}
	switch upper := strings.ToUpper(word); upper {
	case "PM":
		if d.hour < 12 {
			d.hour += 12
		}
	case "AM":
		d.hour %= 12
	case "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT":
		hours := strings.Index("ECMP", upper[:1]) + 5
		if upper[1] == 'D' {
			hours--
		}
		d.zone = time.FixedZone("", -hours*3600)
	}
}

// leadingNumber reads up to 5 digits.
func leadingNumber(s string) (n, digits int) {
	for digits < len(s) && digits < 5 && s[digits] >= '0' && s[digits] <= '9' {
		n = n*10 + int(s[digits]-'0')
		digits++
	}
	return n, digits
}

// readClock reads 15:04, 15:04:05 and their kin; a "T" before it is ISO 8601's.
func (d *dateReader) readClock(word string) {
	if date, clock, ok := strings.Cut(word, "T"); ok {
		for part := range strings.SplitSeq(date, "-") {
			d.readWord(part)
		}
		word = clock
	}
	if d.clock {
		return
	}
	if i := strings.IndexAny(word, "+-"); i > 0 {
		d.readOffset(word[i:])
		word = word[:i]
	}
	var parts [3]int
	for i, part := range strings.SplitN(word, ":", 3) {
		parts[i], _ = leadingNumber(part)
	}
	d.hour, d.minute, d.sec, d.clock = parts[0], parts[1], parts[2], true
}

// readOffset reads +0100, -05:00 or +1.
func (d *dateReader) readOffset(word string) {
	digits := strings.ReplaceAll(word[1:], ":", "")
	n, count := leadingNumber(digits)
	switch {
	case count == 0:
		return
	case count <= 2:
		n *= 100
	}
	seconds := n/100*3600 + n%100*60
	if n/100 > 24 {
		return
	}
	if word[0] == '-' {
		seconds = -seconds
	}
	d.zone = time.FixedZone("", seconds)
}

// time puts the elements together. An impossible time of day is taken as
// midnight: the day is still what the field says.
func (d *dateReader) time() time.Time {
	if d.day < 1 || d.day > 31 || d.month < 0 || d.month > 11 || d.year < 1 || d.year > 9999 {
		return time.Time{}
	}
	if d.hour > 23 || d.minute > 59 || d.sec > 60 {
		d.hour, d.minute, d.sec = 0, 0, 0
	}
	return time.Date(d.year, time.Month(d.month+1), d.day, d.hour, d.minute, d.sec, 0, d.zone)
}
