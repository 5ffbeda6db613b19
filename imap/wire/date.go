package wire

import (
	"strings"
	"time"
)

var months = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

// Date consumes a date of SEARCH, 1-Feb-1994, quoted or not (RFC 3501 §9,
// date). It is midnight UTC: the zone says nothing.
func (l *Lexer) Date() (time.Time, error) {
	s, err := l.Astring()
	if err != nil {
		return time.Time{}, err
	}
	date, rest, ok := cutDate(s)
	if !ok || rest != "" {
		return time.Time{}, Syntaxf("malformed date, expected one like 1-Feb-1994")
	}
	return date, nil
}

// DateTime consumes a quoted date-time of APPEND,
// " 1-Feb-1994 21:52:25 -0800" (RFC 3501 §9, date-time).
func (l *Lexer) DateTime() (time.Time, error) {
	s, err := l.QuotedOrLiteral()
	if err != nil {
		return time.Time{}, err
	}
	t, ok := parseDateTime(s)
	if !ok {
		return t, Syntaxf("malformed date-time, expected one like %q", " 1-Feb-1994 21:52:25 -0800")
	}
	return t, nil
}

func parseDateTime(s string) (time.Time, bool) {
	// date-day-fixed has two columns; some clients write one.
	date, rest, ok := cutDate(strings.TrimPrefix(s, " "))
	if !ok || len(rest) != len(" 15:04:05 -0700") ||
		rest[0] != ' ' || rest[3] != ':' || rest[6] != ':' || rest[9] != ' ' || rest[10] != '+' && rest[10] != '-' {
		return time.Time{}, false
	}
	hour, ok1 := digits(rest[1:3])
	minute, ok2 := digits(rest[4:6])
	second, ok3 := digits(rest[7:9])
	zoneHour, ok4 := digits(rest[11:13])
	zoneMinute, ok5 := digits(rest[13:15])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || hour > 23 || minute > 59 || second > 60 || zoneHour > 23 || zoneMinute > 59 {
		return time.Time{}, false
	}
	zone := zoneHour*3600 + zoneMinute*60
	if rest[10] == '-' {
		zone = -zone
	}
	year, month, day := date.Date()
	return time.Date(year, month, day, hour, minute, min(second, 59), 0, time.FixedZone("", zone)), true
}

// FormatDateTime is the date-time of INTERNALDATE, without its quotes.
func FormatDateTime(t time.Time) string { return t.Format("_2-Jan-2006 15:04:05 -0700") }

// cutDate reads a date at the start of s: one or two digits for the day, a
// month's English name, a year of four digits. The day must exist.
func cutDate(s string) (date time.Time, rest string, ok bool) {
	dayText, s, ok1 := strings.Cut(s, "-")
	monthText, s, ok2 := strings.Cut(s, "-")
	if !ok1 || !ok2 || len(dayText) > 2 || len(s) < 4 {
		return date, s, false
	}
	day, ok1 := digits(dayText)
	year, ok2 := digits(s[:4])
	if !ok1 || !ok2 || year == 0 {
		return date, s, false
	}
	for i, name := range months {
		if strings.EqualFold(name, monthText) {
			date = time.Date(year, time.Month(i+1), day, 0, 0, 0, 0, time.UTC)
			return date, s[4:], date.Day() == day
		}
	}
	return date, s, false
}

func digits(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}
