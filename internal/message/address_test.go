package message

import (
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	tests := []struct{ in, want string }{
		{"user@domain", `(NIL NIL "user" "domain")`},
		{"user@domain (Real Name)", `("Real Name" NIL "user" "domain")`},
		{"Real <user@domain>", `("Real" NIL "user" "domain")`},
		{"group: g1@d1.org, g2@d2.org;, group2: g3@d3.org;", `(NIL NIL "group" NIL)(NIL NIL "g1" "d1.org")(NIL NIL "g2" "d2.org")(NIL NIL NIL NIL)(NIL NIL "group2" NIL)(NIL NIL "g3" "d3.org")(NIL NIL NIL NIL)`},
		{"group:;, group2: (foo) ;", `(NIL NIL "group" NIL)(NIL NIL NIL NIL)(NIL NIL "group2" NIL)(NIL NIL NIL NIL)`},
		{"undisclosed-recipients:;", `(NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL)`},
		{"open: a@b", `(NIL NIL "open" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)`},
		{"<@route:user@domain>", `(NIL "@route" "user" "domain")`},
		{"<@a.example, @b.example:user@domain>", `(NIL "@a.example,@b.example" "user" "domain")`},
		{"<user-from (comment)@ (comment) domain.org>", `(NIL NIL "user-from" "domain.org")`},
		// RFC 5322 appendix A
		{`"Joe Q. Public" <john.q.public@example.com>`, `("Joe Q. Public" NIL "john.q.public" "example.com")`},
		{`Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>`, `("Mary Smith" NIL "mary" "x.test")(NIL NIL "jdoe" "example.org")("Who?" NIL "one" "y.test")`},
		{`<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`, `(NIL NIL "boss" "nil.test")("Giant; \"Big\" Box" NIL "sysservices" "example.net")`},
		{`A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;`, `(NIL NIL "A Group" NIL)("Ed Jones" NIL "c" "a.test")(NIL NIL "joe" "where.test")("John" NIL "jdoe" "one.test")(NIL NIL NIL NIL)`},
		{`Pete(A nice \) chap) <pete(his account)@silly.test(his host)>`, `("Pete" NIL "pete" "silly.test")`},
		{`A Group(Some people):Chris Jones <c@(Chris's host.)public.example>, joe@example.org, John <jdoe@one.test> (my dear friend); (the end of the group)`,
			`(NIL NIL "A Group" NIL)("Chris Jones" NIL "c" "public.example")(NIL NIL "joe" "example.org")("John" NIL "jdoe" "one.test")(NIL NIL NIL NIL)`},
		{`(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;`, `(NIL NIL "Hidden recipients" NIL)(NIL NIL NIL NIL)`},
		{`Joe Q. Public <john.q.public@example.com>`, `("Joe Q. Public" NIL "john.q.public" "example.com")`},
		{`Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example`, `("Mary Smith" "@node.test" "mary" "example.net")(NIL NIL "jdoe" "test.example")`},
		{`John Doe <jdoe@machine(comment).  example>`, `("John Doe" NIL "jdoe" "machine.example")`},
		// what else is found in mail
		{`postmaster`, `(NIL NIL "postmaster" "")`},
		{`Foo Bar`, `("Foo Bar" NIL "" "")`},
		{`Foo <>`, `("Foo" NIL "" "")`},
		{`<a@b> Name`, `("Name" NIL "a" "b")`},
		{`user@example.org <user@example.org>`, `("user@example.org" NIL "user" "example.org")`},
		{`foo bar@x.example`, `("foo" NIL "bar" "x.example")`},
		{`<a@b> <c@d>`, `(NIL NIL "a" "b")(NIL NIL "c" "d")`},
		{`a@b; c@d`, `(NIL NIL "a" "b")(NIL NIL "c" "d")`},
		{`"joe smith"@x.example`, `(NIL NIL "joe smith" "x.example")`},
		{`john . doe @ x.example`, `(NIL NIL "john.doe" "x.example")`},
		{`user@[192.0.2.1]`, `(NIL NIL "user" "[192.0.2.1]")`},
		{`<user@[IPv6:2001:db8::1]>`, `(NIL NIL "user" "[IPv6:2001:db8::1]")`},
		{`=?utf-8?q?Doe,_John?= <j@x.example>`, `("=?utf-8?q?Doe,_John?=" NIL "j" "x.example")`},
		{`=?utf-8?q?a?= =?utf-8?q?b?= <j@x.example>`, `("=?utf-8?q?a?= =?utf-8?q?b?=" NIL "j" "x.example")`},
		{`"open <a@b.example>`, `("\"open" NIL "a" "b.example")`},
		{`open ( <a@b.example>`, `("open (" NIL "a" "b.example")`},
		{`<a@b`, `(NIL NIL "a" "b")`},
		{`a@b@c`, `(NIL NIL "a" "b@c")`},
		{`"" <a@b>`, `(NIL NIL "a" "b")`},
		{"b\xfcb <a@b>", "({3}\r\nb\xfcb NIL \"a\" \"b\")"},
		{`,,;,`, ``},
		{``, ``},
	}
	for _, test := range tests {
		want := "NIL"
		if test.want != "" {
			want = "(" + test.want + ")"
		}
		if got := string(appendAddresses(nil, parseAddresses(nil, []byte(test.in)))); got != want {
			t.Errorf("%s\n got %s\nwant %s", test.in, got, want)
		}
	}
}

