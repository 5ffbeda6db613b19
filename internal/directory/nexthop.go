package directory

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"posthouse/internal/mail"
)

// Route is a way to a destination: smtp/relay's Route in the directory's words,
// field by field.
type Route struct {
	// Key names the destination in the queue and is stored there:
	//
	//	example.net                            directly, by MX records (an address literal with its brackets)
	//	example.net#192.0.2.7,helo=a.example   directly, with a source, HELO or proxy of the sender's own
	//	relay:NAME                             through the relay of that name
	Key    string
	Domain string // whose MX records lead there; empty with Hosts
	Hosts  []Host // static next hops, in order
	LMTP   bool
	TLS    TLSMode
	Auth   *Login
	Way
	Fallback *Route // nil: there is none; it has none itself
}

// Host is a next hop. Port 0 is the relay's own, 25.
type Host struct {
	Name string // host name in A-labels, an address without brackets, or the path of a Unix socket
	Port uint16
}

// Login are credentials for a next hop. No verb prints the password.
type Login struct{ User, Password string }

// Format writes the user alone.
func (l Login) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s (password hidden)", l.User) }

// Way is how connections are made.
type Way struct {
	Source []netip.Addr // at most one of each family
	SOCKS5 string       // "127.0.0.1:1080"
	HELO   string       // name in EHLO
}

// IsZero reports whether nothing is said.
func (w Way) IsZero() bool { return len(w.Source) == 0 && w.SOCKS5 == "" && w.HELO == "" }

// String lists what is said, in a fixed order.
func (w Way) String() string {
	var parts []string
	for _, a := range w.Source {
		parts = append(parts, a.String())
	}
	if w.HELO != "" {
		parts = append(parts, "helo="+w.HELO)
	}
	if w.SOCKS5 != "" {
		parts = append(parts, "socks5="+w.SOCKS5)
	}
	return strings.Join(parts, ",")
}

// TLSMode is what is asked of a connection; the values are smtp/relay's.
type TLSMode uint8

const (
	TLSOpportunistic TLSMode = iota // STARTTLS where offered
	TLSVerified                     // STARTTLS with a certificate that is vouched for, or nothing
	TLSImplicit                     // TLS from the first octet, verified
	TLSNever
)

var tlsNames = [...]string{"opportunistic", "verified", "implicit", "never"}

// String is the word that stands in the database.
func (m TLSMode) String() string { return tlsNames[m] }

// ParseTLSMode is the inverse of String. ErrInvalid.
func ParseTLSMode(s string) (TLSMode, error) {
	for i, n := range tlsNames {
		if n == s {
			return TLSMode(i), nil
		}
	}
	return 0, fmt.Errorf("tls %q: write opportunistic, verified, implicit or never: %w", s, ErrInvalid)
}

// maxSocket bounds the path of a socket: sun_path of unix(7) with its NUL.
const maxSocket = 107

// ParseHost reads "name", "name:port", "192.0.2.1:port", "[2001:db8::1]:port",
// a bare address, or the path of a Unix socket, "/run/lmtp". ErrInvalid.
func ParseHost(s string) (Host, error) {
	bad := func(why string) (Host, error) {
		return Host{}, fmt.Errorf("next hop %q: %s: %w", s, why, ErrInvalid)
	}
	if strings.HasPrefix(s, "/") {
		if len(s) > maxSocket || path.Clean(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
			return bad("not the path of a socket")
		}
		return Host{Name: s}, nil
	}
	if a, ok := literal(s); ok {
		return Host{Name: a}, nil
	}
	name, port, found := s, "", false
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		name, port, found = s[:i], s[i+1:], true
	}
	h := Host{}
	if found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return bad("the port must be a number from 1 to 65535")
		}
		h.Port = uint16(n)
	}
	if a, ok := literal(name); ok && (name[0] == '[' || !strings.Contains(name, ":")) {
		h.Name = a
		return h, nil
	}
	domain, err := mail.ParseDomain(name)
	if err != nil {
		return bad("write a host name or an address, with a port if need be: smtp.example.org:587, [2001:db8::1]:25")
	}
	h.Name = domain
	return h, nil
}

// literal reads an address, in brackets or not.
func literal(s string) (string, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return "", false
		}
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().String(), err == nil && a.Zone() == ""
}

// String is the form that ParseHost reads.
func (h Host) String() string {
	name := h.Name
	if h.Port == 0 {
		return name
	}
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	return name + ":" + strconv.Itoa(int(h.Port))
}

// loopback reports whether the host is on this machine for certain.
func (h Host) loopback() bool {
	a, err := netip.ParseAddr(h.Name)
	return err == nil && a.IsLoopback() || h.Name == "localhost" || h.socket()
}

// socket reports whether the host is a Unix socket.
func (h Host) socket() bool { return strings.HasPrefix(h.Name, "/") }

// checkWay vets and folds what a person gave. ErrInvalid.
func checkWay(w Way) (Way, error) {
	var four, six int
	w.Source = slices.Clone(w.Source)
	for i, a := range w.Source {
		a = a.Unmap()
		switch {
		case !a.IsValid() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified():
			return w, fmt.Errorf("source %s: not an address to connect from: %w", a, ErrInvalid)
		case a.Is4():
			four++
		default:
			six++
		}
		w.Source[i] = a
	}
	slices.SortFunc(w.Source, netip.Addr.Compare) // one order, as the queue's rows name it
	if four > 1 || six > 1 {
		return w, fmt.Errorf("source: at most one IPv4 and one IPv6 address: %w", ErrInvalid)
	}
	if w.HELO != "" {
		name, err := mail.ParseDomain(w.HELO)
		if err != nil {
			return w, fmt.Errorf("helo %q: not a host name: %w", w.HELO, ErrInvalid)
		}
		w.HELO = name
	}
	if w.SOCKS5 != "" {
		h, err := ParseHost(w.SOCKS5)
		if err != nil || h.Port == 0 { // a socket has none
			return w, fmt.Errorf("socks5 %q: write HOST:PORT, as 127.0.0.1:1080: %w", w.SOCKS5, ErrInvalid)
		}
		w.SOCKS5 = h.String()
	}
	return w, nil
}

func hostsText(hosts []Host) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = h.String()
	}
	return out
}

func parseHosts(text []string) ([]Host, error) {
	if len(text) == 0 {
		return nil, nil
	}
	out := make([]Host, len(text))
	for i, s := range text {
		var err error
		if out[i], err = ParseHost(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sourceText(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}

// wayOf is the inverse of what is stored.
func wayOf(source []string, socks5, helo string) (Way, error) {
	w := Way{SOCKS5: socks5, HELO: helo}
	for _, s := range source {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return w, fmt.Errorf("source %q: %w", s, err)
		}
		w.Source = append(w.Source, a)
	}
	return w, nil
}
