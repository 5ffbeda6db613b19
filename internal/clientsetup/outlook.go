package clientsetup

import (
	"bytes"
	"encoding/xml"
	"errors"
	"strings"

	"posthouse/internal/mail"
)

// Outlook's autodiscover, [MS-OXDSCLI] for the plain-old-XML form.

const (
	outlookSchema = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

type autodiscover struct {
	XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
	Response struct {
		XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
		User    struct {
			DisplayName string `xml:"DisplayName"`
		} `xml:"User"`
		Account struct {
			AccountType string     `xml:"AccountType"`
			Action      string     `xml:"Action"`
			Protocols   []protocol `xml:"Protocol"`
		} `xml:"Account"`
	} `xml:"Response"`
}

type protocol struct {
	Type           string `xml:"Type"`
	Server         string `xml:"Server"`
	Port           int    `xml:"Port"`
	LoginName      string `xml:"LoginName"`
	DomainRequired string `xml:"DomainRequired"`
	SPA            string `xml:"SPA"` // NTLM
	SSL            string `xml:"SSL"`
	Encryption     string `xml:"Encryption,omitempty"` // overrules SSL: SSL or TLS, which is STARTTLS
	AuthRequired   string `xml:"AuthRequired"`
	UsePOPAuth     string `xml:"UsePOPAuth,omitempty"`
	SMTPLast       string `xml:"SMTPLast,omitempty"`
}

// Outlook is the answer for an address. Of each protocol it gets the preferred
// service alone: it takes the first and tries no others.
func Outlook(a mail.Address, list []Service) ([]byte, error) {
	var d autodiscover
	d.Response.User.DisplayName = login(a)
	d.Response.Account.AccountType, d.Response.Account.Action = "email", "settings"
	for _, p := range []Protocol{IMAP, POP3, SMTP} {
		s, ok := first(list, p)
		if !ok {
			continue
		}
		entry := protocol{Type: strings.ToUpper(string(p)), Server: s.Host, Port: s.Port, LoginName: login(a),
			DomainRequired: "off", SPA: "off", SSL: "on", Encryption: "SSL", AuthRequired: "on"}
		if !s.Implicit {
			entry.Encryption = "TLS"
		}
		if p == SMTP {
			entry.UsePOPAuth, entry.SMTPLast = "on", "off"
		}
		d.Response.Account.Protocols = append(d.Response.Account.Protocols, entry)
	}
	return document(d)
}

// ErrSchema says that a request asks for another kind of answer: that of mobile
// devices for Exchange, which this server is not.
var ErrSchema = errors.New("only the outlook response schema is served here")

// OutlookRequest reads the address that a request asks about. Namespaces are
// not looked at: programs differ in them.
func OutlookRequest(body []byte) (mail.Address, error) {
	var r struct {
		Request struct {
			Address string `xml:"EMailAddress"`
			Schema  string `xml:"AcceptableResponseSchema"`
		} `xml:"Request"`
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict = false
	if err := d.Decode(&r); err != nil {
		return mail.Address{}, err
	}
	if s := strings.TrimSpace(r.Request.Schema); s != "" && !strings.EqualFold(s, outlookSchema) {
		return mail.Address{}, ErrSchema
	}
	return mail.ParseAddress(strings.TrimSpace(r.Request.Address))
}

// OutlookError is the error document of [MS-OXDSCLI] §2.2.4.1.1.2: 600 is a bad
// request, 601 a kind of answer that is not given, 500 an unknown address.
func OutlookError(code int, message string) ([]byte, error) {
	type fault struct {
		Code    int    `xml:"ErrorCode"`
		Message string `xml:"Message"`
		Debug   string `xml:"DebugData"`
	}
	type response struct {
		Error fault `xml:"Error"`
	}
	return document(struct {
		XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
		Response response `xml:"Response"`
	}{Response: response{fault{Code: code, Message: message}}})
}