func TestEnvelope(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{"whole", "Message-ID: <msg@id>\nIn-Reply-To: <reply@to.id>\nDate: Thu, 15 Feb 2007 01:02:03 +0200\nSubject: subject header\nFrom: From Real <fromuser@fromdomain.org>\nTo: To Real <touser@todomain.org>\nCc: Cc Real <ccuser@ccdomain.org>\nBcc: Bcc Real <bccuser@bccdomain.org>\nSender: Sender Real <senderuser@senderdomain.org>\nReply-To: ReplyTo Real <replytouser@replytodomain.org>\n",
			`("Thu, 15 Feb 2007 01:02:03 +0200" "subject header" (("From Real" NIL "fromuser" "fromdomain.org")) (("Sender Real" NIL "senderuser" "senderdomain.org")) (("ReplyTo Real" NIL "replytouser" "replytodomain.org")) (("To Real" NIL "touser" "todomain.org")) (("Cc Real" NIL "ccuser" "ccdomain.org")) (("Bcc Real" NIL "bccuser" "bccdomain.org")) "<reply@to.id>" "<msg@id>")`},
		{"empty sender and reply-to", "From: user@domain (Real Name)\nSender: \nReply-To: \n",
			`(NIL NIL (("Real Name" NIL "user" "domain")) (("Real Name" NIL "user" "domain")) (("Real Name" NIL "user" "domain")) NIL NIL NIL NIL NIL)`},
		{"nothing", "", string(emptyEnvelope)},
		{"bad date, empty subject", "Date: once upon a time\nSubject:\n", `("once upon a time" "" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"folded", "Subject: one\n two\n\tthree\n", `(NIL "one two` + "\t" + `three" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"quotes", `Subject: a "b" \c` + "\n", `(NIL "a \"b\" \\c" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"raw 8-bit", "Subject: gr\xfc\xdf\n", "(NIL {4}\r\ngr\xfc\xdf NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"NUL", "Subject: a\x00b\n", `(NIL "ab" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"control", "Subject: a\x07b\n", "(NIL {3}\r\na\x07b NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"encoded word", "Subject: =?utf-8?q?=C3=BC?=\n", `(NIL "=?utf-8?q?=C3=BC?=" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"repeated", "Subject: one\nSubject: two\nTo: a@b\nTo: c@d\n", `(NIL "one" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)`},
		{"space before the colon", "Subject : x\nFROM\t: a@b\n", `(NIL "x" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)`},
		{"lines that are no fields", "From alice Mon Nov 23 21:05:57 2026\nnonsense\n: x\nSubject: s\n", `(NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL)`},
	}
	for _, test := range tests {
		for _, msg := range []string{test.header + "\nbody\n", crlf(test.header + "\nbody\n"), test.header} {
			if got := string(parse(t, msg).Envelope); got != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.name, got, test.want)
			}
		}
	}
}

func TestFilterFields(t *testing.T) {
	header := []byte("From: a@b\r\nSubject: one\r\n two\r\nX-Extra: x\r\nsubject: three\r\n\r\n")
	if got := string(FilterFields(nil, header, []string{"SUBJECT", "to"}, false)); got != "Subject: one\r\n two\r\nsubject: three\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(FilterFields(nil, header, []string{"SUBJECT", "to"}, true)); got != "From: a@b\r\nX-Extra: x\r\n" {
		t.Errorf("%q", got)
	}
	p := parse(t, string(header)+"hi")
	if got := string(p.HeaderSubset); got != "From: a@b\r\nSubject: one\r\n two\r\nsubject: three\r\n" {
		t.Errorf("subset %q", got)
	}
	if !SubsetCovers(p.HeaderSubset, []string{"FROM", "Cc"}) || SubsetCovers(p.HeaderSubset, []string{"From", "X-Extra"}) || SubsetCovers(nil, nil) {
		t.Error("the subset covers what it has not, or not what it has")
	}
	big := parse(t, "To: "+strings.Repeat("a@b, ", 20_000)+"\r\n\r\n")
	if SubsetCovers(big.HeaderSubset, []string{"To"}) {
		t.Error("a subset beyond its bound covers")
	}
	if v, ok := Field(header, "x-extra"); v != "x" || !ok {
		t.Errorf("%q %v", v, ok)
	}
}

func TestHeaderText(t *testing.T) {
	p := parse(t, "From: \"Al\\\"ice\" <alice@example.test>\r\nFrom: bob@example.test (B(o)b)\r\nTo: <user-to (c)@ (c) domain.example>\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n\tund  mehr\r\n\r\nhi")
	fields := strings.Split(p.HeaderText, "\x01")
	if len(fields) != textFields {
		t.Fatalf("%q", p.HeaderText)
	}
	want := map[int][]string{
		TextFrom:    {`Al"ice <alice@`, `Al\"ice`, "B(o)b <bob@example.test>", "bob@example.test (B"},
		TextTo:      {"user-to@domain.example", "(c)"},
		TextSubject: {"GRÜẞE und MEHR", "grüße und", "e u"},
	}
	for place, needles := range want {
		for _, n := range needles {
			if !strings.Contains(fields[place], Fold(n)) {
				t.Errorf("no %q in %q", Fold(n), fields[place])
			}
		}
	}
	if fields[TextCc] != "" || fields[TextBcc] != "" {
		t.Errorf("%q", fields)
	}
	if empty := parse(t, "Cc:\r\n\r\n"); strings.Split(empty.HeaderText, "\x01")[TextCc] == "" {
		t.Error("an empty field is not there")
	}
}
