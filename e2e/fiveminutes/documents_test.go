package fiveminutes

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

// documents are what mail programs ask for, as they do it: by name, over HTTPS, and over HTTP
// before or after that.
func (w *world) documents() {
	w.t.Helper()
	const outlook = `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>` +
		`<EMailAddress>` + me + `</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>`
	you := "?emailaddress=" + url.QueryEscape(me)
	for _, c := range []struct {
		method, url, body string
		status            int
		want              string // part of Content-Type, Location and body
	}{
		// Thunderbird: HTTPS first, HTTP then.
		{"GET", "https://autoconfig.example.test/mail/config-v1.1.xml" + you, "", 200, "<hostname>mail.example.test</hostname>"},
		{"GET", "https://autoconfig.example.test/mail/config-v1.1.xml", "", 200, `<emailProvider id="example.test">`},
		{"GET", "http://autoconfig.example.test/mail/config-v1.1.xml" + you, "", 200, "<hostname>mail.example.test</hostname>"},
		{"GET", "http://autoconfig.example.test/.well-known/autoconfig/mail/config-v1.1.xml" + you, "", 308, "https://autoconfig.example.test/.well-known/autoconfig/mail/config-v1.1.xml" + you},
		{"GET", "https://mail.example.test/.well-known/autoconfig/mail/config-v1.1.xml" + you, "", 200, "text/xml"},
		{"GET", "https://autoconfig.example.test/mail/config-v1.1.xml?emailaddress=you@elsewhere.test", "", 404, "elsewhere.test is not served here"},
		{"HEAD", "https://autoconfig.example.test/MAIL/Config-V1.1.XML" + you, "", 200, "text/xml"},
		// Outlook: POST by HTTPS, in its own spelling; then a GET by HTTP that is to lead there.
		{"POST", "https://autodiscover.example.test/AutoDiscover/AutoDiscover.xml", outlook, 200, "<Server>mail.example.test</Server>"},
		{"POST", "https://autodiscover.example.test/autodiscover/autodiscover.xml", strings.ReplaceAll(outlook, me, "you@elsewhere.test"), 200, "<ErrorCode>500</ErrorCode>"},
		{"POST", "https://autodiscover.example.test/autodiscover/autodiscover.xml", "hurz", 200, "<ErrorCode>600</ErrorCode>"},
		{"GET", "http://autodiscover.example.test/Autodiscover/Autodiscover.xml", "", 302, "https://autodiscover.example.test/Autodiscover/Autodiscover.xml"},
		{"POST", "http://autodiscover.example.test/autodiscover/autodiscover.xml", outlook, 403, "Use https"},
		{"PUT", "https://autodiscover.example.test/autodiscover/autodiscover.xml", outlook, 405, "Use POST or GET"},
		{"GET", "https://autodiscover.example.test/Autodiscover/Autodiscover.json?Email=" + url.QueryEscape(me) + "&Protocol=AutodiscoverV1", "", 200, `"Url":"https://autodiscover.example.test`},
		{"GET", "https://autodiscover.example.test/autodiscover/autodiscover.json/v1.0/" + me + "?Protocol=Autodiscoverv1", "", 200, `"Protocol":"AutodiscoverV1"`},
		{"GET", "https://autodiscover.example.test/autodiscover/autodiscover.json?Email=" + url.QueryEscape(me) + "&Protocol=ActiveSync", "", 404, "ProtocolNotSupported"},
		// Apple's profile, and the policy for other servers, which is not to be had by HTTP.
		{"GET", "https://mail.example.test/apple.mobileconfig" + you, "", 200, "application/x-apple-aspen-config"},
		{"GET", "https://mta-sts.example.test/.well-known/mta-sts.txt", "", 200, "mx: mail.example.test"},
		{"GET", "http://mta-sts.example.test/.well-known/mta-sts.txt", "", 308, "https://mta-sts.example.test/.well-known/mta-sts.txt"},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			w.t.Fatal(err)
		}
		u.Host += ":" + w.ports[u.Scheme]
		req, err := http.NewRequestWithContext(w.t.Context(), c.method, u.String(), strings.NewReader(c.body))
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "192.0.2.7") // else one from this machine may do without TLS
		if c.body != "" {
			req.Header.Set("Content-Type", "text/xml")
		}
		res, err := w.client().Do(req)
		if err != nil {
			w.t.Error(err)
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err := res.Body.Close(); err != nil {
			w.t.Error(err)
		}
		said := res.Header.Get("Content-Type") + "\n" + res.Header.Get("Location") + "\n" + string(body)
		if err != nil || res.StatusCode != c.status || !strings.Contains(said, c.want) {
			w.t.Errorf("%s %s: %s %v\n%s", c.method, u, res.Status, err, said)
		}
	}
}
