package imapd

import (
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
)

// This file is what differs once a client has said ENABLE IMAP4rev2 (RFC 9051):
// names in UTF-8, ESEARCH for every SEARCH, no \Recent and no RECENT, LIST in the
// answer to SELECT, OLDNAME where a name was changed. What IMAP4rev2 adds beyond
// that are extensions of IMAP4rev1, which every client may use.

const rev2 imap.Cap = "IMAP4REV2" // as ENABLE compares it

// rev2Needs are what IMAP4rev2 includes (RFC 9051 appendix E): it is not advertised
// to a client from whom one of them is hidden.
var rev2Needs = []imap.Cap{imap.CapNamespace, imap.CapUnselect, imap.CapUIDPlus, imap.CapESearch, "SEARCHRES", imap.CapEnable, imap.CapIdle,
	imap.CapSASLIR, imap.CapListExtended, imap.CapListStatus, imap.CapMove, imap.CapLiteralPlus, "BINARY", imap.CapSpecialUse, imap.CapStatusSize}

func init() {
	enableable[rev2] = func(s *session) {
		if s.box != nil {
			s.box.recent = nil
		}
	}
}

// rev2 reports whether the client speaks IMAP4rev2.
func (s *session) rev2() bool { return s.enabled[rev2] }

// properCap is a capability as it is written, where that is not in capitals.
func properCap(name imap.Cap) string {
	if name == rev2 {
		return string(imap.CapIMAP4rev2)
	}
	return string(name)
}

// listOldName tells under which name a mailbox is known, if the client wrote
// another one: because of RENAME, or because names are made uniform (RFC 9051
// §7.3.1). With always it tells in any case.
func (s *session) listOldName(name, old string, always bool) {
	old = strings.TrimSuffix(old, string(wire.Delimiter))
	if !s.rev2() || name == old && !always {
		return
	}
	s.enc.Raw(`* LIST () "/" `)
	s.enc.Mailbox(name, true)
	if name != old {
		s.enc.Raw(` ("OLDNAME" (`)
		s.enc.Mailbox(old, true)
		s.enc.Raw("))")
	}
	s.enc.CRLF()
}
