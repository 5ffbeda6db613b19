package imapd

import (
	"context"
	"slices"

	"github.com/emersion/go-imap/v2"
)

// extension is a line of what may be advertised.
type extension struct {
	cap imap.Cap
	in  states
}

// extensions are advertised in this order. A line is added by the file that
// honours the extension whole. Before login a client hears only what matters
// there.
var extensions = []extension{
	{imap.CapIMAP4rev1, anyState},
	{imap.CapIMAP4rev2, anyState},   // RFC 9051
	{imap.CapLiteralPlus, anyState}, // RFC 7888
	{imap.CapSASLIR, guest},         // RFC 4959
	{imap.CapEnable, anyState},      // RFC 5161
	{imap.CapID, anyState},          // RFC 2971
	{imap.CapIdle, anyState},        // RFC 2177
	{imap.CapNamespace, loggedIn},   // RFC 2342
	{imap.CapUIDPlus, loggedIn},     // RFC 4315
	{imap.CapMove, loggedIn},        // RFC 6851
	{imap.CapSpecialUse, loggedIn},  // RFC 6154
	{imap.CapCreateSpecialUse, loggedIn},
	{imap.CapChildren, loggedIn},     // RFC 3348
	{imap.CapListExtended, loggedIn}, // RFC 5258
	{imap.CapListStatus, loggedIn},   // RFC 5819
	{imap.CapUnselect, loggedIn},     // RFC 3691
	{imap.CapESearch, loggedIn},      // RFC 4731
	{"SEARCH=FUZZY", loggedIn},       // RFC 6203
	{"MULTISEARCH", loggedIn},        // RFC 7377
	{"SEARCHRES", loggedIn},          // RFC 5182
	{"WITHIN", loggedIn},             // RFC 5032
	{"SORT", loggedIn},               // RFC 5256
	{"SORT=DISPLAY", loggedIn},       // RFC 5957
	{"ESORT", loggedIn},              // RFC 5267
	{"THREAD=REFERENCES", loggedIn},
	{"THREAD=ORDEREDSUBJECT", loggedIn},
	{"CONTEXT=SEARCH", loggedIn},
	{"PARTIAL", loggedIn},          // RFC 9394
	{imap.CapStatusSize, loggedIn}, // RFC 8438
	{condstore, loggedIn},          // RFC 7162
	{qresync, loggedIn},
	{"OBJECTID", loggedIn}, // RFC 8474
	{"PREVIEW", loggedIn},  // RFC 8970
	{"SAVEDATE", loggedIn}, // RFC 8514
	{"QUOTA", loggedIn},    // RFC 9208
	{"QUOTA=RES-STORAGE", loggedIn},
	{"QUOTA=RES-MESSAGE", loggedIn},
	{"ACL", loggedIn}, // RFC 4314
	{"RIGHTS=texk", loggedIn},
	{"LIST-MYRIGHTS", loggedIn},  // RFC 8440
	{"UNAUTHENTICATE", loggedIn}, // RFC 8437
	{"MULTIAPPEND", loggedIn},    // RFC 3502
	{"INPROGRESS", loggedIn},     // RFC 9585
	{"METADATA", loggedIn},       // RFC 5464
	{"CATENATE", loggedIn},       // RFC 4469
	{"UTF8=ACCEPT", loggedIn},    // RFC 6855
	{"BINARY", loggedIn},         // RFC 3516
	{"REPLACE", loggedIn},        // RFC 8508
	{compressDeflate, loggedIn},  // RFC 4978
	{"NOTIFY", loggedIn},         // RFC 5465
	{"XLIST", loggedIn},          // Outlook's way to find special folders
}

// capabilities are what the session may use in its present state.
func (s *session) capabilities() []imap.Cap {
	var caps []imap.Cap
	for _, e := range extensions {
		if e.in&s.state != 0 && (e.cap != compressDeflate || s.deflate == nil) {
			caps = append(caps, e.cap)
		}
	}
	if s.state == guest {
		caps = append(caps, s.loginCapabilities()...)
	} else {
		caps = append(caps, s.appendLimitCapability())
	}
	return slices.DeleteFunc(caps, s.masked())
}

// capabilityText is "CAPABILITY A B C", for an untagged response or a response
// code.
func (s *session) capabilityText() string {
	text := "CAPABILITY"
	for _, c := range s.capabilities() {
		text += " " + string(c)
	}
	return text
}

// cmdCapability is CAPABILITY (RFC 3501 §6.1.1).
func (s *session) cmdCapability(ctx context.Context, c *command) error {
	if err := c.lex.End(); err != nil {
		return err
	}
	s.enc.Raw("* " + s.capabilityText() + "\r\n")
	return nil
}
