package peer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthouse/internal/test/nexthop"
	"posthouse/internal/test/transcript"
)

// TestPeers: both servers take a message and hand it to a next hop, over TLS
// both times.
func TestPeers(t *testing.T) {
	ca := nexthop.NewCA()
	for name, start := range map[string]func(Options) (*Server, error){
		"postfix": Postfix,
		"exim":    func(o Options) (*Server, error) { return Exim(filepath.Join("..", ".."), o) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hop := nexthop.Start(t, nexthop.Script{TLS: ca.Config("127.0.0.1")})
			dir, err := os.MkdirTemp("", "posthouse-peer-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			free := nexthop.Start(t, nexthop.Script{})
			listen := free.Addr.String()
			free.Close()
			cert := ca.Issue(time.Hour, "127.0.0.1", name+".example.test")
			s, err := start(Options{Folder: dir, Listen: listen, Hostname: name + ".example.test", Trust: ca.PEM(), Cert: &cert,
				Routes: map[string]string{"example.org": hop.Addr.String(), "": "127.0.0.1:1"}})
			if errors.Is(err, ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			})
			c := transcript.Dial(t, listen)
			c.Play("S: 220 «*»\nC: EHLO client.example.test\n...\nS: 250-STARTTLS\n...\nS: 250 «*»\nC: MAIL FROM:<alice@example.test>\nS: 250 «*»\nC: RCPT TO:<bob@example.org>\nS: 250 «*»\n" +
				"C: DATA\nS: 354 «*»\nC: Subject: through\nC:\nC: text\nC: .\nS: 250 «*»\nC: QUIT")
			m := hop.Wait(t, 1)[0]
			if string(m.Body()) != "text\r\n" || m.TLS == nil || !strings.Contains(m.Field("Received"), name+".example.test") {
				t.Errorf("%s\n%s", m.Octets, s.Log())
			}
		})
	}
}
