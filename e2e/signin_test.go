package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"posthouse/e2e/node"
	"posthouse/internal/test/issuer"
)

// saslClient speaks SASL over IMAP, POP3 or submission, under TLS.
type saslClient struct {
	t    *testing.T
	name string
	conn *tls.Conn
	r    *bufio.Reader
}

// saslDoors are the listeners, and what begins an exchange there.
var saslDoors = map[string]string{"imaps": "a AUTHENTICATE ", "pop3s": "AUTH ", "submissions": "AUTH "}

func dialSASL(t *testing.T, n *node.Node, name string, version uint16) *saslClient {
	t.Helper()
	config, err := n.TLS()
	if err != nil {
		t.Fatal(err)
	}
	config.MaxVersion = version
	conn, err := tls.Dial("tcp", n.Listen[name], config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(node.Patience)); err != nil {
		t.Fatal(err)
	}
	c := &saslClient{t, name, conn, bufio.NewReader(conn)}
	c.read()
	return c
}

func (c *saslClient) read() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
	return strings.TrimRight(line, "\r\n")
}

func (c *saslClient) write(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// offers lists the mechanisms.
func (c *saslClient) offers() string {
	c.t.Helper()
	var list, last string
	switch c.name {
	case "imaps":
		c.write("x CAPABILITY")
		last = "x OK"
	case "pop3s":
		c.write("CAPA")
		last = "."
	default:
		c.write("EHLO client.example.test")
		last = "250 "
	}
	for {
		line := c.read()
		if list += line + "\n"; strings.HasPrefix(line, last) {
			return list
		}
	}
}

// talk runs an exchange; step answers each challenge. It gives the last line.
func (c *saslClient) talk(mech string, step func(challenge string) string) string {
	c.t.Helper()
	c.write(saslDoors[c.name] + mech)
	for {
		line := c.read()
		challenge, ok := strings.CutPrefix(line, "+ ")
		if !ok {
			if challenge, ok = strings.CutPrefix(line, "334 "); !ok {
				return line
			}
		}
		text, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			c.t.Fatalf("%s: %q", c.name, line)
		}
		c.write(base64.StdEncoding.EncodeToString([]byte(step(string(text)))))
	}
}

// saying answers the first challenge with text, any other with after.
func saying(text, after string) func(string) string {
	said := false
	return func(string) string {
		if said {
			return after
		}
		said = true
		return text
	}
}

func succeeded(line string) bool {
	return strings.HasPrefix(line, "a OK") || strings.HasPrefix(line, "+OK") || strings.HasPrefix(line, "235 ")
}

// TestChannelBinding logs in by SCRAM-SHA-256-PLUS everywhere, with an
// independent client, and is refused by what is bound to another connection.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	n := server(t)
	user := account(t, n, "bound")
	for door := range saslDoors {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, kind := range []string{"exporter", "end point", "exporter of another connection", "none, hidden offer"} {
				c := dialSASL(t, n, door, version)
				if list := c.offers(); !strings.Contains(list, "SCRAM-SHA-256-PLUS") {
					t.Fatalf("%s: %s", door, list)
				}
				state := c.conn.ConnectionState()
				var b scram.ChannelBinding
				var err error
				switch kind {
				case "exporter":
					b, err = scram.NewTLSExporterBinding(&state)
				case "end point":
					b, err = scram.NewTLSServerEndpointBinding(&state)
				case "exporter of another connection":
					other := dialSASL(t, n, door, version).conn.ConnectionState()
					b, err = scram.NewTLSExporterBinding(&other)
				}
				if err != nil {
					t.Fatal(err)
				}
				client, err := scram.SHA256.NewClient(user, password, "")
				if err != nil {
					t.Fatal(err)
				}
				mech, conv := "SCRAM-SHA-256-PLUS", client.NewConversationWithChannelBinding(b)
				if kind == "none, hidden offer" { // somebody took PLUS out of the list
					mech, conv = "SCRAM-SHA-256", client.NewConversation()
				}
				first := true
				last := c.talk(mech, func(challenge string) string {
					if conv.Done() {
						return ""
					}
					answer, err := conv.Step(challenge)
					if err != nil {
						t.Fatal(err)
					}
					if first && mech == "SCRAM-SHA-256" {
						answer = "y" + strings.TrimPrefix(answer, "n")
					}
					first = false
					return answer
				})
				if door == "pop3s" { // which one session at a time has
					c.write("QUIT")
					c.read()
				}
				good := kind == "exporter" || kind == "end point"
				if succeeded(last) != good || good && !conv.Valid() || !good && !strings.Contains(last, "channel binding") {
					t.Errorf("%s, %s, %s: %s", door, tls.VersionName(version), kind, last)
				}
			}
		}
	}
	plain, err := n.TLS()
	if err != nil {
		t.Fatal(err)
	}
	plain.ServerName = "localhost"
	if greeting := talk(t, n.Listen["imap"], "x CAPABILITY"); strings.Contains(greeting, "PLUS ") {
		t.Errorf("offered without TLS: %s", greeting)
	}
}

// curl runs curl against a listener.
func curl(t *testing.T, n *node.Node, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), node.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "curl", append([]string{"--silent", "--show-error", "--cacert", n.CA}, args...)...).CombinedOutput()
	return string(out), err
}

