package nexthop

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"posthouse/internal/test/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play speaks to a hop with a script.
func play(t *testing.T, h *Hop, text string) {
	t.Helper()
	transcript.Dial(t, h.Addr.String()).Play(text)
}

func TestPlain(t *testing.T) {
	h := Start(t, Script{Keywords: []string{"PIPELINING", "size 1000"}})
	play(t, h, `
		S: 220 hop.example.test ESMTP
		C: ehlo client.example.test
		S: 250-hop.example.test greets client.example.test
		S: 250-PIPELINING
		S: 250 size 1000
		C| "MAIL FROM:<alice@example.test> RET=HDRS ENVID=x\r\nRCPT TO:<bob@example.test> NOTIFY=NEVER\r\nRCPT TO:<\"b > c\"@example.test>\r\nDATA\r\n"
		S: 250 «*»
		S: 250 «*»
		S: 250 «*»
		S: 354 «*»
		C| "..one\r\n.two\r\n\r\nbody\n.\nbare\r\n.\r\n"
		S: 250 2.0.0 taken as 1
		C: MAIL FROM:<>
		S: 250 «*»
		C: MAIL FROM:<>
		S: 503 «*»
		C: RSET
		S: 250 «*»
		C: RCPT TO:<bob@example.test>
		S: 503 «*»
		C: DATA
		S: 503 «*»
		C: QUIT
		S: 221 «*»
		EOF
	`)
	m := h.Wait(t, 1)[0]
	if m.From != "alice@example.test" || !slices.Equal(m.Params, []string{"RET=HDRS", "ENVID=x"}) ||
		!slices.Equal(m.To(), []string{"bob@example.test", `"b > c"@example.test`}) || m.Rcpts[0].Params[0] != "NOTIFY=NEVER" ||
		string(m.Octets) != ".one\r\ntwo\r\n\r\nbody\n.\nbare\r\n" || m.Helo != "client.example.test" {
		t.Errorf("%+v\n%q", m, m.Octets)
	}
	if h.Copies("bob@example.test") != 1 || h.Copies("eve@example.test") != 0 {
		t.Error("copies are miscounted")
	}
	commands := h.Session(1).Commands()
	if len(commands) != 11 || commands[0].Pipelined || !commands[1].Pipelined || commands[4].Pipelined {
		t.Errorf("%+v", commands)
	}
}

// TestLax: what a lax server takes for the end makes two messages of one.
func TestLax(t *testing.T) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r"} {
		h := Start(t, Script{Lax: true})
		c, err := net.Dial("tcp", h.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\none"+end+
			"MAIL FROM:<e@f.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n")
		if list := h.Wait(t, 2); list[1].From != "e@f.test" || string(list[1].Octets) != "two\r\n" {
			t.Errorf("%q: %+v", end, list[1])
		}
		c.Close()
	}
}

func TestScripted(t *testing.T) {
	const hello = "S: 220 «*»\nC: EHLO c\nS: 250-hop.example.test greets c\n...\nS: 250 DSN\n"
	const mail = "C: MAIL FROM:<a@b.test>\nS: 250 «*»\nC: RCPT TO:<c@d.test>\nS: 250 «*»\nC: DATA\nS: 354 «*»\nC: x\nC: .\n"
	for name, c := range map[string]struct {
		script Script
		play   string
		taken  int
	}{
		"banner refused":  {Script{Replies: map[string]string{"CONNECT": "554 go away" + Close}}, "S: 554 go away\nEOF", 0},
		"banner closed":   {Script{Replies: map[string]string{"CONNECT": Close}}, "EOF", 0},
		"half a banner":   {Script{Replies: map[string]string{"CONNECT": "220-hop\r\n" + Close}}, "S: 220-hop\nEOF", 0},
		"by address":      {Script{Rcpt: map[string]string{"c@d.test": "550 no"}}, hello + "C: MAIL FROM:<>\nS: 250 «*»\nC: RCPT TO:<C@d.test>\nS: 550 no\nC: DATA\nS: 554 «*»", 0},
		"refused at dot":  {Script{Replies: map[string]string{"DOT": "451 later"}}, hello + mail + "S: 451 later\nC: NOOP\nS: 250 «*»", 0},
		"lost at dot":     {Script{Replies: map[string]string{"DOT": Close}}, hello + mail + "EOF", 1},
		"421 at dot":      {Script{Replies: map[string]string{"DOT": "421 bye" + Close}}, hello + mail + "S: 421 bye\nEOF", 0},
		"cut in the body": {Script{Replies: map[string]string{"BODY": Close}}, hello + strings.TrimSuffix(mail, "C: x\nC: .\n") + "EOF", 0},
		"third recipient": {Script{On: func(s *Session, verb, _ string) string {
			if verb == "RCPT" && s.Rcpts > 2 {
				return "452 4.5.3 too many"
			}
			return ""
		}}, hello + "C: MAIL FROM:<>\nS: 250 «*»\nC: RCPT TO:<a@d>\nS: 250 «*»\nC: RCPT TO:<b@d>\nS: 250 «*»\nC: RCPT TO:<c@d>\nS: 452 4.5.3 too many", 0},
		"HELO only": {Script{Replies: map[string]string{"EHLO": "502 what"}}, "S: 220 «*»\nC: EHLO c\nS: 502 what\nC: HELO c\nS: 250 hop.example.test", 0},
		"chunks": {Script{}, hello + "C: MAIL FROM:<>\nS: 250 «*»\nC: RCPT TO:<a@d>\nS: 250 «*»\n" +
			"C| \"BDAT 3\\r\\n\\r\\n.\"\nS: 250 «*»\nC| \"BDAT 2 LAST\\r\\n\\x00\\n\"\nS: 250 2.0.0 taken as 1", 1},
		"lmtp": {Script{LMTP: true, Dot: map[string]string{"b@d": "550 full"}},
			"S: 220 «*»\nC: LHLO c\n...\nS: 250 DSN\nC: MAIL FROM:<>\nS: 250 «*»\nC: RCPT TO:<a@d>\nS: 250 «*»\nC: RCPT TO:<b@d>\nS: 250 «*»\nC: DATA\nS: 354 «*»\nC: x\nC: .\nS: 250 2.0.0 taken for a@d\nS: 550 full", 1},
		"login": {Script{Auth: map[string]string{"u": "p"}},
			"S: 220 «*»\nC: EHLO c\n...\nS: 250 AUTH PLAIN LOGIN\nC: AUTH PLAIN AHUAcA==\nS: 235 «*»\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: eA==\nS: 535 «*»", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := Start(t, c.script)
			play(t, h, c.play)
			if h.Taken() != c.taken {
				t.Errorf("%d taken, want %d", h.Taken(), c.taken)
			}
		})
	}
}

