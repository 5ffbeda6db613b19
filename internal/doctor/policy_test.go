package doctor

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/mailauth"
)

// TestPolicy: the policy as others fetch it, beside what the site means to serve
// and what its SMTP listener shows.
func TestPolicy(t *testing.T) {
	ca := nexthop.NewCA()
	long := time.Now().Add(-2 * enough)
	for name, c := range map[string]struct {
		body   string
		mode   string
		since  time.Time
		smtp   nexthop.Script
		expect string
	}{
		"testing": {mailauth.STSPolicy("testing", []string{host}), "testing", time.Now(), nexthop.Script{TLS: ca.Config(host)}, "ok: mode testing"},
		"time to switch": {mailauth.STSPolicy("testing", []string{host}), "testing", long, nexthop.Script{TLS: ca.Config(host)},
			"note: is in testing for 28 days"},
		"not with that certificate": {mailauth.STSPolicy("testing", []string{host}), "testing", long, nexthop.Script{TLS: nexthop.NewCA().Config(host)},
			"ok: mode testing"},
		"enforce": {mailauth.STSPolicy("enforce", []string{host}), "enforce", long, nexthop.Script{TLS: ca.Config(host)}, "ok: mode enforce"},
		"enforce, and the certificate does not fit": {mailauth.STSPolicy("enforce", []string{host}), "enforce", long, nexthop.Script{TLS: ca.Config("else.example.test")},
			"error: senders that obey it do not deliver"},
		"another's":        {mailauth.STSPolicy("testing", []string{host}), "enforce", long, nexthop.Script{TLS: ca.Config(host)}, "warning: somebody else serves it"},
		"we are not in it": {mailauth.STSPolicy("enforce", []string{"else.example.test"}), "enforce", long, nexthop.Script{TLS: ca.Config(host)}, "error: does not name " + host},
		"malformed":        {"version: STSv7\n", "testing", long, nexthop.Script{TLS: ca.Config(host)}, "warning: malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			p, dns := patient(t)
			p.Roots = ca.Pool()
			p.Listen[config.SMTP] = nexthop.Start(t, c.smtp).Addr.String()
			web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, c.body) }))
			web.TLS = ca.Config("mta-sts.example.test")
			web.StartTLS()
			t.Cleanup(web.Close)
			p.Config.Testing.HTTPSPort = web.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
			dns.Add("mta-sts.example.test. A 127.0.0.1", `_mta-sts.example.test. TXT "v=STSv1; id=1"`)
			want(t, run(t, "policy", func(ctx context.Context, f *findings) {
				p.policy(ctx, f, p.webClient(), Domain{Name: "example.test", STSMode: c.mode, STSSince: c.since})
			}), c.expect)
		})
	}
}
