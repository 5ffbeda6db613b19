package message

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

func TestFold(t *testing.T) {
	same := [][]string{
		{"hello", "HELLO", "ＨＥＬＬＯ"},
		{"é", "É", "e\u0301", "E\u0301"},
		{"K", "k", "\u212a"},
		{"s", "S", "ſ"},
		{"ß", "ẞ"},
		{"σ", "ς", "Σ"},
		{"i", "I", "ı"},
		{"İ", "i\u0307"},
		{"ﬁ", "fi"},
		{"Å", "å", "\u212b", "a\u030a"},
		{"a b", "a\r\n b", "a\t\tb", "a\u00a0 b", "a\x00b", "A\u2003B"},
		{"soft", "so\u00adft", "so\u200bft"},
		{"привет", "ПРИВЕТ"},
		{"한글", "한글"},
		{"\xff", "\ufffd"},
	}
	for _, group := range same {
		for _, s := range group[1:] {
			if Fold(s) != Fold(group[0]) {
				t.Errorf("%q folds to %q, %q to %q", s, Fold(s), group[0], Fold(group[0]))
			}
		}
	}
	different := [][2]string{{"ß", "ss"}, {"한", "하"}, {"a b", "ab"}, {"e", "é"}, {"ä", "ae"}}
	for _, pair := range different {
		if Fold(pair[0]) == Fold(pair[1]) {
			t.Errorf("%q and %q are the same", pair[0], pair[1])
		}
	}
	for r := rune(0); r < 0x20000; r++ {
		once := Fold("x" + string(r) + "x")
		if Fold(once) != once {
			t.Fatalf("%U folds to %q, then to %q", r, once, Fold(once))
		}
		for _, c := range []byte(once) {
			if c < ' ' {
				t.Fatalf("%U folds to %q", r, once)
			}
		}
	}
}

func TestDecodeHeader(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?q?a=C3=BC_b?=", "aü b"},
		{"=?UTF-8?B?w7w=?=", "ü"},
		{"=?utf-8?b?w7w?=", "ü"},
		{"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?=\r\n =?utf-8?q?b?= c", "ab c"},
		{"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"},
		{"=?iso-8859-1?q?=FC?= =?koi8-r?b?8NLJ18XU?=", "üПривет"},
		{"=?utf-8*de?q?=C3=BC?=", "ü"},
		{"x=?utf-8?q?a?=y", "xay"},
		{"\"=?utf-8?q?a?=\"", "\"a\""},
		{"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"},
		{"=?gb2312?b?1tDOxA==?=", "中文"},
		{"=?unknown-8bit?q?gr=FC=DFe?=", "grüße"},
		{"=?us-ascii?q?gr=FC=DFe?=", "grüße"},
		{"gr\xfc\xdfe", "grüße"},
		{"grüße", "grüße"},
		{"=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"=?utf-8?q?open", "=?utf-8?q?open"},
		{"=?=?utf-8?q?a?=", "=?a"},
		{"=?utf-8?q?=FF?=", "\ufffd"},
		{"=?utf-8?q??=", ""},
	}
	for _, test := range tests {
		if got := DecodeHeader([]byte(test.in)); got != test.want {
			t.Errorf("%q: %q, want %q", test.in, got, test.want)
		}
	}
}

