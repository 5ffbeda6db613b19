package clientsetup

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"fmt"

	"posthouse/internal/mail"
)

// Apple is a configuration profile (.mobileconfig) that sets up mail for an
// address, on iPhone, iPad and Mac. The password is asked for by the device. It
// is a property list; the caller signs it.
func Apple(a mail.Address, hostname string, list []Service) ([]byte, error) {
	in, ok := first(list, IMAP)
	kind := "EmailTypeIMAP"
	if !ok {
		in, ok = first(list, POP3)
		kind = "EmailTypePOP"
	}
	out, okOut := first(list, SMTP)
	if !ok || !okOut {
		return nil, fmt.Errorf("a profile for %s needs a service to read mail and one to send it", a)
	}
	address := login(a)
	account := plist{
		{"EmailAccountDescription", address},
		{"EmailAccountName", a.Local},
		{"EmailAccountType", kind},
		{"EmailAddress", address},
		{"IncomingMailServerAuthentication", "EmailAuthPassword"},
		{"IncomingMailServerHostName", in.Host},
		{"IncomingMailServerPortNumber", in.Port},
		{"IncomingMailServerUseSSL", true}, // with a port of STARTTLS, too
		{"IncomingMailServerUsername", address},
		{"OutgoingMailServerAuthentication", "EmailAuthPassword"},
		{"OutgoingMailServerHostName", out.Host},
		{"OutgoingMailServerPortNumber", out.Port},
		{"OutgoingMailServerUseSSL", true},
		{"OutgoingMailServerUsername", address},
		{"OutgoingPasswordSameAsIncomingPassword", true},
		{"PayloadDescription", "Mail for " + address},
		{"PayloadDisplayName", address},
		{"PayloadIdentifier", "posthouse." + hostname + ".mail." + id("mail", address)},
		{"PayloadType", "com.apple.mail.managed"},
		{"PayloadUUID", id("mail", address)},
		{"PayloadVersion", 1},
	}
	return plist{
		{"PayloadContent", []plist{account}},
		{"PayloadDescription", "Sets up mail for " + address + "."},
		{"PayloadDisplayName", address},
		{"PayloadIdentifier", "posthouse." + hostname + "." + id("profile", address)},
		{"PayloadOrganization", a.UnicodeDomain()},
		{"PayloadRemovalDisallowed", false},
		{"PayloadType", "Configuration"},
		{"PayloadUUID", id("profile", address)},
		{"PayloadVersion", 1},
	}.document(), nil
}

// id is a UUID (RFC 9562 §5.8) that is the same whenever it is asked for: a
// second installation replaces the first.
func id(kind, address string) string {
	sum := sha256.Sum256([]byte("posthouse " + kind + " " + address))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// plist is a dictionary of Apple's property lists, its keys in order.
type plist []struct {
	key   string
	value any // string, int, bool or []plist
}

func (p plist) document() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	b.WriteString("<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n")
	p.write(&b)
	b.WriteString("</plist>\n")
	return b.Bytes()
}

func (p plist) write(b *bytes.Buffer) {
	b.WriteString("<dict>\n")
	for _, entry := range p {
		element(b, "key", entry.key)
		switch v := entry.value.(type) {
		case string:
			element(b, "string", v)
		case int:
			element(b, "integer", fmt.Sprint(v))
		case bool:
			fmt.Fprintf(b, "<%t/>\n", v)
		case []plist:
			b.WriteString("<array>\n")
			for _, inner := range v {
				inner.write(b)
			}
			b.WriteString("</array>\n")
		}
	}
	b.WriteString("</dict>\n")
}

func element(b *bytes.Buffer, name, text string) {
	b.WriteString("<" + name + ">")
	xml.EscapeText(b, []byte(text)) // a Buffer takes everything
	b.WriteString("</" + name + ">\n")
}
