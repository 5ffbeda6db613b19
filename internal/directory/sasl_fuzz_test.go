package directory

import (
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// FuzzBearer reads what clients of OAUTHBEARER, XOAUTH2 and SCRAM begin with:
// nothing panics, what is read was there, and no binding is made up.
func FuzzBearer(f *testing.F) {
	for _, seed := range []string{
		"n,a=alice@example.test,\x01host=h\x01port=993\x01auth=Bearer abc\x01\x01", "user=alice@example.test\x01auth=Bearer abc\x01\x01",
		"n,,\x01\x01", "y,a=a=2Cb=3D,\x01auth=Bearer x\x01\x01", "p=tls-exporter,,n=a,r=b", "p=tls-unique,,n=a,r=b", "p=tls-server-end-point,,n=a,r=b", "y,,n=a,r=b", "", "\x01", "\x01\x01", "n,", "=\x01\x01", "a=\x01\x01",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, ok := keyValues([]byte(text))
		for k, v := range values {
			if ok && !strings.Contains(strings.ToLower(text), k+"="+strings.ToLower(v)) {
				t.Errorf("%q: %q = %q", text, k, v)
			}
		}
		for _, plus := range []bool{false, true} {
			b, err := from("192.0.2.1").binding(text, plus)
			if err == nil && (plus || b.Type != scram.ChannelBindingNone) {
				t.Errorf("%q without a channel: %+v", text, b)
			}
		}
	})
}