func TestParseDate(t *testing.T) {
	zone := func(h int) *time.Location { return time.FixedZone("", h*3600) }
	utc := time.UTC
	tests := []struct {
		in   string
		want time.Time
	}{
		{"Fri, 21 Nov 1997 09:55:06 -0600", time.Date(1997, 11, 21, 9, 55, 6, 0, zone(-6))},
		{"Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)", time.Date(1969, 2, 13, 23, 32, 0, 0, time.FixedZone("", -12600))},
		{"21 Nov 97 09:55:06 GMT", time.Date(1997, 11, 21, 9, 55, 6, 0, utc)},
		{"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", time.Time{}},
		{"1 Jan 00 00:00 EST", time.Date(2000, 1, 1, 0, 0, 0, 0, zone(-5))},
		{"1 Jan 103 00:00 PDT", time.Date(2003, 1, 1, 0, 0, 0, 0, zone(-7))},
		{"Mon, 23 Nov 2026 21:05:57", time.Date(2026, 11, 23, 21, 5, 57, 0, utc)},
		{"Mon Nov 23 21:05:57 2026", time.Date(2026, 11, 23, 21, 5, 57, 0, utc)},
		{"Thu Nov  5 21:05:57 UTC 2026", time.Date(2026, 11, 5, 21, 5, 57, 0, utc)},
		{"2026-11-23T21:05:57+01:00", time.Date(2026, 11, 23, 21, 5, 57, 0, zone(1))},
		{"2026-11-23 21:05:57 +0100", time.Date(2026, 11, 23, 21, 5, 57, 0, zone(1))},
		{"18-Nov-1999 5:06", time.Date(1999, 11, 18, 5, 6, 0, 0, utc)},
		{"November 23, 2026 9:05 PM", time.Date(2026, 11, 23, 21, 5, 0, 0, utc)},
		{"Sat, 01 Feb 2007 99:99:99 +0200", time.Date(2007, 2, 1, 0, 0, 0, 0, zone(2))},
		{"Wrong, 5 May 2020 10:00:00 +9999", time.Date(2020, 5, 5, 10, 0, 0, 0, utc)},
		{"once upon a time", time.Time{}},
		{"", time.Time{}},
		{"99 Jan 2020", time.Time{}},
		{"((((((", time.Time{}},
	}
	for _, test := range tests {
		got := ParseDate(test.in)
		if test.in == "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600" {
			if got.Format("2006-01-02") != "1997-11-21" { // the day, at least
				t.Errorf("%q: %v", test.in, got)
			}
			continue
		}
		if !got.Equal(test.want) || got.Format("2006-01-02") != test.want.Format("2006-01-02") {
			t.Errorf("%q: %v, want %v", test.in, got, test.want)
		}
	}
}

func TestBaseSubject(t *testing.T) {
	tests := []struct {
		in, want string
		reply    bool
	}{
		{"a", "A", false},
		{"[foo] Fwd: [bar] Re: fw: b (fWd)  (fwd)", "B", true},
		{"b (a)", "B (A)", false},
		{"Re: [FWD: c]", "C", true},
		{"[xyz]", "[XYZ]", false},
		{"[xyz] d", "D", false},
		{"_", "_", false},
		{"", "", false},
		{"Re:", "", true},
		{"re [list] : x", "X", true},
		{"RE: re:  x", "X", true},
		{"Refwd: x", "REFWD: X", false},
		{"[a][b] x", "X", false},
		{"[a][b]", "[B]", false},
		{"[fwd: [fwd: x]]", "X", true},
		{"=?utf-8?q?Re=3A_=C3=BC?=", Fold("ü"), true},
		{"x (fwd) (fwd)", "X", true},
		{"  x\t y ", "X Y", false},
		{"Fw: [b] c", "C", true},
		{"[a] Re: [b]", "[B]", true},
	}
	for _, test := range tests {
		got, reply := BaseSubject([]byte(test.in))
		if got != test.want || reply != test.reply {
			t.Errorf("%q: %q %v, want %q %v", test.in, got, reply, test.want, test.reply)
		}
	}
}

