package message

import (
	"bytes"
	"strings"
	"testing"
)

// structureMessage exercises every element of BODYSTRUCTURE. Its line ends are
// bare line feeds here; tests also read it with CRLF.
const structureMessage = `From: user@domain.example
Date: Sat, 24 Mar 2007 23:00:00 +0200
Mime-Version: 1.0
Content-Type: multipart/mixed; boundary="foo
 bar"

Root MIME prologue

--foo bar
Content-Type: text/x-myown; charset=us-ascii; foo="quoted\"string"
Content-ID: <foo@example.com>
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Disposition: inline; foo=bar
Content-Description: hellodescription
Content-Language: en, fi, se
Content-Location: http://example.com/test.txt

hello

--foo bar
Content-Type: message/rfc822

From: sub@domain.example
To: sub-to1@domain.example, sub-to2@domain.example
Date: Sun, 12 Aug 2012 12:34:56 +0300
Subject: submsg
Content-Type: multipart/alternative; boundary="sub1"

Sub MIME prologue
--sub1
Content-Type: text/html
Content-Transfer-Encoding: 8BIT

<p>Hello world</p>

--sub1
Content-Type: text/plain
Content-Transfer-Encoding: ?invalid

Hello another world

--sub1--
Sub MIME epilogue

--foo bar--
Root MIME epilogue
`

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func parse(t testing.TB, s string) *Parsed {
	t.Helper()
	p, err := Parse(strings.NewReader(s), int64(len(s)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBodyStructure(t *testing.T) {
	const want = `(("text" "x-myown" ("charset" "us-ascii" "foo" "quoted\"string") "<foo@example.com>" "hellodescription" "7bit" 7 1 "Q2hlY2sgSW50ZWdyaXR5IQ==" ("inline" ("foo" "bar")) ("en" "fi" "se") "http://example.com/test.txt")` +
		`("message" "rfc822" NIL NIL NIL "7bit" 424 ("Sun, 12 Aug 2012 12:34:56 +0300" "submsg" ((NIL NIL "sub" "domain.example")) ((NIL NIL "sub" "domain.example")) ((NIL NIL "sub" "domain.example")) ((NIL NIL "sub-to1" "domain.example")(NIL NIL "sub-to2" "domain.example")) NIL NIL NIL NIL)` +
		` (("text" "html" ("charset" "us-ascii") NIL NIL "8bit" 20 1 NIL NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 21 1 NIL NIL NIL NIL) "alternative" ("boundary" "sub1") NIL NIL NIL) 21 NIL NIL NIL NIL)` +
		` "mixed" ("boundary" "foo bar") NIL NIL NIL)`
	const wantBody = `(("text" "x-myown" ("charset" "us-ascii" "foo" "quoted\"string") "<foo@example.com>" "hellodescription" "7bit" 7 1)` +
		`("message" "rfc822" NIL NIL NIL "7bit" 424 ("Sun, 12 Aug 2012 12:34:56 +0300" "submsg" ((NIL NIL "sub" "domain.example")) ((NIL NIL "sub" "domain.example")) ((NIL NIL "sub" "domain.example")) ((NIL NIL "sub-to1" "domain.example")(NIL NIL "sub-to2" "domain.example")) NIL NIL NIL NIL)` +
		` (("text" "html" ("charset" "us-ascii") NIL NIL "8bit" 20 1)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 21 1) "alternative") 21)` +
		` "mixed")`
	p := parse(t, crlf(structureMessage))
	if got := string(p.BodyStructure); got != want {
		t.Errorf("BODYSTRUCTURE\n got %s\nwant %s", got, want)
	}
	if got := string(BodyFromStructure(p.BodyStructure)); got != wantBody {
		t.Errorf("BODY\n got %s\nwant %s", got, wantBody)
	}
	bare := parse(t, structureMessage)
	if n := bytes.Count(p.BodyStructure, []byte(" 21 ")); n != 2 || !bytes.Contains(bare.BodyStructure, []byte(`"7bit" 6 1 "Q2h`)) {
		t.Errorf("bare line feeds: %s", bare.BodyStructure)
	}
}
