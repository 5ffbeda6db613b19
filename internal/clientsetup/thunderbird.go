package clientsetup

import "encoding/xml"

// Thunderbird's autoconfig, which K-9, Evolution, KMail and others read, too:
// https://www.bucksch.org/1/projects/thunderbird/autoconfiguration/config-file-format.html

type clientConfig struct {
	XMLName  xml.Name      `xml:"clientConfig"`
	Version  string        `xml:"version,attr"`
	Provider emailProvider `xml:"emailProvider"`
}

type emailProvider struct {
	ID        string       `xml:"id,attr"`
	Domain    string       `xml:"domain"`
	Name      string       `xml:"displayName"`
	ShortName string       `xml:"displayShortName"`
	Incoming  []mailServer `xml:"incomingServer"`
	Outgoing  []mailServer `xml:"outgoingServer"`
}

type mailServer struct {
	Type           string `xml:"type,attr"`
	Hostname       string `xml:"hostname"`
	Port           int    `xml:"port"`
	Socket         string `xml:"socketType"` // SSL: from the first octet
	Username       string `xml:"username"`
	Authentication string `xml:"authentication"`
}

// Thunderbird is the document for every address of a domain.
func Thunderbird(domain string, list []Service) ([]byte, error) {
	p := emailProvider{ID: domain, Domain: domain, Name: domain, ShortName: domain}
	for _, s := range list {
		m := mailServer{Type: string(s.Protocol), Hostname: s.Host, Port: s.Port, Socket: "STARTTLS",
			// The program fills in the address. A password in clear: inside TLS.
			Username: "%EMAILADDRESS%", Authentication: "password-cleartext"}
		if s.Implicit {
			m.Socket = "SSL"
		}
		if s.Protocol == SMTP {
			p.Outgoing = append(p.Outgoing, m)
		} else {
			p.Incoming = append(p.Incoming, m)
		}
	}
	return document(clientConfig{Version: "1.1", Provider: p})
}

// document is a value in XML, with its declaration.
func document(v any) ([]byte, error) {
	text, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(text, '\n')...), nil
}
