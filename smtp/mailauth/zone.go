package mailauth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Kind is what a DNS record is for.
type Kind string

const (
	KindMX      Kind = "mx"
	KindSPF     Kind = "spf"
	KindHELO    Kind = "spf-helo"
	KindDKIM    Kind = "dkim"
	KindDMARC   Kind = "dmarc"
	KindTLSRPT  Kind = "tlsrpt"
	KindSTS     Kind = "mta-sts"
	KindSTSWeb  Kind = "mta-sts-host"
	KindSRV     Kind = "srv"     // where mail programs find a service (RFC 6186)
	KindAddress Kind = "address" // of the host itself
	KindSetup   Kind = "setup"   // where they ask for their settings
)

// Record is a DNS record that should stand.
type Record struct {
	Kind     Kind   `json:"kind"`
	Name     string `json:"name"` // absolute, without the final dot
	Type     string `json:"type"`
	Priority int    `json:"priority,omitempty"` // of MX
	Value    string `json:"value"`              // the text of TXT; "0 1 993 mx.example.org" of SRV; the host of others
	Optional bool   `json:"optional,omitempty"` // mail works without it
	Why      string `json:"why"`
}

// Zone is the record as a line of a zone file. Text is cut into strings of at
// most 255 octets (RFC 1035 §3.3.14); who reads it joins them without a blank
// (RFC 6376 §3.6.2.2).
func (r Record) Zone() string {
	var data string
	switch r.Type {
	case "TXT":
		data = strings.Join(quoteStrings(r.Value), " ")
	case "MX":
		data = fmt.Sprintf("%d %s.", r.Priority, r.Value)
	case "A", "AAAA":
		data = r.Value
	default:
		data = r.Value + "."
	}
	return r.Name + ". IN " + r.Type + " " + data
}

// quoteStrings cuts text and quotes it for a zone file.
func quoteStrings(text string) []string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var list []string
	for {
		n := min(len(text), 255)
		list = append(list, `"`+escape.Replace(text[:n])+`"`)
		if text = text[n:]; text == "" {
			return list
		}
	}
}

// ServiceRecord leads mail programs to a service of the domain.
func ServiceRecord(name string, priority, port int, host string) Record {
	return Record{Kind: KindSRV, Name: name, Type: "SRV", Value: fmt.Sprintf("%d 1 %d %s", priority, port, host), Optional: true,
		Why: "where mail programs find this service"}
}

// SetupRecord leads mail programs to their settings: autoconfig, autodiscover.
func SetupRecord(name, host string) Record {
	return Record{Kind: KindSetup, Name: name, Type: "CNAME", Value: host, Optional: true, Why: "where mail programs ask for their settings"}
}

// Records are what the DNS should say of a domain whose mail these hosts
// receive and send. keys are the domain's; those that are retired are left out.
// mode is that of its MTA-STS policy.
func Records(domain string, hosts []string, keys []Key, mode string) []Record {
	postmaster := "postmaster@" + domain
	var list []Record
	for i, h := range hosts {
		list = append(list, Record{Kind: KindMX, Name: domain, Type: "MX", Priority: 10 * (i + 1), Value: h,
			Why: "where mail for the domain goes"})
	}
	list = append(list, Record{Kind: KindSPF, Name: domain, Type: "TXT", Value: "v=spf1 mx -all",
		Why: "which hosts send mail with envelope senders of the domain: those that receive it, no others"})
	for _, h := range hosts {
		if h != domain {
			list = append(list, Record{Kind: KindHELO, Name: h, Type: "TXT", Value: "v=spf1 a -all", Optional: true,
				Why: "the same for the host's own name, under which bounces go out"})
		}
	}
	for _, k := range keys {
		if k.State != Retired {
			list = append(list, Record{Kind: KindDKIM, Name: k.Name(), Type: "TXT", Value: k.Record(), Why: dkimWhy(k)})
		}
	}
	list = append(list,
		Record{Kind: KindDMARC, Name: "_dmarc." + domain, Type: "TXT", Value: "v=DMARC1; p=quarantine; rua=mailto:" + postmaster,
			Why: "what others do with mail from the domain that neither SPF nor DKIM vouches for"},
		Record{Kind: KindTLSRPT, Name: "_smtp._tls." + domain, Type: "TXT", Value: "v=TLSRPTv1; rua=mailto:" + postmaster,
			Why: "where others report how TLS to this server went"},
		Record{Kind: KindSTS, Name: "_mta-sts." + domain, Type: "TXT", Value: "v=STSv1; id=" + STSPolicyID(mode, hosts), Optional: true,
			Why: "that the domain has an MTA-STS policy, and which version; only once the policy is served"},
	)
	if len(hosts) > 0 {
		list = append(list, Record{Kind: KindSTSWeb, Name: "mta-sts." + domain, Type: "CNAME", Value: hosts[0], Optional: true,
			Why: "the host that serves the policy"})
	}
	return list
}

func dkimWhy(k Key) string {
	switch k.State {
	case Next:
		return "DKIM key, signs from " + k.Signs.UTC().Format("2006-01-02 15:04 MST")
	case Published:
		return "DKIM key of mail already sent, needed until " + k.Goes.UTC().Format("2006-01-02 15:04 MST")
	}
	return "DKIM key, signs now"
}

// STSPolicy is the MTA-STS policy for these hosts (RFC 8461 §3.2), to be
// served at https://mta-sts.DOMAIN/.well-known/mta-sts.txt. In mode testing
// senders report what would fail, and deliver; in mode enforce they do not
// deliver where TLS cannot be had or the certificate is not the host's; none
// takes a policy back.
func STSPolicy(mode string, hosts []string) string {
	var b strings.Builder
	b.WriteString("version: STSv1\r\nmode: " + mode + "\r\n")
	for _, h := range hosts {
		b.WriteString("mx: " + h + "\r\n")
	}
	b.WriteString("max_age: 604800\r\n")
	return b.String()
}

// STSPolicyID names the version of the policy: another policy, another id.
func STSPolicyID(mode string, hosts []string) string {
	sum := sha256.Sum256([]byte(STSPolicy(mode, hosts)))
	return hex.EncodeToString(sum[:10])
}