// TestTokens logs in with tokens of an issuer, by curl as a client and in raw
// lines; rotates its keys, takes it down, and takes it away.
func TestTokens(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	n := start(t, "--ephemeral", "--trust", i.Trust(folder(t)))
	const user = "alice@localhost"
	if list := dialSASL(t, n, "imaps", 0).offers(); strings.Contains(list, "OAUTH") {
		t.Errorf("offered without an issuer: %s", list)
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := n.Command(t.Context(), issuer.ClientSecret, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	must("issuer", "add", "test", i.URL, "--audience", issuer.Audience, "--domain", "localhost")
	for door := range saslDoors {
		if list := dialSASL(t, n, door, 0).offers(); !strings.Contains(list, "OAUTHBEARER") || !strings.Contains(list, "XOAUTH2") {
			t.Errorf("%s: %s", door, list)
		}
	}
	deliver(t, n.Listen["smtp"], user, "for the token")

	token := i.Token(user, nil)
	withCurl := func(what, token string, good bool) {
		t.Helper()
		if _, err := exec.LookPath("curl"); err != nil {
			t.Logf("curl is not installed: %s is not tried with it", what)
			return
		}
		for _, mech := range []string{"OAUTHBEARER", "XOAUTH2"} {
			login := []string{"--user", user + ":", "--oauth2-bearer", token, "--login-options", "AUTH=" + mech}
			at := func(name string) string {
				return "localhost:" + n.Listen[name][strings.LastIndex(n.Listen[name], ":")+1:]
			}
			for _, c := range [][]string{
				{"imaps://" + at("imaps") + "/INBOX", "--request", "STATUS INBOX (MESSAGES)"},
				{"pop3s://" + at("pop3s") + "/"},
				{"smtps://" + at("submissions"), "--request", "NOOP"},
			} {
				if out, err := curl(t, n, append(login, c...)...); (err == nil) != good {
					t.Errorf("%s, %s, %s: %v\n%s", what, mech, c[0], err, out)
				}
			}
		}
	}
	withCurl("a good token", token, true)
	i.Rotate("second", true)
	expired := i.Token(user, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	bearer := func(token string) string { return "n,a=" + user + ",\x01auth=Bearer " + token + "\x01\x01" }
	var explained string
	for door := range saslDoors {
		c := dialSASL(t, n, door, 0)
		c.offers()
		step := saying(bearer(expired), "\x01")
		last := c.talk("OAUTHBEARER", func(challenge string) string {
			explained = challenge
			return step(challenge)
		})
		if succeeded(last) || !strings.Contains(explained, `"invalid_token"`) || !strings.Contains(explained, i.URL+"/.well-known/openid-configuration") {
			t.Errorf("%s: %s after %s", door, last, explained)
		}
	}
	withCurl("another's token", i.Token("bob@localhost", nil), false)
	// The new key is fetched as soon as the keys may be asked for again.
	for deadline := time.Now().Add(node.Patience); ; {
		c := dialSASL(t, n, "imaps", 0)
		if succeeded(c.talk("OAUTHBEARER", saying(bearer(i.Token(user, nil)), "\x01"))) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new key is not found")
		}
	}

	// An issuer that does not answer is no wrong password.
	must("issuer", "add", "test", i.URL, "--replace", "--audience", issuer.Audience, "--introspect", "--client-id", issuer.ClientID)
	i.Opaque("opaque-token", i.Claims(user, nil))
	withCurl("an opaque token", "opaque-token", true)
	i.Down(true)
	for door, want := range map[string]string{"imaps": "a NO [UNAVAILABLE]", "pop3s": "-ERR [SYS/TEMP]", "submissions": "454 4.7.0"} {
		c := dialSASL(t, n, door, 0)
		c.offers()
		if last := c.talk("OAUTHBEARER", saying(bearer("opaque-token"), "\x01")); !strings.HasPrefix(last, want) {
			t.Errorf("%s with the issuer down: %s", door, last)
		}
	}
	i.Down(false)
	if out := must("issuer", "list"); !strings.Contains(out, "asked for each token") || strings.Contains(out, issuer.ClientSecret) {
		t.Error(out)
	}
	must("issuer", "rm", "test")
	if list := dialSASL(t, n, "imaps", 0).offers(); strings.Contains(list, "OAUTH") {
		t.Errorf("offered after the issuer was removed: %s", list)
	}
	if log := n.Log(); strings.Contains(log, token) || strings.Contains(log, "opaque-token") {
		t.Error("the log has a token")
	}
}

// TestPasswordLink makes an account with a link, sets the password by it as a
// browser without scripts would, and logs in.
func TestPasswordLink(t *testing.T) {
	t.Parallel()
	n := server(t)
	out, err := n.Command(t.Context(), "", "account", "add", "linked@localhost", "--link")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`http://\S+/password/[\w-]{43}`).FindString(out)
	if !strings.HasPrefix(link, "http://"+n.Listen["http"]+"/") {
		t.Fatal(out)
	}
	fetch := func(resp *http.Response, err error) (int, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if code, page := fetch(http.Get(link)); code != 200 || !strings.Contains(page, "linked@localhost") {
		t.Fatal(code, page)
	}
	form := url.Values{"password": {"by the link"}, "again": {"by the link"}}
	if code, page := fetch(http.PostForm(link, form)); code != 200 || !strings.Contains(page, "is set") {
		t.Fatal(code, page)
	}
	if code, page := fetch(http.PostForm(link, form)); code != 404 {
		t.Error(code, page)
	}
	login(t, n, "linked@localhost", "by the link", nil)
	if out, err = n.Command(t.Context(), "", "account", "link", "linked@localhost", "--for", "1h", "--json"); err != nil || !strings.Contains(out, `"url": "http://`) {
		t.Error(out, err)
	}
	if log := n.Log(); strings.Contains(log, link[strings.LastIndex(link, "/")+1:]) {
		t.Error("the log has the token of the link")
	}
	if out, err := n.Command(t.Context(), "", "account", "link", fmt.Sprintf("nobody%d@localhost", n.PID)); err == nil {
		t.Error(out)
	}
}
