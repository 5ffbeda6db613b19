package dsn

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// parsed is what an independent reader finds in a report.
type parsed struct {
	Subject  string              `json:"subject"`
	Type     string              `json:"type"`
	Report   string              `json:"report"`
	Parts    []string            `json:"parts"`
	Defects  int                 `json:"defects"`
	Message  map[string]string   `json:"message"` // fields of the second part
	Rcpts    []map[string]string `json:"rcpts"`
	Returned string              `json:"returned"` // Subject of the third
}

// reader is Python's email package, which knows message/delivery-status.
const reader = `
import sys, json, email, email.policy, email.parser
raw = sys.stdin.buffer.read()
m = email.message_from_bytes(raw, policy=email.policy.default)
parts = m.get_payload()
status = parts[1].get_payload()
if parts[1].get_content_type() == "message/global-delivery-status": # a type that it does not know
    text = raw.split(b"Content-Type: message/global-delivery-status")[1].split(b"\r\n\r\n", 1)[1].split(b"\r\n--BOUNDARY")[0].decode()
    status = [email.parser.HeaderParser(policy=email.policy.default).parsestr(b) for b in text.split("\r\n\r\n") if b]
returned = ""
if len(parts) > 2:
    p = parts[2].get_payload()
    if isinstance(p, list):
        returned = p[0]["Subject"]
    else:
        b = parts[2].get_payload(decode=True) or p.encode()
        returned = email.message_from_bytes(b, policy=email.policy.default)["Subject"]
def flat(h): return {k: "".join(str(v).splitlines()) for k, v in h.items()}
json.dump({"subject": m["Subject"], "type": m.get_content_type(), "report": m.get_param("report-type"),
  "parts": [p.get_content_type() for p in parts], "defects": sum(len(p.defects) for p in m.walk()) + sum(len(v.defects) for v in m.values() if hasattr(v, "defects")),
  "message": flat(status[0]), "rcpts": [flat(s) for s in status[1:] if len(s)], "returned": returned}, sys.stdout)
`

func python(t *testing.T, text string) (p parsed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "python3", "-c", reader)
	cmd.Stdin = strings.NewReader(text)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v\n%s\n%s", err, errs.String(), text)
	}
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPython reads every golden case with another implementation.
func TestPython(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed (apt-get install python3)")
	}
	for name, change := range cases {
		r := report(change)
		text, _ := write(t, r)
		p := python(t, text)
		if name == "utf8" {
			p.Defects -= 2 // to it, a non-ASCII local part in To is two
		}
		if p.Type != "multipart/report" || p.Report != "delivery-status" || p.Defects != 0 || p.Message["Reporting-MTA"] != "dns; mx.example.test" ||
			len(p.Rcpts) != len(r.Recipients) || p.Message["Original-Envelope-Id"] != r.EnvelopeID {
			t.Errorf("%s: %+v\n%s", name, p, text)
			continue
		}
		for i, rcpt := range p.Rcpts {
			want := &r.Recipients[i]
			final := "rfc822; " + want.Final.String()
			switch {
			case name == "utf8":
				final = "utf-8; δοκιμή@example.org"
			case name == "utf8-for-ascii":
				final = `utf-8; \x{3B4}\x{3BF}\x{3BA}\x{3B9}\x{3BC}\x{3AE}@example.org`
			}
			if rcpt["Action"] != r.Kind.String() || rcpt["Status"] != r.status(want).String() || rcpt["Final-Recipient"] != final {
				t.Errorf("%s: recipient %d: %q", name, i, rcpt)
			}
		}
		if strings.HasPrefix(name, "failed") && p.Rcpts[0]["Diagnostic-Code"] != "smtp; "+r.Recipients[0].Diagnostic {
			t.Errorf("%s: %q", name, p.Rcpts[0])
		}
		if wants := map[string]string{"utf8": "Grüße", "8bit": "Grüße", "none": ""}; name != "none" {
			want, ok := wants[name]
			if !ok {
				want = "Lunch"
			}
			if p.Returned != want || !strings.HasSuffix(p.Subject, ": "+want) {
				t.Errorf("%s: returned %q, subject %q", name, p.Returned, p.Subject)
			}
		}
	}
}

// read takes a report apart with go-message: the media types of its parts, and
// the text of each.
func read(t testing.TB, text string) (types, texts []string) {
	t.Helper()
	e, err := message.Read(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	mr := e.MultipartReader()
	if mr == nil {
		t.Fatalf("no multipart\n%s", text)
	}
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			return types, texts
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		kind, _, err := p.Header.ContentType()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		types, texts = append(types, kind), append(texts, string(b))
	}
}

// blocks are the groups of fields in the machine's part.
func blocks(t testing.TB, text string) (list []textproto.Header) {
	t.Helper()
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n\r\n") {
		h, err := textproto.ReadHeader(bufio.NewReader(strings.NewReader(block + "\r\n\r\n")))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		list = append(list, h)
	}
	return list
}

// FuzzReport: whatever others said, the report keeps its form.
func FuzzReport(f *testing.F) {
	f.Add("bob", "rfc822;bob@example.org", "mx.example.org", "550 5.1.1 no", "id", original, uint8(0), true)
	f.Add("δ", "utf-8;δ\\x{20}", "[IPv6:::1]", "a\r\n.\r\n--BOUNDARY--\r\n", "\x00\xff", "A: b\r\n c\r\n", uint8(1), true)
	f.Add("a\" b", ";", "", "", " ", "\r\n\r\nx\rx", uint8(2), false)
	f.Fuzz(func(t *testing.T, local, orcpt, mta, words, id, text string, kind uint8, utf8 bool) {
		if strings.Contains(text, "--BOUNDARY") {
			t.Skip("only the fixed boundary of the tests can be guessed")
		}
		got, env := write(t, report(func(r *Report) {
			r.Kind, r.SMTPUTF8, r.EnvelopeID, r.Ref, r.Original = Kind(kind%5), utf8, id, id, strings.NewReader(text)
			r.Recipients = []Recipient{{Final: addr("bob@example.org")}, {Final: addr("bob@example.org"), Original: orcpt, RemoteMTA: mta, Diagnostic: words}}
			r.Recipients[1].Final.Local = local
		}))
		checkForm(t, "fuzz", got, env)
		types, texts := read(t, got)
		if len(types) != 3 || types[0] != "text/plain" {
			t.Fatalf("parts %q\n%s", types, got)
		}
		list := blocks(t, texts[1])
		if len(list) != 3 || list[0].Get("Reporting-MTA") != "dns; mx.example.test" || list[1].Get("Final-Recipient") != "rfc822; bob@example.org" {
			t.Fatalf("%d groups of fields in\n%s", len(list), texts[1])
		}
		for _, h := range list[1:] {
			if h.Get("Action") != Kind(kind%5).String() || h.FieldsByKey("Status").Len() != 1 {
				t.Fatalf("fields\n%s", texts[1])
			}
		}
	})
}
