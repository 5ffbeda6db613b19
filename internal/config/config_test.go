package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSiteFile(t *testing.T) {
	c := Site()
	err := c.parse("posthouse.toml", []byte(`
hostname = "Mail.Exämple.test"
data = "/srv/mail"
trusted_proxies = ["10.0.0.0/8", "::1/128"]

[listen]
smtp = "0.0.0.0:2525"
pop3 = "off"
lmtp = "/run/posthouse/lmtp"

[limits]
message_bytes = 1000000
`))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "mail.xn--exmple-cua.test" {
		t.Errorf("hostname %q", c.Hostname)
	}
	if len(c.TrustedProxies) != 2 || c.TrustedProxies[0].String() != "10.0.0.0/8" {
		t.Errorf("proxies %v", c.TrustedProxies)
	}
	if c.Listen[SMTP] != "0.0.0.0:2525" || c.Listen[IMAPS] != ":993" || c.Listen[LMTP] != "/run/posthouse/lmtp" {
		t.Errorf("listeners %v", c.Listen)
	}
	if _, there := c.Listen[POP3]; there {
		t.Error("pop3 = off still listens")
	}
	if c.SecretKey != "/srv/mail/secret_key" || c.PlainAuth() || c.Limits.MessageBytes != 1_000_000 || c.Limits.Recipients != 1000 {
		t.Errorf("%+v", c)
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name, toml, want string
		local            bool
	}{
		{name: "unknown key", toml: "hostname = \"a.test\"\n[limits]\nmessage_byte = 1", want: `p.toml:3: unknown key "limits.message_byte"`},
		{name: "syntax", toml: "hostname = ", want: "p.toml:1:"},
		{name: "type", toml: "hostname = 7", want: "p.toml:1:"},
		{name: "proxy", toml: "hostname = \"a.test\"\ntrusted_proxies = [\"10.0.0\"]", want: "p.toml:2:"},
		{name: "host name", toml: `hostname = "a b"`, want: `hostname "a b" is not a domain name`},
		{name: "listener", toml: "hostname = \"a.test\"\n[listen]\nsmpt = \":25\"", want: "[listen] smpt: no such listener"},
		{name: "address", toml: "hostname = \"a.test\"\n[listen]\nsmtp = \"25:\"", want: "listener smtp"},
		{name: "port", toml: "hostname = \"a.test\"\n[listen]\nsmtp = \":99999\"", want: "no port between"},
		{name: "socket", toml: "hostname = \"a.test\"\n[listen]\nimap = \"/run/imap\"", want: "only lmtp"},
		{name: "open lmtp", toml: "hostname = \"a.test\"\n[listen]\nlmtp = \":24\"", want: "asks nobody who they are"},
		{name: "not loopback", local: true, toml: "[listen]\nsmtp = \"0.0.0.0:25\"", want: "is not a loopback address"},
		{name: "limit", local: true, toml: "[limits]\nrecipients = 5", want: "[limits] recipients = 5: take 100 to"},
		{name: "level", local: true, toml: "[log]\nlevel = \"loud\"", want: `[log] level = "loud"`},
		{name: "format", local: true, toml: "[log]\nformat = \"xml\"", want: `[log] format = "xml"`},
		{name: "database", local: true, toml: `database = "mysql://u:geheim@h/d"`, want: "the database is not a URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Site()
			if tt.local {
				c = Local()
			}
			err := c.parse("p.toml", []byte(tt.toml))
			if err == nil {
				err = c.Check()
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("not a configuration error: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") {
				t.Fatalf("got %q, want %q", err, tt.want)
			}
		})
	}
}

func TestLocalListeners(t *testing.T) {
	c := Local()
	for _, arg := range []string{"smtp=2525", "imap=:2143", "http=[::1]:0", "pop3=off", "lmtp=unix:/tmp/l"} {
		if err := c.Listen.Set(arg); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{SMTP: "127.0.0.1:2525", IMAP: "127.0.0.1:2143", HTTP: "[::1]:0", POP3: "", LMTP: "/tmp/l", POP3S: "127.0.0.1:1995"} {
		if c.Listen[name] != want {
			t.Errorf("%s listens on %q, want %q", name, c.Listen[name], want)
		}
	}
	for _, arg := range []string{"smtp", "ftp=127.0.0.1:21"} {
		if err := c.Listen.Set(arg); err == nil {
			t.Errorf("--listen %s was taken", arg)
		}
	}
}

func TestSecretKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret_key")
	made, err := OpenSecretKey(file)
	if err != nil || len(made) != SecretKeySize {
		t.Fatal(made, err)
	}
	again, err := OpenSecretKey(file)
	if err != nil || string(again) != string(made) {
		t.Fatal("the key changed", err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSecretKey(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(file, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSecretKey(file); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged key: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("hostname = \"a.test\"\n[listen]\nsmtp = \":25\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := Site()
		err := c.parse("p.toml", []byte(text))
		if err == nil {
			err = c.Check()
		}
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T %v", err, err)
			}
		}
	})
}
