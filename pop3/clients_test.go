package pop3

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// client finds a program of the machine's.
func client(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func TestCurl(t *testing.T) {
	curl := client(t, "curl")
	s := newSite(t)
	message := "Subject: curl\r\n\r\n.dot\r\n.\r\n" + strings.Repeat("x", 2000) + "\r\n"
	s.deliver(message)
	s.deliver("Subject: another\r\n\r\n")
	for _, args := range [][]string{
		{"--ssl-reqd", "pop3://" + s.addr + "/1"},
		{"pop3s://" + s.tls + "/1"},
		{"--login-options", "AUTH=PLAIN", "pop3://" + s.addr + "/1"},
	} {
		cmd := exec.Command(curl, append([]string{"-sS", "-k", "--max-time", "20", "-u", aliceName + ":" + password}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || string(out) != message {
			t.Errorf("%v: %.60q, %v: %s", args, out, err, stderr.String())
		}
	}
}

// fetchmail empties the maildrop over STLS, and what it delivers is what was sent.
func TestFetchmail(t *testing.T) {
	fetchmail := client(t, "fetchmail")
	s := newSite(t)
	for i := range 5 {
		s.deliver(fmt.Sprintf("From: <bob@example.test>\r\nTo: <alice@example.test>\r\nSubject: %d\r\n\r\n.dot %d\r\nend\r\n", i, i))
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rc, got := filepath.Join(dir, "rc"), filepath.Join(dir, "got")
	config := fmt.Sprintf("poll %s protocol pop3 service %s user %q password %q is root here sslproto \"auto\" no sslcertck fetchall mda \"cat >>%s\"\n",
		host, port, aliceName, password, got)
	if err := os.WriteFile(rc, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(fetchmail, "-f", rc, "--nodetach", "--nosyslog", "-v", "--pidfile", filepath.Join(dir, "pid"), "-i", filepath.Join(dir, "ids"))
	cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if want := fmt.Sprintf("Subject: %d\n\n.dot %d\nend\n", i, i); !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	if n := s.inbox().Messages; n != 0 || !strings.Contains(string(out), "STLS") {
		t.Errorf("%d messages left; %s", n, out)
	}
}
