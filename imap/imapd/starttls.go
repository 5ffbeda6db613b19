package imapd

import "github.com/emersion/go-imap/v2"

// loginCapabilities are STARTTLS, LOGINDISABLED and the mechanisms of AUTHENTICATE.
func (s *session) loginCapabilities() []imap.Cap {
	return nil
}
