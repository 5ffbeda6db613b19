// Package clientsetup knows how mail programs reach this server, and says it in
// each of the forms that they ask for: Thunderbird's autoconfig, Outlook's
// autodiscover, Apple's configuration profiles, SRV records (RFC 6186, RFC
// 8314). All are made from one list of Services, so that they cannot differ.
//
// IMAP stands before POP3, and TLS from the first octet before STARTTLS
// (RFC 8314 §3). Programs that ask get what they need from an address alone,
// whether there is an account of that name or not: a document is no oracle.
package clientsetup

import (
	"net"
	"strconv"

	"posthouse/internal/mail"
)

// Protocol is what a program speaks to a Service.
type Protocol string

const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
	SMTP Protocol = "smtp" // submission
)

// Service is one way in, on a host and port.
type Service struct {
	Protocol Protocol
	Host     string
	Port     int
	Implicit bool // TLS from the first octet; else STARTTLS
}

// order is that of preference.
var order = []struct {
	listener string
	protocol Protocol
	implicit bool
}{
	{"imaps", IMAP, true}, {"imap", IMAP, false},
	{"pop3s", POP3, true}, {"pop3", POP3, false},
	{"submissions", SMTP, true}, {"submission", SMTP, false},
}

// Services lists what a server's listeners offer to mail programs under its
// host name. listeners are addresses by the names that the configuration uses.
// A certificate for that name always exists, which those of the domains wait
// for their DNS to have.
func Services(hostname string, listeners map[string]string) []Service {
	var list []Service
	for _, o := range order {
		_, port, err := net.SplitHostPort(listeners[o.listener])
		if err != nil {
			continue
		}
		n, err := strconv.Atoi(port)
		if err != nil || n == 0 {
			continue
		}
		list = append(list, Service{o.protocol, hostname, n, o.implicit})
	}
	return list
}

// first is the preferred service of a protocol.
func first(list []Service, p Protocol) (Service, bool) {
	for _, s := range list {
		if s.Protocol == p {
			return s, true
		}
	}
	return Service{}, false
}

// Record is an SRV record, without final dots in its names.
type Record struct {
	Name     string
	Priority int
	Port     int
	Target   string // "." where the service is not offered (RFC 6186 §3.4)
}

// SRV are the records of a domain (RFC 6186, RFC 8314 §5.1).
func SRV(domain string, list []Service) []Record {
	names := []struct {
		name     string
		protocol Protocol
		implicit bool
		priority int
	}{
		{"_imaps._tcp", IMAP, true, 0}, {"_imap._tcp", IMAP, false, 10},
		{"_pop3s._tcp", POP3, true, 20}, {"_pop3._tcp", POP3, false, 30},
		{"_submissions._tcp", SMTP, true, 0}, {"_submission._tcp", SMTP, false, 10},
	}
	records := make([]Record, 0, len(names))
	for _, n := range names {
		r := Record{Name: n.name + "." + domain, Target: "."}
		for _, s := range list {
			if s.Protocol == n.protocol && s.Implicit == n.implicit {
				r.Priority, r.Port, r.Target = n.priority, s.Port, s.Host
			}
		}
		records = append(records, r)
	}
	return records
}

// login is what a program logs in with: the whole address.
func login(a mail.Address) string { return a.Local + "@" + a.UnicodeDomain() }
