package dsn

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthouse/internal/mail"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var at = time.Date(2026, 3, 1, 12, 30, 0, 0, time.FixedZone("", 3600))

const original = "Message-ID: <abc@example.test>\r\nDate: Sun, 1 Mar 2026 12:00:00 +0100\r\n" +
	"From: alice@example.test\r\nTo: bob@example.org\r\nSubject: Lunch\r\n\r\nAt one?\r\n.\r\n"

func report(change func(*Report)) *Report {
	r := &Report{Kind: Failed, ID: "r1", Ref: "m1", ReportingMTA: "mx.example.test", Date: at, To: addr("alice@example.test"),
		ArrivalDate: at.Add(-time.Minute), Original: strings.NewReader(original),
		Recipients: []Recipient{{Final: addr("bob@example.org"), Status: mail.Enhanced{5, 1, 1}, RemoteMTA: "mx.example.org",
			Diagnostic: "550 5.1.1 <bob@example.org>: Recipient address rejected: User unknown in virtual mailbox table; see https://example.org/why", LastAttempt: at}}}
	if change != nil {
		change(r)
	}
	return r
}

func write(t testing.TB, r *Report) (string, mail.Envelope) {
	t.Helper()
	var b bytes.Buffer
	env, err := (&document{Report: r, boundary: "BOUNDARY"}).write(&b)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), env
}

// cases are one of each kind and format; the golden files are what they make.
var cases = map[string]func(*Report){
	"failed": nil,
	"failed-headers": func(r *Report) {
		r.Return, r.EnvelopeID = "HDRS", "QQ314159  x"
		r.Recipients = append(r.Recipients, Recipient{Final: addr("carbon@far.example"), Original: "rfc822;copy@example.test",
			Status: mail.Enhanced{5, 4, 7}, Diagnostic: "no host of far.example took a connection for 5 days"})
	},
	"delayed": func(r *Report) {
		r.Kind, r.HoldUntil, r.DeliverBy = Delayed, at.Add(-30*time.Second), at.Add(time.Hour)
		r.Recipients[0].Status, r.Recipients[0].Diagnostic = mail.Enhanced{4, 4, 1}, "nothing was heard for 5 minutes"
		r.Recipients[0].WillRetryUntil = at.Add(5 * 24 * time.Hour)
	},
	"delivered": func(r *Report) {
		r.Kind = Delivered
		r.Recipients = []Recipient{{Final: addr(`"b  b"@example.org`), Original: "rfc822;bob@example.org"}}
	},
	"relayed": func(r *Report) {
		r.Kind = Relayed
		r.Recipients[0].Status, r.Recipients[0].Diagnostic = mail.Enhanced{2, 0, 0}, "250 Ok"
	},
	"expanded": func(r *Report) { r.Kind, r.Recipients[0] = Expanded, Recipient{Final: addr("team@example.org")} },
	"utf8": func(r *Report) {
		r.SMTPUTF8, r.To = true, addr("jürgen@bücher.example")
		r.Original = strings.NewReader("Subject: Grüße\r\nFrom: jürgen@bücher.example\r\n\r\nGrüße\r\n")
		r.Recipients[0] = Recipient{Final: addr("δοκιμή@example.org"), Original: "utf-8;δ@example.org", RemoteMTA: "mx.example.org", Diagnostic: "550 nicht für Sie: größer"}
	},
	"utf8-for-ascii": func(r *Report) { // forwarded to an address that the sender may not be able to read
		r.Recipients[0] = Recipient{Final: addr("δοκιμή@example.org"), Original: "rfc822;bob@example.test", Diagnostic: "größer"}
	},
	"8bit": func(r *Report) {
		r.Original = strings.NewReader("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nGrüße\r\n")
	},
	"none": func(r *Report) { r.Original = nil },
}

func TestGolden(t *testing.T) {
	for name, change := range cases {
		got, env := write(t, report(change))
		if !env.From.IsZero() || len(env.Recipients) != 1 || env.Recipients[0].Notify != mail.NotifyNever {
			t.Errorf("%s: envelope %+v", name, env)
		}
		if utf8 := name == "utf8"; env.SMTPUTF8 != utf8 || (env.Body == mail.Body8Bit) != (utf8 || name == "8bit") {
			t.Errorf("%s: envelope %+v", name, env)
		}
		checkForm(t, name, got, env)
		file := filepath.Join("testdata", name+".eml")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: run with -update and look at the difference; got\n%s", name, got)
		}
	}
}

// checkForm is what every report keeps to: CRLF lines of at most 998 octets,
// and ASCII unless the envelope says otherwise.
func checkForm(t testing.TB, name, text string, env mail.Envelope) {
	t.Helper()
	var f form
	f.Write([]byte(text))
	if !f.mailable() || f.eightBit && env.Body == mail.Body7Bit {
		t.Errorf("%s: not mailable: %+v\n%s", name, f, text)
	}
	header, _, _ := strings.Cut(text, "\r\n\r\n")
	if !isASCII(header) && !env.SMTPUTF8 {
		t.Errorf("%s: a header with 8-bit octets\n%s", name, header)
	}
}

