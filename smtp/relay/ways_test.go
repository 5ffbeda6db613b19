package relay_test

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"posthouse/internal/mail"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/relay"
)

// serve answers each connection to a listener until the test ends.
func serve(t *testing.T, l net.Listener, answer func(net.Conn)) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(20 * time.Second)) // so that a fault of the test's ends
				answer(nc)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// join passes octets on between two connections until both have ended.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(c[0], c[1]) // an end is an end
			c[0].Close()
		})
	}
	both.Wait()
}

// TestSCRAM: SCRAM-SHA-256 is taken where PLAIN is offered, too; the password
// is never said, and a host that does not know it gets no mail.
func TestSCRAM(t *testing.T) {
	client, err := scram.SHA256.NewClient("alice", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		password string
		imposter bool
		want     string
	}{
		"right":    {"secret", false, took},
		"wrong":    {"other", false, "no session: deferred at AUTH: 535 5.7.8"},
		"imposter": {"secret", true, "no session: deferred at AUTH: 0 4.7.8"},
	} {
		t.Run(name, func(t *testing.T) {
			var heard strings.Builder
			l := listen(t, "tcp", "127.0.0.1:0")
			serve(t, l, func(nc net.Conn) {
				r := bufio.NewReader(nc)
				say := func(s string) string {
					_, _ = io.WriteString(nc, s+"\r\n") // the client's side is what is tested
					line, _ := r.ReadString('\n')
					heard.WriteString(line)
					return strings.TrimSpace(line)
				}
				say("220 hop")
				first, ok := strings.CutPrefix(say("250-hop\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256"), "AUTH SCRAM-SHA-256 ")
				if !ok {
					return
				}
				server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
				if err != nil {
					return
				}
				talk := server.NewConversation()
				next := first
				for !talk.Done() {
					raw, err := base64.StdEncoding.DecodeString(next)
					if err != nil {
						return
					}
					challenge, err := talk.Step(string(raw))
					if err != nil {
						say("535 5.7.8 no")
						return
					}
					if c.imposter && talk.Done() {
						challenge = "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
					}
					next = say("334 " + base64.StdEncoding.EncodeToString([]byte(challenge)))
				}
				for line := say("235 2.7.0 ok"); line != ""; line = say("250 2.0.0 ok") {
					if line != "DATA" {
						continue
					}
					for line = say("354 go"); line != "."; line = strings.TrimSpace(line) {
						if line, err = r.ReadString('\n'); err != nil {
							return
						}
					}
				}
			})
			w := newWorld(t)
			addr := netip.MustParseAddrPort(l.Addr().String())
			route := relay.Route{Hosts: []relay.Host{{Name: "127.0.0.1", Port: addr.Port()}}, Auth: &relay.Login{User: "alice", Password: c.password}}
			if got := w.send(route, relay.Need{}, message("Subject: x\r\n\r\n", "bob@example.test")); got != c.want {
				t.Errorf("%s, want %s; heard %q", got, c.want, heard.String())
			}
			if strings.Contains(heard.String(), base64.StdEncoding.EncodeToString([]byte("secret"))) || strings.Contains(heard.String(), "PLAIN") {
				t.Errorf("heard %q", heard.String())
			}
		})
	}
}

// TestSOCKS5: the names are looked up here, and the proxy is given addresses.
func TestSOCKS5(t *testing.T) {
	w := newWorld(t, "example.test. MX 1 mx.example.test.", "mx.example.test. A 127.0.0.1")
	hop := w.hop("127.0.0.1", nexthop.Script{})
	l := listen(t, "tcp", "127.0.0.1:0")
	asked := make(chan netip.AddrPort, 1)
	serve(t, l, func(nc net.Conn) { // RFC 1928, CONNECT to an IPv4 address without a login
		head := make([]byte, 2)
		if _, err := io.ReadFull(nc, head); err != nil || head[0] != 5 {
			return
		}
		request := make([]byte, int(head[1])+10)
		if _, err := io.ReadFull(nc, request[:head[1]]); err != nil {
			return
		}
		if _, err := nc.Write([]byte{5, 0}); err != nil {
			return
		}
		request = request[head[1]:]
		if _, err := io.ReadFull(nc, request); err != nil || string(request[:4]) != "\x05\x01\x00\x01" {
			return
		}
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(request[4:8])), binary.BigEndian.Uint16(request[8:]))
		asked <- to
		far, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		if _, err := nc.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err == nil {
			join(nc, far)
		}
	})
	route := relay.Route{Domain: "example.test", SOCKS5: l.Addr().String()}
	if got := w.send(route, relay.Need{}, message(plain, "bob@example.test")); got != took || hop.Taken() != 1 {
		t.Errorf("%s, %d taken", got, hop.Taken())
	}
	if to := <-asked; to != hop.Addr {
		t.Errorf("the proxy was asked for %s", to)
	}
	route.SOCKS5 = "127.0.0.1:1" // nobody is there
	if got := w.send(route, relay.Need{}, message(plain, "bob@example.test")); got != "no session: deferred at connecting: 0 4.4.1" {
		t.Error(got)
	}
}