func TestSortKeysAndReferences(t *testing.T) {
	p := parse(t, "From: \"=?utf-8?q?=C3=84nne?=\" <Anne@example.test>, x@y\r\nTo: friends: bob@example.test;\r\nCc: Bob@example.test\r\n"+
		"Message-ID: <a@b> (x)\r\nReferences: <1@x>junk<2\r\n @x>\r\nIn-Reply-To: <3@x>\r\n\r\n")
	got := []string{p.SortFrom, p.DisplayFrom, p.SortTo, p.DisplayTo, p.SortCc, p.MessageID, strings.Join(p.References, " ")}
	want := []string{"ANNE", Fold("änne"), "FRIENDS", "FRIENDS", "BOB", "<a@b>", "<1@x> <2@x>"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %q, want %q", i, got[i], want[i])
		}
	}
	if p = parse(t, "From: a@b\r\nIn-Reply-To: <3@x> <4@x>\r\n\r\n"); p.DisplayFrom != "A@B" || strings.Join(p.References, " ") != "<3@x>" {
		t.Errorf("%q %q", p.DisplayFrom, p.References)
	}
	long := parse(t, "References: <first@x>"+strings.Repeat(" <r@x>", 500)+" <last@x>\r\n\r\n")
	if n := len(long.References); n != maxReferences || long.References[0] != "<first@x>" || long.References[n-1] != "<last@x>" {
		t.Errorf("%d references, %v", n, long.References[:2])
	}
}

func searchText(t *testing.T, msg string) (header, body string) {
	t.Helper()
	h, b, err := SearchText(strings.NewReader(msg), int64(len(msg)), MaxText)
	if err != nil {
		t.Fatal(err)
	}
	return string(h), string(b)
}

