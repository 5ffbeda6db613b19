package mailauth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	moxdkim "github.com/mjl-/mox/dkim"
	moxdns "github.com/mjl-/mox/dns"
)

const letter = "From: Alice <alice@example.test>\r\nTo: bob@example.org\r\nSubject: dinner\r\n" +
	"Date: Tue, 24 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n\r\nHi Bob,\r\n\r\nat eight?\r\n"

// letters are messages whose signatures are easy to get wrong.
var letterForms = map[string]string{
	"plain":            letter,
	"no body":          "From: alice@example.test\r\nSubject: x\r\n\r\n",
	"no last line end": letter + "no line end",
	"trailing blanks":  letter + "text \t \r\n \t\r\n\r\n\r\n",
	"blanks":           letter + "a \t  b\r\n\t indented\r\n",
	"folded":           "From: Alice\r\n  <alice@example.test>\r\nSubject: one\r\n\ttwo \r\n   three  \r\nTo:\r\n bob@example.org\r\n\r\nx\r\n",
	"8-bit":            "From: alice@example.test\r\nSubject: \xc3\xa4  \xff\r\n\r\n\xff\xfe \xc3\xa4\r\n",
	"dots":             letter + ".\r\n..\r\n.x\r\n",
	"lists":            "List-Id: <a.example.test>\r\nList-Unsubscribe: <https://example.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + letter,
	"repeated":         "Received: a\r\nResent-From: one@example.test\r\nResent-From: two@example.test\r\nCc: a@example.test\r\nCc: b@example.test\r\n" + letter,
	"long":             letter + strings.Repeat("All work and no play makes a dull mail. \r\n", 20_000),
	"long header":      "X-Long: " + strings.Repeat("word\r\n ", 1_500) + "\r\n" + letter,
	"long lines":       letter + strings.Repeat(strings.Repeat("x  ", 300)+"x\r\n", 300),
}

func signed(t testing.TB, k *Keys, msg string) string {
	t.Helper()
	fields, err := k.Sign(context.Background(), addr("alice@example.test"), strings.NewReader(msg), int64(len(msg)))
	must(t, err)
	return string(fields) + msg
}

// verdicts are what mox makes of each signature: "rsa pass".
func verdicts(t testing.TB, dns moxdns.MockResolver, msg string) string {
	t.Helper()
	results, err := moxdkim.Verify(context.Background(), quiet, dns, true, moxdkim.DefaultPolicy, strings.NewReader(msg), false)
	must(t, err)
	var list []string
	for _, r := range results {
		list = append(list, fmt.Sprintf("%s %s", r.Sig.AlgorithmSign, r.Status))
	}
	return strings.Join(list, ", ")
}