// TestNoInjection is TRUST row 9: whatever a reply or an address holds, there
// are as many fields, parts and lines as without it.
func TestNoInjection(t *testing.T) {
	evil := "550 x\r\nStatus: 2.0.0\r\n\r\n--BOUNDARY--\r\nX: y\x00\u2028\u202e\xff\n.\r"
	r := report(func(r *Report) {
		r.EnvelopeID, r.Ref, r.ID, r.ReportingMTA = evil, evil, evil, "mx.example.test\r\nX-Evil: y"
		r.Original = strings.NewReader("Subject: a\r\n =?utf-8?q?b=0D=0AX-Evil:_y?=\r\nMessage-ID: <a@b>\r\n X-Evil: y\r\n\r\n")
		r.Recipients[0] = Recipient{Final: mail.Address{Local: evil, Domain: "example.org\r\nX-Evil: y"}, Original: "rfc822;" + evil,
			RemoteMTA: evil, Diagnostic: evil}
	})
	text, env := write(t, r)
	checkForm(t, "evil", text, env)
	for _, bad := range []string{"\r\nX-Evil", "\r\nStatus: 2", "\r\nX: y", "\r\n--BOUNDARY--\r\nX"} {
		// The returned header is the sender's own, behind the last delimiter.
		if i := strings.Index(text, bad); i >= 0 && i < strings.Index(text, "text/rfc822-headers") {
			t.Errorf("%q stands in\n%s", bad, text)
		}
	}
	if n := strings.Count(text, "\r\n--BOUNDARY"); n != 4 {
		t.Errorf("%d delimiters\n%s", n, text)
	}
}

func TestWhatIsReturned(t *testing.T) {
	big := "Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 100)
	for name, x := range map[string]struct {
		text   string
		change func(*Report)
		want   string
	}{
		"full":            {big, nil, "message/rfc822"},
		"asked full":      {big, func(r *Report) { r.Return = "FULL" }, "message/rfc822"},
		"headers":         {big, func(r *Report) { r.Return = "HDRS" }, "text/rfc822-headers"},
		"REQUIRETLS":      {big, func(r *Report) { r.Return, r.RequireTLS = "FULL", true }, "text/rfc822-headers"},
		"not on a delay":  {big, func(r *Report) { r.Kind, r.Return = Delayed, "FULL" }, "text/rfc822-headers"},
		"too large":       {big, func(r *Report) { r.MaxFull = 100 }, "text/rfc822-headers"},
		"large, asked":    {strings.Repeat(big, 120), func(r *Report) { r.Return, r.MaxFull = "FULL", 1<<20 }, "message/rfc822"},
		"large, unasked":  {strings.Repeat(big, 120), func(r *Report) { r.MaxFull = 1 << 20 }, "text/rfc822-headers"},
		"long line":       {"A: b\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", nil, "text/rfc822-headers"},
		"longest line":    {"A: b\r\n\r\n" + strings.Repeat("x", 998) + "\r\n", nil, "message/rfc822"},
		"bare CR":         {"A: b\r\n\r\nx\ry\r\n", nil, "text/rfc822-headers"},
		"bare LF":         {"A: b\r\n\r\nx\ny\r\n", nil, "text/rfc822-headers"},
		"NUL":             {"A: b\r\n\r\nx\x00y\r\n", nil, "text/rfc822-headers"},
		"no header":       {"\r\nbody\r\n", func(r *Report) { r.Return = "HDRS" }, "text/rfc822-headers"},
		"nothing":         {"", nil, "message/rfc822"},
		"8-bit header":    {"Subject: \xfc\r\n\r\n", func(r *Report) { r.Return = "HDRS" }, "text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable"},
		"unending header": {"A: b\r\n" + strings.Repeat("X: y\r\n z\r\n", 20000), func(r *Report) { r.Return = "HDRS" }, "text/rfc822-headers"},
	} {
		text, env := write(t, report(func(r *Report) {
			r.Original = strings.NewReader(x.text)
			if x.change != nil {
				x.change(r)
			}
		}))
		checkForm(t, name, text, env)
		if !strings.Contains(text, "Content-Type: "+x.want+"\r\n") || len(text) > 200<<10 {
			t.Errorf("%s: %d octets\n%.5000s", name, len(text), text)
		}
	}
}

func TestNobodyToTell(t *testing.T) {
	for _, change := range []func(*Report){
		func(r *Report) { r.To = mail.Address{} },
		func(r *Report) { r.Recipients = nil },
		func(r *Report) { r.ReportingMTA = "" },
	} {
		if _, err := Write(&bytes.Buffer{}, report(change)); err == nil {
			t.Error("written all the same")
		}
	}
}

func TestCompose(t *testing.T) {
	in, body, err := Compose(report(nil), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if in.ID != "r1" || !in.From.IsZero() || in.Recipients[0].String() != "alice@example.test" || !in.Arrived.Equal(at) || body.Size() < 1000 {
		t.Errorf("%+v, %d octets", in, body.Size())
	}
}
