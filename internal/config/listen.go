package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The names of listeners.
const (
	SMTP        = "smtp"
	Submission  = "submission"
	Submissions = "submissions"
	IMAP        = "imap"
	IMAPS       = "imaps"
	POP3        = "pop3"
	POP3S       = "pop3s"
	LMTP        = "lmtp"
	HTTP        = "http"
	HTTPS       = "https"
)

// ListenerNames are all listeners, in the order in which they are shown.
var ListenerNames = []string{SMTP, Submission, Submissions, IMAP, IMAPS, POP3, POP3S, LMTP, HTTP, HTTPS}

// Listeners maps a listener's name to its address: "host:port", for LMTP also
// the absolute path of a Unix socket. A listener without an entry, or with
// "off", does not exist.
type Listeners map[string]string

func localListeners() Listeners {
	return Listeners{
		SMTP: "127.0.0.1:1025", Submission: "127.0.0.1:1587", Submissions: "127.0.0.1:1465",
		IMAP: "127.0.0.1:1143", IMAPS: "127.0.0.1:1993",
		POP3: "127.0.0.1:1110", POP3S: "127.0.0.1:1995",
		HTTP: "127.0.0.1:8025",
	}
}

// siteListeners are the field's. The authority of our certificates asks at 80
// and 443; web keeps what is the operator's from strangers.
func siteListeners() Listeners {
	return Listeners{
		SMTP: ":25", Submission: ":587", Submissions: ":465",
		IMAP: ":143", IMAPS: ":993", POP3: ":110", POP3S: ":995",
		HTTP: ":80", HTTPS: ":443",
	}
}

// Set takes one NAME=ADDR as --listen gives it.
func (l Listeners) Set(arg string) error {
	name, addr, ok := strings.Cut(arg, "=")
	if !ok {
		return errorf("listener %q: write NAME=ADDR, for example smtp=127.0.0.1:2525", arg)
	}
	if !slices.Contains(ListenerNames, name) {
		return errorf("listener %q does not exist; there are %s", name, strings.Join(ListenerNames, ", "))
	}
	l[name] = addr
	return nil
}

// check brings every address into the form that net.Listen takes.
func (l Listeners) check(local bool) error {
	for name, addr := range l {
		if !slices.Contains(ListenerNames, name) {
			return errorf("[listen] %s: no such listener; there are %s", name, strings.Join(ListenerNames, ", "))
		}
		if addr == "" || addr == "off" {
			delete(l, name)
			continue
		}
		clean, err := checkAddress(name, addr, local)
		if err != nil {
			return errorf("listener %s: %v", name, err)
		}
		l[name] = clean
	}
	if len(l) == 0 {
		return errorf("all listeners are off: set at least one under [listen]")
	}
	return nil
}

func checkAddress(name, addr string, local bool) (string, error) {
	if path := strings.TrimPrefix(addr, "unix:"); filepath.IsAbs(path) {
		if name != LMTP {
			return "", fmt.Errorf("%q is a Unix socket; only lmtp can listen on one", addr)
		}
		return path, nil
	}
	if _, err := strconv.ParseUint(addr, 10, 16); err == nil {
		addr = ":" + addr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is not an address: write host:port", addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q has no port between 0 and 65535", addr)
	}
	if !local {
		if name == LMTP && !loopback(host) {
			return "", fmt.Errorf("%q can be reached from outside, and LMTP asks nobody who they are: use loopback or a Unix socket", addr)
		}
		return net.JoinHostPort(host, port), nil
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if !loopback(host) {
		return "", fmt.Errorf("%q is not a loopback address: serve --local listens on loopback only, because it logs in without TLS and has well-known accounts; run a site for others to reach it", addr)
	}
	return net.JoinHostPort(host, port), nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