// TestSign holds that another implementation finds both signatures good, on
// messages of every shape, and bad once something that matters is changed.
func TestSign(t *testing.T) {
	k := open(t)
	dns := published(t, k)
	for name, msg := range letterForms {
		whole := signed(t, k, msg)
		if got := verdicts(t, dns, whole); got != "rsa pass, ed25519 pass" {
			t.Errorf("%s: %s", name, got)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(whole, msg), "\r\n") {
			if len(line) > 78 {
				t.Errorf("%s: line of %d octets in the field: %q", name, len(line), line)
			}
		}
	}
	whole := signed(t, k, letter)
	for name, forged := range map[string]string{
		"a second From":    "From: bob@example.test\r\n" + whole,
		"a second Subject": strings.Replace(whole, "\r\n\r\nHi", "\r\nSubject: forged\r\n\r\nHi", 1),
		"a Reply-To":       strings.Replace(whole, "\r\n\r\nHi", "\r\nReply-To: bob@example.test\r\n\r\nHi", 1),
		"a Content-Type":   "Content-Type: text/html\r\n" + whole,
		"another Subject":  strings.Replace(whole, "dinner", "lunch", 1),
		"more body":        whole + "and bring money\r\n",
		"less body":        strings.TrimSuffix(whole, "at eight?\r\n"),
	} {
		if got := verdicts(t, dns, forged); strings.Contains(got, "pass") {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, harmless := range map[string]string{
		"trace fields": "Received: from a by b; Tue, 24 Nov 2026 00:00:01 +0000\r\nReturn-Path: <a@b.test>\r\n" + whole,
		"empty lines":  whole + "\r\n\r\n",
		"refolded":     strings.Replace(whole, "Subject: dinner", "Subject:\r\n\tdinner ", 1),
		"a list field": "List-Id: <l.example.org>\r\n" + whole,
	} {
		if got := verdicts(t, dns, harmless); got != "rsa pass, ed25519 pass" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestSignTags holds what stands in the field and what must not: l= above all,
// under which anybody can add to a body.
func TestSignTags(t *testing.T) {
	k := open(t)
	field, _, _ := strings.Cut(signed(t, k, letterForms["repeated"]), "\r\nDKIM-Signature:")
	flat := strings.ReplaceAll(strings.ReplaceAll(field, "\r\n\t", ""), " ", "")
	for _, want := range []string{"v=1;", "a=rsa-sha256;", "c=relaxed/relaxed;", "d=example.test;", "i=@example.test;", "s=ph20", "t=",
		"h=From:From:To:To:Cc:Cc:Cc:Subject:Subject:Date:Date:Message-ID:Message-ID:Reply-To:In-Reply-To:References:MIME-Version:Content-Type:Content-Transfer-Encoding:Resent-From:Resent-From;"} {
		if !strings.Contains(flat, want) {
			t.Errorf("%s is missing in %s", want, flat)
		}
	}
	for _, bad := range []string{";l=", ";x=", ";z="} {
		if strings.Contains(flat, bad) {
			t.Errorf("%s stands in %s", bad, flat)
		}
	}
}

// TestSignForeign holds that mail from elsewhere goes unsigned, is logged once,
// and that a domain that becomes ours is signed for.
func TestSignForeign(t *testing.T) {
	k := open(t)
	var log bytes.Buffer
	k.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 3 {
		fields, err := k.Sign(t.Context(), addr("alice@example.org"), strings.NewReader(letter), int64(len(letter)))
		must(t, err)
		if fields != nil {
			t.Fatalf("signed: %s", fields)
		}
	}
	if n := strings.Count(log.String(), "dkim.unsigned"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	addDomain(t, k.pool, "later.test") // by a machine without the secret key
	fields, err := k.Sign(t.Context(), addr("alice@later.test"), strings.NewReader(letter), int64(len(letter)))
	must(t, err)
	if got := verdicts(t, published(t, k), string(fields)+letter); got != "rsa pass, ed25519 pass" {
		t.Errorf("later.test: %s", got)
	}
}

// TestSignHeaderLimit holds that a header without end is refused, not read into
// memory.
func TestSignHeaderLimit(t *testing.T) {
	k := open(t)
	msg := strings.Repeat("X: y\r\n", 1<<20)
	if _, err := k.Sign(t.Context(), addr("alice@example.test"), strings.NewReader(msg), int64(len(msg))); err == nil {
		t.Error("signed a header of 6 MiB")
	}
	if _, err := k.Sign(t.Context(), addr("alice@example.test"), strings.NewReader(letter), int64(len(letter))+1); err != nil {
		t.Errorf("a size beyond the end: %v", err)
	}
}

// verifyPy verifies every signature of a message with dkimpy; the DNS comes as
// JSON.
const verifyPy = `
import dkim, json, sys
dns = json.load(open(sys.argv[2]))
message = open(sys.argv[1], "rb").read()
d = dkim.DKIM(message)
n = sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")
print(" ".join(str(d.verify(idx=i, dnsfunc=lambda name, timeout=5: dns.get(name.decode(), "").encode())) for i in range(n)))
`

// TestSignOthers holds that two other implementations find the signatures good:
// Debian's python3-dkim (both algorithms) and opendkim (the RSA one).
func TestSignOthers(t *testing.T) {
	k := open(t)
	dir := t.TempDir()
	dns := published(t, k)
	records := make(map[string]string)
	var data strings.Builder
	for name, txt := range dns.TXT {
		records[name] = txt[0]
		fmt.Fprintf(&data, "%s %s\n", strings.TrimSuffix(name, "."), txt[0])
	}
	asJSON, err := json.Marshal(records)
	must(t, err)
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		must(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	dnsFile, script := write("dns.json", string(asJSON)), write("verify.py", verifyPy)
	conf := write("opendkim.conf", "Mode v\nTestDNSData refile:"+write("dns.txt", data.String())+"\nSyslog no\n")
	for name, msg := range letterForms {
		file := write("message", signed(t, k, msg))
		t.Run("python3-dkim/"+name, func(t *testing.T) {
			need(t, "/usr/bin/dkimverify", "python3-dkim")
			out, err := exec.Command("/usr/bin/python3", script, file, dnsFile).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != "True True" {
				t.Errorf("%v: %s", err, got)
			}
		})
		t.Run("opendkim/"+name, func(t *testing.T) {
			need(t, "/usr/sbin/opendkim", "opendkim")
			if name == "no last line end" {
				return // its reader of files needs one
			}
			out, err := exec.Command("/usr/sbin/opendkim", "-x", conf, "-t", file).CombinedOutput()
			if got := string(out); err != nil || !strings.Contains(got, "verification (s=") || !strings.Contains(got, "succeeded") {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%s is not installed: apt-get install %s", program, pkg)
	}
}

// BenchmarkSign is the cost of both signatures by the size of the message.
func BenchmarkSign(b *testing.B) {
	k := open(b)
	for _, size := range []int{4 << 10, 77 << 10, 1 << 20} {
		msg := []byte(letter + strings.Repeat("VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZy4gVGhlIHF1aWNrIGJy\r\n", size/78))
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Sign(b.Context(), addr("alice@example.test"), bytes.NewReader(msg), int64(len(msg))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