// TestEndless: what never ends does not keep Close from ending it.
func TestEndless(t *testing.T) {
	for _, way := range []string{Endless, Flood, "220 slow" + Drip, Stall} {
		h := Start(t, Script{Replies: map[string]string{"CONNECT": way}})
		c, err := net.Dial("tcp", h.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if way != Stall {
			if _, err := io.ReadFull(c, make([]byte, 3)); err != nil {
				t.Errorf("%q: %v", way, err)
			}
		}
		h.Until(func() bool { return h.Open() == 1 })
		h.Close()
		c.Close()
	}
}

func TestTLS(t *testing.T) {
	ca := NewCA()
	dial := func(h *Hop, name string) error {
		c, err := net.Dial("tcp", h.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 1000)
		if _, err := c.Read(buf); err != nil {
			return err
		}
		io.WriteString(c, "STARTTLS\r\n")
		n, err := c.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], []byte("220 2.0.0 go ahead\r\n")) {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		s := tls.Client(c, &tls.Config{RootCAs: ca.Pool(), ServerName: name})
		if err := s.Handshake(); err != nil {
			return err
		}
		io.WriteString(s, "EHLO x\r\n")
		n, err = s.Read(buf)
		if bytes.Contains(buf[:n], []byte("STARTTLS")) {
			t.Error("STARTTLS is offered within TLS")
		}
		return err
	}
	for name, c := range map[string]struct {
		config *tls.Config
		wrong  string // part of the error
	}{
		"good":         {ca.Config("mx.example.test"), ""},
		"wrong name":   {ca.Config("other.example.test"), "not mx.example.test"},
		"expired":      {ca.Expired("mx.example.test"), "expired"},
		"self-signed":  {SelfSigned("mx.example.test"), "unknown authority"},
		"no handshake": {NoHandshake(t), "internal error"},
	} {
		h := Start(t, Script{TLS: c.config})
		err := dial(h, "mx.example.test")
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	injected := Start(t, Script{TLS: ca.Config("mx.example.test"), Inject: "250 injected\r\n"})
	play(t, injected, "S: 220 «*»\nC: STARTTLS\nS: 220 2.0.0 go ahead\nS: 250 injected")
	stripped := Start(t, Script{TLS: ca.Config("mx.example.test"), Strip: true})
	play(t, stripped, "S: 220 «*»\nC: EHLO c\nS: 250-«*»\nS: 250-PIPELINING\n...\nS: 250 DSN\nC: STARTTLS\nS: 502 «*»")
}

func TestPolicies(t *testing.T) {
	ca := NewCA()
	p := StartPolicies(t, "127.0.0.1:0", ca, nil)
	p.Set("example.test", "enforce", "mx.example.test", "*.example.test")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "mta-sts.example.test"}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	get := func(host string) string {
		req, err := http.NewRequest("GET", "https://"+p.Addr.String()+"/.well-known/mta-sts.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Status + " " + string(body)
	}
	const want = "200 OK version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmx: *.example.test\r\nmax_age: 86400\r\n"
	if got := get("mta-sts.example.test"); got != want {
		t.Errorf("%q", got)
	}
	if got := get("mta-sts.example.org"); !strings.HasPrefix(got, "404") {
		t.Errorf("%q", got)
	}
	if p.Fetches("example.test") != 1 {
		t.Error("fetches are miscounted")
	}
}
