package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/smallstep/pkcs7"

	"posthouse/internal/clientsetup"
)

func setupServer(t *testing.T) *Server {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mx.example.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return New(Config{Hostname: "mx.example.test", HTTPS: true, Ready: func(context.Context) error { return nil }, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.DiscardHandler), Setup: Setup{
			Hostname: "mx.example.test", STSPolicy: func(context.Context, string) (string, error) { return "version: STSv1\r\n", nil },
			Services: clientsetup.Services("mx.example.test", map[string]string{"imaps": ":993", "imap": ":143", "pop3s": ":995", "submissions": ":465", "submission": ":587"}),
			Local: func(_ context.Context, d string) (bool, error) {
				return d == "example.org" || d == "xn--bcher-kva.example", nil
			},
			Sign: func(p []byte) ([]byte, error) { return SignProfile(p, cert) },
		}})
}

// fetch asks over TLS as a stranger.
func fetch(s *Server, method, url, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1234"
	if strings.HasPrefix(url, "https:") {
		r.TLS = new(tls.ConnectionState)
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

const outlookRequest = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>
<EMailAddress>alice@example.org</EMailAddress>
<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
</Request></Autodiscover>`

func TestSetupOf(t *testing.T) {
	s := setupServer(t)
	for _, test := range []struct {
		method, url, body string
		code              int
		has, hasNot       string
	}{
		{"GET", "https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=alice%40example.org", "", 200, `<incomingServer type="imap">`, "localhost"},
		{"GET", "http://autoconfig.example.org/mail/config-v1.1.xml", "", 200, "<hostname>mx.example.test</hostname>", ""},
		{"GET", "https://example.org/.well-known/autoconfig/mail/config-v1.1.xml", "", 200, "<domain>example.org</domain>", ""},
		{"GET", "https://mx.example.test/mail/config-v1.1.xml?emailaddress=x@b%C3%BCcher.example", "", 200, "xn--bcher-kva.example", ""},
		{"GET", "https://autoconfig.elsewhere.test/mail/config-v1.1.xml", "", 404, "not served", "mx.example.test"},
		{"GET", "https://mx.example.test/mail/config-v1.1.xml?emailaddress=nobody", "", 400, "not a mail address", ""},
		{"POST", "https://autoconfig.example.org/mail/config-v1.1.xml", "", 405, "", ""},

		{"POST", "https://autodiscover.example.org/autodiscover/autodiscover.xml", outlookRequest, 200, "<LoginName>alice@example.org</LoginName>", "Error"},
		{"POST", "https://autodiscover.example.org/AutoDiscover/AutoDiscover.xml", outlookRequest, 200, "<Type>IMAP</Type>", "Error"},
		{"POST", "https://autodiscover.example.org/Autodiscover/Autodiscover.xml", strings.ReplaceAll(outlookRequest, "example.org", "elsewhere.test"), 200, "<ErrorCode>500</ErrorCode>", "IMAP"},
		{"POST", "https://autodiscover.example.org/autodiscover/autodiscover.xml", strings.ReplaceAll(outlookRequest, "outlook/responseschema/2006a", "mobilesync/responseschema/2006"), 200, "<ErrorCode>601</ErrorCode>", "IMAP"},
		{"POST", "https://autodiscover.example.org/autodiscover/autodiscover.xml", "not XML", 200, "<ErrorCode>600</ErrorCode>", "IMAP"},
		{"GET", "https://autodiscover.example.org/autodiscover/autodiscover.xml", "", 200, "<ErrorCode>600</ErrorCode>", "IMAP"},
		{"GET", "http://autodiscover.example.org/autodiscover/autodiscover.xml", "", 302, "", ""},
		{"GET", "https://autodiscover.example.org/autodiscover/autodiscover.json?Email=alice%40example.org&Protocol=Autodiscoverv1", "", 200, `"Url":"https://autodiscover.example.org/autodiscover/autodiscover.xml"`, ""},
		{"GET", "https://autodiscover.example.org/Autodiscover/Autodiscover.json/v1.0/alice%40example.org?Protocol=AutodiscoverV1", "", 200, `"Protocol":"AutodiscoverV1"`, ""},
		{"GET", "https://autodiscover.example.org/autodiscover/autodiscover.json?Email=alice%40example.org&Protocol=ActiveSync", "", 404, "ProtocolNotSupported", ""},

		{"GET", "https://mta-sts.example.org/.well-known/mta-sts.txt", "", 200, "STSv1", ""},
		{"GET", "https://mta-sts.elsewhere.test/.well-known/mta-sts.txt", "", 404, "", ""},
		{"GET", "https://mx.example.test/apple.mobileconfig?emailaddress=alice@example.org", "", 200, "com.apple.mail.managed", ""},
		{"GET", "https://mx.example.test/apple.mobileconfig?emailaddress=alice@elsewhere.test", "", 404, "", ""},
	} {
		w := fetch(s, test.method, test.url, test.body)
		body := w.Body.String()
		if w.Code != test.code || !strings.Contains(body, test.has) || test.hasNot != "" && strings.Contains(body, test.hasNot) {
			t.Errorf("%s %s: %d\n%s", test.method, test.url, w.Code, body)
		}
		if w.Code == 200 && strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
			if err := xml.Unmarshal(w.Body.Bytes(), new(struct{ XMLName xml.Name })); err != nil {
				t.Errorf("%s: %v", test.url, err)
			}
		}
	}
}

// TestSetupInjection: what stands in an address stays text.
func TestSetupInjection(t *testing.T) {
	s := setupServer(t)
	w := fetch(s, "POST", "https://autodiscover.example.org/autodiscover/autodiscover.xml", strings.ReplaceAll(outlookRequest, "alice@example.org", "&quot;&lt;/LoginName&gt;&quot;@example.org"))
	if w.Code != http.StatusOK || strings.Count(w.Body.String(), "</LoginName>") != 3 {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
	w = fetch(s, "POST", "https://autodiscover.example.org/autodiscover/autodiscover.xml", strings.Repeat("x", maxSetupRequest+1))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a long request is answered %d", w.Code)
	}
}

// TestProfileSigned opens the profile again, and checks its form where the tool
// for it is.
func TestProfileSigned(t *testing.T) {
	s := setupServer(t)
	w := fetch(s, "GET", "https://mx.example.test/apple.mobileconfig?emailaddress=alice@example.org", "")
	p, err := pkcs7.Parse(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"<key>IncomingMailServerPortNumber</key>\n<integer>993</integer>", "<key>OutgoingMailServerPortNumber</key>\n<integer>465</integer>", "<string>alice@example.org</string>"} {
		if !strings.Contains(string(p.Content), want) {
			t.Errorf("%s is not in\n%s", want, p.Content)
		}
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("python3 is not there: the property list was not read by another implementation")
		return
	}
	cmd := exec.Command(python, "-c", "import plistlib,sys; p=plistlib.loads(sys.stdin.buffer.read()); assert p['PayloadContent'][0]['EmailAccountType']=='EmailTypeIMAP', p")
	cmd.Stdin = strings.NewReader(string(p.Content))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSRV(t *testing.T) {
	for _, r := range clientsetup.SRV("example.org", clientsetup.Services("mx.example.test", map[string]string{"imaps": ":993", "submissions": "127.0.0.1:465"})) {
		offered := r.Name == "_imaps._tcp.example.org" || r.Name == "_submissions._tcp.example.org"
		if offered != (r.Target == "mx.example.test") || offered != (r.Port != 0) {
			t.Errorf("%+v", r)
		}
	}
}
