package doctor

import (
	"bufio"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/test/nexthop"
)

// A server that takes everything relays: that is the control of the check.
func TestRelaying(t *testing.T) {
	p, _ := patient(t)
	open := nexthop.Start(t, nexthop.Script{Name: host})
	p.Listen[config.SMTP] = open.Addr.String()
	var all []string
	for range forms {
		all = append(all, "error: it relays")
	}
	want(t, run(t, "relaying", p.relaying), all...)

	closed := nexthop.Start(t, nexthop.Script{Name: host, Replies: map[string]string{"RCPT": "550 5.7.1 no"}})
	p.Listen[config.SMTP] = closed.Addr.String()
	want(t, run(t, "relaying", p.relaying), "ok: relays for nobody")

	one := nexthop.Start(t, nexthop.Script{Name: host, On: func(_ *nexthop.Session, verb, arg string) string {
		if verb == "RCPT" && !strings.Contains(arg, "%") {
			return "550 5.7.1 no"
		}
		return ""
	}})
	p.Listen[config.SMTP] = one.Addr.String()
	want(t, run(t, "relaying", p.relaying), "error: postmaster%example.net")
}

// The listeners of SMTP, each with another fault.
func TestListenerSMTP(t *testing.T) {
	ca := nexthop.NewCA()
	good := ca.Config(host)
	for name, c := range map[string]struct {
		script nexthop.Script
		expect []string
	}{
		"good":         {nexthop.Script{Name: host, TLS: good}, []string{"ok: answers at"}},
		"other name":   {nexthop.Script{Name: "else.example.test", TLS: good}, []string{"warning: does not name", "ok: answers at"}},
		"no TLS":       {nexthop.Script{Name: host}, []string{"error: does not offer STARTTLS"}},
		"no handshake": {nexthop.Script{Name: host, TLS: nexthop.NoHandshake(t)}, []string{"error: TLS does not begin"}},
		"busy":         {nexthop.Script{Name: host, Replies: map[string]string{"CONNECT": "421 4.3.2 busy"}}, []string{"error: its greeting is no welcome"}},
		"plain AUTH":   {nexthop.Script{Name: host, TLS: good, Auth: map[string]string{"a": "b"}, Keywords: []string{"AUTH PLAIN"}}, []string{"error: passwords can be sent in clear", "ok: answers at"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := patient(t)
			p.Listen[config.SMTP] = nexthop.Start(t, c.script).Addr.String()
			want(t, run(t, "listener", p.listeners), c.expect...)
		})
	}
	p, _ := patient(t)
	want(t, run(t, "listener", p.listeners), "error: no server runs")
	p.Listen[config.IMAPS] = "127.0.0.1:1"
	want(t, run(t, "listener", p.listeners), "error: nobody answers")
}

