package imapd

import (
	"context"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/mailstore"
)

// listRequest is a LIST: plain, or extended with options (RFC 5258).
type listRequest struct {
	response string // LIST or XLIST
	extended bool
	reference
	patterns

	// Selection options.
	subscribed, specialUse, recursive bool
	// Return options. Children and special use are always returned: the former
	// costs nothing, and Outlook finds its special folders in no other way.
	returnSubscribed bool
	status           []statusItem
	myRights         bool
}

// reference is what the patterns continue.
type reference struct {
	name string
	root bool // LIST "" "": the client asks for the delimiter
}

// cmdList is LIST (RFC 3501 §6.3.8; RFC 5258, 5819, 6154, 8438).
func (s *session) cmdList(ctx context.Context, c *command) error {
	req := &listRequest{response: "LIST"}
	if err := s.parseList(c.lex, req); err != nil {
		return err
	}
	return s.list(ctx, req)
}

// cmdXList is XLIST, LIST as it was before RFC 6154: old Outlooks find their
// special folders by it.
func (s *session) cmdXList(ctx context.Context, c *command) error {
	req := &listRequest{response: "XLIST"}
	if err := s.parseReferenceAndPattern(c.lex, &req.reference, &req.patterns); err != nil {
		return err
	}
	return s.list(ctx, req)
}

// list answers LIST and XLIST.
func (s *session) list(ctx context.Context, req *listRequest) error {
	if req.root {
		s.enc.Raw("* " + req.response + ` (\Noselect) "/" ""` + "\r\n")
		return nil
	}
	boxes, err := s.reaches(ctx)
	if err != nil {
		return err
	}
	var subscriptions []string
	if req.returnSubscribed {
		if subscriptions, err = s.srv.Store.Subscriptions(ctx, s.acct()); err != nil {
			return err
		}
	}
	t := newTree(boxes, subscriptions)
	for _, n := range t {
		n.chosen = req.chooses(n)
	}
	if req.recursive {
		t.inform(&req.patterns)
	}
	for _, n := range t {
		if (n.chosen || n.childInfo) && req.match(n.name) {
			if err := s.listOne(ctx, req, n); err != nil {
				return err
			}
		}
	}
	return s.enc.Err()
}

// chooses applies the selection options.
func (req *listRequest) chooses(n *node) bool {
	switch {
	case req.subscribed && !n.subscribed, req.specialUse && (n.box == nil || n.box.SpecialUse == mailstore.None):
		return false
	case req.subscribed, n.box != nil:
		return true
	}
	// A level that is no mailbox any more: RFC 3501 §6.3.4 keeps the name, and
	// clients that look for the tree must see it. Extended LIST gives no exact
	// answer for what does not exist.
	return n.hasChildren && (req.wildcard || !req.extended)
}

func (s *session) listOne(ctx context.Context, req *listRequest, n *node) error {
	s.enc.Raw("* " + req.response + " (" + strings.Join(req.attributes(n), " ") + `) "/" `)
	s.enc.Mailbox(n.name, s.utf8())
	if n.childInfo {
		s.enc.Raw(` ("CHILDINFO" (` + strings.Join(req.chosenBy(), " ") + "))")
	}
	s.enc.CRLF()
	if req.myRights && n.box != nil {
		s.writeMyRights(n.box)
	}
	if len(req.status) > 0 && n.box != nil && n.chosen && n.box.Rights.Has(mailstore.RightRead) { // RFC 5819 §2
		return s.writeStatus(ctx, n.box.Mailbox, req.status)
	}
	return nil
}

// attributes of a name. Their order is that of the RFCs' examples.
func (req *listRequest) attributes(n *node) []string {
	var attrs []string
	if req.returnSubscribed && n.subscribed {
		attrs = append(attrs, string(imap.MailboxAttrSubscribed))
	}
	if n.box == nil {
		if req.extended {
			attrs = append(attrs, string(imap.MailboxAttrNonExistent))
		} else {
			attrs = append(attrs, string(imap.MailboxAttrNoSelect))
		}
	} else if !n.box.Rights.Has(mailstore.RightRead) {
		attrs = append(attrs, string(imap.MailboxAttrNoSelect))
	}
	if n.hasChildren {
		attrs = append(attrs, string(imap.MailboxAttrHasChildren))
	} else {
		attrs = append(attrs, string(imap.MailboxAttrHasNoChildren))
	}
	if n.box != nil && n.box.SpecialUse != mailstore.None {
		attrs = append(attrs, n.box.SpecialUse.String())
	}
	if req.response == "XLIST" {
		attrs = append(attrs, xlistAttributes(n)...)
	}
	return attrs
}

// chosenBy names the selection options for CHILDINFO.
func (req *listRequest) chosenBy() []string {
	var by []string
	if req.subscribed {
		by = append(by, `"SUBSCRIBED"`)
	}
	if req.specialUse {
		by = append(by, `"SPECIAL-USE"`)
	}
	return by
}

// xlistAttributes are the names that XLIST had before RFC 6154 chose others.
func xlistAttributes(n *node) []string {
	switch {
	case n.name == "INBOX":
		return []string{`\Inbox`}
	case n.box == nil:
		return nil
	}
	switch n.box.SpecialUse {
	case mailstore.Junk:
		return []string{`\Spam`}
	case mailstore.All:
		return []string{`\AllMail`}
	case mailstore.Flagged:
		return []string{`\Starred`}
	}
	return nil
}
