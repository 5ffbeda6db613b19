package directory

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"
)

// shake does a handshake on loopback, and gives both ends' states.
func shake(t *testing.T, version uint16) (c Client, client tls.ConnectionState) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	conn := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	must(t, conn.Handshake())
	must(t, <-done)
	state := server.ConnectionState()
	c = from("192.0.2.77")
	c.TLSState, c.Certificate = &state, &cert
	return c, conn.ConnectionState()
}

// bindingsOf are a client's own bindings.
func bindingsOf(t *testing.T, state tls.ConnectionState) map[string]scram.ChannelBinding {
	t.Helper()
	exporter, err := scram.NewTLSExporterBinding(&state)
	must(t, err)
	end, err := scram.NewTLSServerEndpointBinding(&state)
	must(t, err)
	return map[string]scram.ChannelBinding{"tls-exporter": exporter, "tls-server-end-point": end, "tls-unique": scram.NewTLSUniqueBinding(state.TLSUnique)}
}

// bound logs alice in with a channel binding, by an independent client.
func bound(t *testing.T, d *Directory, c Client, password string, b scram.ChannelBinding) (Account, error) {
	t.Helper()
	client, err := scram.SHA256.NewClient("alice@example.test", password, "")
	must(t, err)
	conv := client.NewConversationWithChannelBinding(b)
	x, err := d.NewExchange("SCRAM-SHA-256-PLUS", c)
	if err != nil {
		return Account{}, err
	}
	challenge := ""
	for !conv.Done() {
		response, err := conv.Step(challenge)
		must(t, err)
		next, done, err := x.Next(t.Context(), []byte(response))
		if err != nil {
			return Account{}, err
		}
		if done {
			break
		}
		challenge = string(next)
	}
	if !conv.Valid() {
		t.Error("the client does not believe the server's signature")
	}
	return x.Account(), nil
}

func TestScramPlus(t *testing.T) {
	d := open(t)
	d.throttle.opts.Off = true
	for version, kinds := range map[uint16][]string{
		tls.VersionTLS13: {"tls-exporter", "tls-server-end-point"},
		tls.VersionTLS12: {"tls-exporter", "tls-server-end-point", "tls-unique"},
	} {
		c, state := shake(t, version)
		other, otherState := shake(t, version)
		if list := d.Mechanisms(c); list[0] != "SCRAM-SHA-256-PLUS" {
			t.Errorf("%x: offered %v", version, list)
		}
		mine, theirs := bindingsOf(t, state), bindingsOf(t, otherState)
		for _, kind := range kinds {
			if a, err := bound(t, d, c, "alice's secret", mine[kind]); err != nil || a.ID == 0 {
				t.Errorf("%x %s: %v", version, kind, err)
			}
			if _, err := bound(t, d, c, "wrong", mine[kind]); !errors.Is(err, ErrBadCredentials) {
				t.Errorf("%x %s, wrong password: %v", version, kind, err)
			}
			// Who stands between holds two connections, and relays what is said.
			if _, err := bound(t, d, other, "alice's secret", mine[kind]); !errors.Is(err, ErrChannelBinding) {
				t.Errorf("%x %s of another connection: %v", version, kind, err)
			}
			if _, err := bound(t, d, c, "wrong", theirs[kind]); !errors.Is(err, ErrChannelBinding) {
				t.Errorf("%x %s of another connection, wrong password: %v", version, kind, err)
			}
		}
		if version == tls.VersionTLS13 {
			if _, err := bound(t, d, c, "alice's secret", scram.ChannelBinding{Type: "tls-unique", Data: []byte("made up")}); !errors.Is(err, ErrChannelBinding) {
				t.Errorf("tls-unique with TLS 1.3: %v", err)
			}
		}
	}
}

// What clients say of channel binding, RFC 5802 §6, and what may be meant by it.
func TestScramBindingFlag(t *testing.T) {
	d := open(t)
	secured, _ := shake(t, tls.VersionTLS13)
	for _, c := range []struct {
		mech  string
		tls   bool
		first string
		want  error
	}{
		{"SCRAM-SHA-256", true, "n,,n=alice,r=abc", nil},
		{"SCRAM-SHA-256", true, "y,,n=alice,r=abc", ErrChannelBinding}, // the offer was hidden from it
		{"SCRAM-SHA-256", false, "y,,n=alice,r=abc", nil},              // there was none
		{"masked SCRAM-SHA-256", true, "y,,n=alice,r=abc", nil},        // the operator hid it
		{"masked SCRAM-SHA-256-PLUS", true, "p=tls-exporter,,n=alice,r=abc", nil},
		{"SCRAM-SHA-256", true, "p=tls-exporter,,n=alice,r=abc", ErrChannelBinding},
		{"SCRAM-SHA-256", false, "p=tls-exporter,,n=alice,r=abc", ErrChannelBinding},
		{"SCRAM-SHA-256-PLUS", true, "p=tls-exporter,,n=alice,r=abc", nil},
		{"SCRAM-SHA-256-PLUS", true, "p=tls-telepathy,,n=alice,r=abc", ErrChannelBinding},
		{"SCRAM-SHA-256-PLUS", true, "n,,n=alice,r=abc", ErrChannelBinding},
		{"SCRAM-SHA-256-PLUS", true, "y,,n=alice,r=abc", ErrChannelBinding},
		{"SCRAM-SHA-256-PLUS", true, "q,,n=alice,r=abc", ErrMalformed},
		{"SCRAM-SHA-256-PLUS", false, "", ErrMechanism},
	} {
		client := from("192.0.2.9")
		if c.tls {
			client = secured
		}
		mech, masked := strings.CutPrefix(c.mech, "masked ")
		client.PlusHidden = masked
		_, _, err := talk(t, d, mech, client, []byte(c.first))
		if c.want == nil {
			if err == nil || err.Error() != "not done" {
				t.Errorf("%+v: %v", c, err)
			}
		} else if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if list := d.Mechanisms(from("192.0.2.9")); slices.Contains(list, "SCRAM-SHA-256-PLUS") {
		t.Errorf("offered without a channel: %v", list)
	}
}

// The binding that the client repeats at the end must be that of its first
// message: who changed the flag on its way is found out.
func TestScramFlagChanged(t *testing.T) {
	d := open(t)
	client, err := scram.SHA256.NewClient("alice@example.test", "alice's secret", "")
	must(t, err)
	conv := client.NewConversation()
	first, err := conv.Step("")
	must(t, err)
	x, err := d.NewExchange("SCRAM-SHA-256", from("192.0.2.3"))
	must(t, err)
	challenge, _, err := x.Next(t.Context(), []byte(strings.Replace(first, "n,", "y,", 1)))
	must(t, err)
	final, err := conv.Step(string(challenge))
	must(t, err)
	if !strings.HasPrefix(final, "c="+base64.StdEncoding.EncodeToString([]byte("n,,"))) {
		t.Fatal(final)
	}
	if _, _, err := x.Next(t.Context(), []byte(final)); !errors.Is(err, ErrChannelBinding) {
		t.Error(err)
	}
}