func encode(t *testing.T, encoder interface{ String(string) (string, error) }, s string) string {
	t.Helper()
	out, err := encoder.String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTextCharsets(t *testing.T) {
	tests := []struct{ charset, body, want string }{
		{"utf-8", "grüße", "grüße"},
		{"iso-8859-1", "gr\xfc\xdfe", "grüße"},
		{"windows-1252", "\x93q\x94", "“q”"},
		{"koi8-r", "\xf0\xd2\xc9\xd7\xc5\xd4", "привет"},
		{"gb18030", encode(t, simplifiedchinese.GB18030.NewEncoder(), "中文€"), "中文€"},
		{"gb2312", encode(t, simplifiedchinese.GBK.NewEncoder(), "中文"), "中文"},
		{"iso-2022-jp", encode(t, japanese.ISO2022JP.NewEncoder(), "日本語"), "日本語"},
		{"shift_jis", encode(t, japanese.ShiftJIS.NewEncoder(), "日本語"), "日本語"},
		{"euc-kr", encode(t, korean.EUCKR.NewEncoder(), "한글"), "한글"},
		{"ks_c_5601-1987", encode(t, korean.EUCKR.NewEncoder(), "한글"), "한글"},
		{"hz-gb-2312", encode(t, simplifiedchinese.HZGB2312.NewEncoder(), "中文"), "中文"},
		{"utf-7", "Hi Mom -+Jjo--! +2D3eAA- 1 +- 1", "Hi Mom -☺-! 😀 1 + 1"},
		{"utf-16be", "\x00a\x00b\x04\x16", "abж"},
		{"cp437", "gr\x81\xe1e", "grüße"},
		{"nonsense", "gr\xfc\xdfe", "grüße"},
		{"", "grüße", "grüße"},
		{"us-ascii", "gr\xfc\xdfe", "grüße"},
		{"ansi_x3.4-1968", "abc", "abc"},
	}
	for _, test := range tests {
		msg := "Content-Type: text/plain; charset=\"" + test.charset + "\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(test.body))
		if _, got := searchText(t, msg); got != Fold(test.want) {
			t.Errorf("%s: %q, want %q", test.charset, got, Fold(test.want))
		}
	}
}

func TestText(t *testing.T) {
	msg := crlf(`From: alice@example.test
Subject: =?utf-8?q?T=C3=A4st?=
X-Odd: a
 b
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

soft=
ly =C3=BCber=20
the line
--b
Content-Type: text/html

<html><head><title>no</title><style>p{}</style></head><body><!-- hidden -->One&nbsp;<b>bo</b>ld<br>two &lt;three&gt; 1 < 2<script>x</script></body>
--b
Content-Type: application/pdf; name="report.pdf"
Content-Disposition: attachment; filename*0*=utf-8''R%C3%A9; filename*1=" port.pdf"
Content-Transfer-Encoding: base64

c2VjcmV0
--b
Content-Type: message/rfc822

Subject: inner =?utf-8?q?=C3=A9?=
From: bob@example.test

inner body
--b--
epilogue
`)
	header, body := searchText(t, msg)
	for _, want := range []string{"softly über the line", "One bold two <three> 1 < 2", "Ré port.pdf", "subject: inner é", "inner body", "bob@example"} {
		if !strings.Contains(body, Fold(want)) {
			t.Errorf("no %q in %q", want, body)
		}
	}
	for _, not := range []string{"preamble", "epilogue", "secret", "hidden", "p{}", "alice", "no\n"} {
		if strings.Contains(body, Fold(not)) {
			t.Errorf("%q in %q", not, body)
		}
	}
	for _, want := range []string{"täst", "subject: täst", "x-odd: a b"} {
		if !strings.Contains(header, Fold(want)) {
			t.Errorf("no %q in %q", want, header)
		}
	}
	if !HeaderHasField([]byte(header), "x-ODD", Fold("a b")) || !HeaderHasField([]byte(header), "From", "") || HeaderHasField([]byte(header), "Odd", "") || HeaderHasField([]byte(header), "from", Fold("täst")) {
		t.Errorf("fields of %q", header)
	}
	_, clipped, err := SearchText(strings.NewReader(msg), int64(len(msg)), 20)
	if err != nil || len(clipped) > 20 || !strings.HasPrefix(body, string(clipped)) {
		t.Errorf("%q %v", clipped, err)
	}
}

func TestPreview(t *testing.T) {
	tests := []struct{ msg, want string }{
		{"\nHello\n\n  world \n", "Hello world"},
		{"Content-Type: text/html\n\n<style>x</style><p>Hello</p>\n<p>w&ouml;rld</p>", "Hello wörld"},
		{"Content-Type: image/png\n\nxxx", ""},
		{"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n \n--b\nContent-Type: text/html\n\n&zwnj;&#847;hi\n--b--\n", "hi"},
		{"\n" + strings.Repeat("ab ", 200), strings.TrimSpace(strings.Repeat("ab ", 66) + "ab")},
		{"Content-Type: text/plain; charset=utf-8\n\n" + strings.Repeat("é", 300), strings.Repeat("é", 128)},
	}
	for _, test := range tests {
		if got := parse(t, test.msg).Preview; got != test.want {
			t.Errorf("%q: %q, want %q", test.msg, got, test.want)
		}
	}
}

// TestTextBounds folds what grows most: U+FDFA becomes eleven times its octets.
func TestTextBounds(t *testing.T) {
	grow := strings.Repeat("\ufdfa", MaxHeader/3-100)
	msg := "Subject: " + grow + "\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat(grow, 3)
	header, body := searchText(t, msg)
	if len(header) > MaxHeaderText || len(body) > MaxText || len(body) < MaxText-100 {
		t.Errorf("header of %d octets, body of %d", len(header), len(body))
	}
	p := parse(t, msg)
	if p.HeaderText != HeaderTextCut || len(p.SortSubject) > 20*maxSubject {
		t.Errorf("header text of %d octets, sort key of %d", len(p.HeaderText), len(p.SortSubject))
	}
}

// TestTextPanics: the goroutines that call SearchText have no session whose end
// would contain a panic.
func TestTextPanics(t *testing.T) {
	if _, _, err := SearchText(panics{}, 100, MaxText); err == nil {
		t.Error("a panic is no error")
	}
}

type panics struct{}

func (panics) ReadAt([]byte, int64) (int, error) { panic("a decoder's fault") }