// talker is a server that says its lines, one answer for each line it hears.
func talker(t *testing.T, greeting string, answers map[string]string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			c.Write([]byte(greeting + "\r\n"))
			for lines := bufio.NewScanner(c); lines.Scan(); {
				for heard, answer := range answers {
					if strings.Contains(lines.Text(), heard) {
						c.Write([]byte(answer + "\r\n"))
					}
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// IMAP and POP3 that offer a login in clear, and no TLS.
func TestListenerInClear(t *testing.T) {
	p, _ := patient(t)
	p.Listen[config.IMAP] = talker(t, "* OK hi", map[string]string{"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na1 OK done"})
	p.Listen[config.POP3] = talker(t, "+OK hi", map[string]string{"CAPA": "+OK\r\nUSER\r\nTOP\r\n."})
	want(t, run(t, "listener", p.listeners),
		"error: imap passwords can be sent in clear", "error: imap it does not offer STARTTLS",
		"error: pop3 passwords can be sent in clear", "error: pop3 it does not offer STARTTLS")
}

// Certificates: one that the world trusts, a stranger's, another's, an old one.
func TestCertificates(t *testing.T) {
	ca := nexthop.NewCA()
	for name, c := range map[string]struct {
		script nexthop.Script
		expect string
	}{
		"trusted":  {nexthop.Script{TLS: ca.Config(host)}, "ok: certificate for " + host},
		"stranger": {nexthop.Script{TLS: nexthop.NewCA().Config(host)}, "warning: whom others do not know"},
		"other":    {nexthop.Script{TLS: ca.Config("else.example.test")}, "error: is not for " + host},
		"expired":  {nexthop.Script{TLS: ca.Expired(host)}, "error: ended at"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := patient(t)
			p.Roots = ca.Pool()
			p.Listen[config.SMTP] = nexthop.Start(t, c.script).Addr.String()
			want(t, run(t, "certificate", p.certificates), c.expect)
		})
	}
}

// What all listeners show is said once; of a file of the operator's it is said which.
func TestCertificateFile(t *testing.T) {
	ca := nexthop.NewCA()
	expired := ca.Expired(host)
	p, _ := patient(t)
	p.Roots = ca.Pool()
	file := filepath.Join(t.TempDir(), "own.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: expired.Certificates[0].Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Config.Certificates = []config.Certificate{{File: filepath.Join(t.TempDir(), "gone.pem")}, {File: file}}
	for _, name := range []string{config.SMTP, config.Submission} {
		p.Listen[name] = nexthop.Start(t, nexthop.Script{TLS: expired}).Addr.String()
	}
	got := run(t, "certificate", p.certificates)
	want(t, got, "error: smtp, submission the certificate for "+host+" ended at")
	if !strings.HasPrefix(got[0].Mend, "put a renewed one into "+file) {
		t.Errorf("mend %q", got[0].Mend)
	}
}

// The clock of this machine against another's.
func TestJudgeClock(t *testing.T) {
	f := &findings{check: "clock"}
	for _, ahead := range []time.Duration{-20 * time.Second, 31 * time.Second, -31 * time.Second, 2 * time.Hour, -2 * time.Hour} {
		judgeClock(f, "the database", ahead)
	}
	want(t, f.list, "ok: agrees", "warning: differs by 31s", "warning: differs by 31s", "error: differs by 2h0m0s", "error: differs by 2h0m0s")
}

// TLSA records fit the certificate, or nobody who obeys them delivers.
func TestDANE(t *testing.T) {
	ca := nexthop.NewCA()
	served := ca.Config(host)
	hop := nexthop.Start(t, nexthop.Script{TLS: served})
	for name, c := range map[string]struct {
		record, expect string
	}{
		"own key":   {nexthop.TLSA(host, 25, 3, served), "ok: fits the certificate"},
		"authority": {nexthop.TLSA(host, 25, 2, served), "ok: fits the certificate"},
		"another":   {nexthop.TLSA(host, 25, 3, ca.Config(host)), "error: none of its TLSA records fits"},
	} {
		t.Run(name, func(t *testing.T) {
			p, dns := patient(t)
			p.Config.ACME.Directory = "off"
			p.Listen[config.SMTP] = hop.Addr.String()
			dns.SetAuthentic(true)
			dns.Add(c.record)
			want(t, run(t, "dane", p.dane), c.expect)
		})
	}
	p, _ := patient(t)
	p.Listen[config.SMTP] = hop.Addr.String()
	want(t, run(t, "dane", p.dane)) // none is no fault
	p, dns := patient(t)
	p.Listen[config.SMTP] = hop.Addr.String()
	dns.SetAuthentic(true)
	dns.Add(nexthop.TLSA(host, 25, 3, served))
	want(t, run(t, "dane", p.dane), "warning: will have another key")
}

// The words of servers, in ours.
func TestExplain(t *testing.T) {
	for line, part := range map[string]string{
		"550 5.7.1 Relaying denied": "relays for nobody", "550 5.1.1 unknown": "no such mailbox", "450 4.2.0 greylisted": "greylisted",
		"530 5.7.0 first": "STARTTLS", "535 5.7.8 no": "password is wrong", "299 odd": "",
	} {
		if got := explain(SMTP, line, true); !strings.Contains(got, part) || (part == "") != (got == "") {
			t.Errorf("%s: %q", line, got)
		}
	}
	if explain(SMTP, "250-STARTTLS", false) == "" || explain(IMAP, "a1 NO [AUTHENTICATIONFAILED] x", true) == "" || explain(POP3, "-ERR [IN-USE] x", true) == "" {
		t.Error("nothing is said")
	}
}

// Submit says each step, hides the password, and stuffs dots.
func TestSubmit(t *testing.T) {
	ca := nexthop.NewCA()
	hop := nexthop.Start(t, nexthop.Script{TLS: ca.Config(host), Auth: map[string]string{"you": "geheim"}})
	var heard []string
	talk := &Talk{Protocol: SMTP, Host: host, Roots: ca.Pool(), Hear: func(l Line) { heard = append(heard, l.From+" "+l.Text) }}
	defer talk.Close()
	if err := talk.Open(t.Context(), hop.Addr.String(), false); err != nil {
		t.Fatal(err)
	}
	if err := talk.Submit(t.Context(), false, "you", "geheim", "you@example.test", "bob@far.test", "Subject: x\r\n\r\n.dot\r\n"); err != nil {
		t.Fatal(err)
	}
	if talk.Trust != nil {
		t.Error(talk.Trust)
	}
	got := hop.Wait(t, 1)
	if text := string(got[0].Octets); text != "Subject: x\r\n\r\n.dot\r\n" {
		t.Errorf("%q", text)
	}
	all := strings.Join(heard, "\n")
	if strings.Contains(all, "geheim") || strings.Contains(all, "AHlvdQ") || !strings.Contains(all, "C RCPT TO:<bob@far.test>") {
		t.Errorf("heard:\n%s", all)
	}
}