// TestSource: connections leave from the address of their family, and those of
// a family without one are not made.
func TestSource(t *testing.T) {
	w := newWorld(t)
	l := listen(t, "tcp", "127.0.0.1:0")
	from := make(chan string, 1)
	serve(t, l, func(nc net.Conn) {
		host, _, _ := net.SplitHostPort(nc.RemoteAddr().String())
		from <- host
		_, _ = io.WriteString(nc, "421 busy\r\n")
	})
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	route := relay.Route{Hosts: []relay.Host{{Name: "127.0.0.1", Port: port}}, Source: []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.44")}}
	w.send(route, relay.Need{}, message(plain, "bob@example.test"))
	if got := <-from; got != "127.0.0.44" {
		t.Errorf("from %s", got)
	}
	route.Source = route.Source[:1]
	if got := w.send(route, relay.Need{}, message(plain, "bob@example.test")); got != "no session: deferred at connecting: 0 4.4.1" || len(from) != 0 {
		t.Error(got)
	}
}

// TestUnixLMTP: an LMTP server on a socket in the file system, with an answer
// for each recipient.
func TestUnixLMTP(t *testing.T) {
	w := newWorld(t)
	hop := nexthop.Start(t, nexthop.Script{LMTP: true, Dot: map[string]string{"full@example.test": "552 5.2.2 full"}})
	path := filepath.Join(t.TempDir(), "lmtp")
	serve(t, listen(t, "unix", path), func(nc net.Conn) {
		far, err := net.Dial("tcp", hop.Addr.String())
		if err != nil {
			return
		}
		join(nc, far)
	})
	route := relay.Route{Hosts: []relay.Host{{Name: path}}, LMTP: true}
	want := took + "; failed at end of message: 552 5.2.2; " + took
	if got := w.send(route, relay.Need{}, message(plain, "bob@example.test", "full@example.test", "alice@example.test")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if a, b := hop.Copies("bob@example.test"), hop.Copies("full@example.test"); a != 1 || b != 0 {
		t.Errorf("%d and %d copies", a, b)
	}
	route.Hosts[0].Name += "-not-there"
	if got := w.send(route, relay.Need{}, message(plain, "bob@example.test")); got != "no session: deferred at connecting: 0 4.4.1" {
		t.Error(got)
	}
}

// TestDeliverBy: a host that knows of deadlines is told; one that does not, or
// wants more time, gets no message that is to come back rather than late
// (RFC 2852 §4.1.4).
func TestDeliverBy(t *testing.T) {
	keep := mail.ByMode{Return: true}
	for name, c := range map[string]struct {
		keyword string
		left    time.Duration
		mode    mail.ByMode
		want    string
		told    string // in MAIL
	}{
		"return":          {"DELIVERBY", time.Hour, keep, took, " BY=3599;R"},
		"lower case":      {"deliverby 60", time.Hour, keep, took, " BY=3599;R"},
		"notify, trace":   {"DELIVERBY", time.Hour, mail.ByMode{Trace: true}, took, " BY=3599;NT"},
		"notify, late":    {"DELIVERBY", -time.Hour, mail.ByMode{}, took, " BY=-3600;N"},
		"too soon":        {"DELIVERBY 7200", time.Hour, keep, "failed at MAIL: 0 5.4.7", ""},
		"too late":        {"DELIVERBY", -time.Second, keep, "failed at MAIL: 0 5.4.7", ""},
		"unknown":         {"SIZE", time.Hour, keep, "failed at MAIL: 0 5.3.3", ""},
		"unknown, notify": {"SIZE", time.Hour, mail.ByMode{}, took, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			hop := nexthop.Start(t, nexthop.Script{Keywords: []string{c.keyword}})
			m := message(plain, "bob@example.test")
			m.DeliverBy, m.ByMode = time.Now().Add(c.left), c.mode
			if got := w.send(direct(hop), relay.Need{}, m); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			line := ""
			for _, s := range hop.Session(1).Lines() {
				if strings.HasPrefix(s, "MAIL") {
					line = s
				}
			}
			if _, by, _ := strings.Cut(line, " BY="); c.told == "" && by != "" || c.told != "" && !strings.Contains(line, c.told) {
				t.Errorf("%q, want %q", line, c.told)
			}
		})
	}
}
