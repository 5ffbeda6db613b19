package imapd

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// This file is the grammar of NOTIFY (RFC 5465 §3, §8) and what a session keeps
// of it. What is told of, and how, stands in notifynews.go and notifytell.go.

// notifyEvents are the events of RFC 5465 §5 that a client asks for.
type notifyEvents uint8

const (
	messageNew notifyEvents = 1 << iota
	messageExpunge
	flagChange
	mailboxName
	subscriptionChange
	mailboxMetadataChange
	serverMetadataChange

	messageEvents  = messageNew | messageExpunge | flagChange
	metadataEvents = mailboxMetadataChange | serverMetadataChange
)

// notifyNames are in the order in which BADEVENT lists them.
var notifyNames = []string{"MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange",
	"MailboxMetadataChange", "ServerMetadataChange"}

// errBadEvent refuses an event that is not supported: AnnotationChange, or one
// that nobody knows.
var errBadEvent = no(imap.ResponseCode("BADEVENT ("+strings.Join(notifyNames, " ")+")"), "No such event is told of")

// errNotifyTooMuch refuses what would be too much to watch (§3.1).
var errNotifyTooMuch = no("NOTIFICATIONOVERFLOW", "Too much to watch")

// Bounds of what one session may watch.
const (
	maxNotifyGroups    = 100
	maxNotifyNames     = 1000
	maxNotifyMailboxes = 5000
)

// notifyFilter says which mailboxes a group is about (§6).
type notifyFilter uint8

const (
	filterSelected notifyFilter = iota
	filterDelayed
	filterPersonal // and inboxes: filters deliver into any mailbox (§6.3)
	filterSubscribed
	filterSubtree
	filterSubtreeOne // RFC 7377 §2.1
	filterMailboxes
)

var notifyFilters = map[string]notifyFilter{"SELECTED": filterSelected, "SELECTED-DELAYED": filterDelayed,
	"INBOXES": filterPersonal, "PERSONAL": filterPersonal, "SUBSCRIBED": filterSubscribed,
	"SUBTREE": filterSubtree, "SUBTREE-ONE": filterSubtreeOne, "MAILBOXES": filterMailboxes}

// eventGroup is what is to be told of some mailboxes.
type eventGroup struct {
	filter notifyFilter
	names  []string // from filterSubtree on
	events notifyEvents
}

// notification is what a session was asked to tell by itself. A nil one is that
// of a client that never asked: the selected mailbox, when RFC 3501 allows it.
type notification struct {
	status   bool
	groups   []eventGroup // of mailboxes that are not selected; the first that matches counts
	selected notifyEvents // of the selected mailbox
	delayed  bool         // its expunges wait for a command (§6.1.2)
	items    []fetchItem  // of new messages there

	watch  *mailstore.Watch // nil: NOTIFY NONE
	stop   func()           // of the goroutine that interrupts the wait
	of     mailstore.MailboxID
	left   []mailstore.MailboxID // something came there, or they are not selected any more
	tree   bool                  // something came in an account
	told   map[mailstore.MailboxID]*toldBox
	subs   map[string]bool
	sums   map[mailstore.AnnotationKey]string
	events notifyEvents // of all groups
}

// silent reports whether nothing may be told of the selected mailbox that was
// not caused by the command itself (§3.1).
func (s *session) silent() bool { return s.notify != nil && s.notify.selected == 0 }

// tellsFlags reports whether changed flags are told.
func (s *session) tellsFlags() bool { return s.notify == nil || s.notify.selected&flagChange != 0 }

// cmdNotify is NOTIFY (RFC 5465 §3.1).
func (s *session) cmdNotify(ctx context.Context, c *command) error {
	word, err := c.lex.Keyword()
	if err != nil {
		return err
	}
	next := &notification{}
	switch word {
	case "NONE":
	case "SET":
		if err := s.parseNotify(c.lex, next); err != nil {
			return err
		}
	default:
		return wire.Syntaxf("expected SET or NONE")
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if word == "NONE" {
		s.dropNotify()
		s.notify = next
		return nil
	}
	if s.box != nil { // a NOOP is implied, under the rules so far
		if err := s.syncNow(ctx, false); err != nil {
			return err
		}
	}
	return s.startNotify(ctx, next)
}

// parseNotify reads [STATUS] and the groups.
func (s *session) parseNotify(lex *wire.Lexer, n *notification) error {
	if err := lex.SP(); err != nil {
		return err
	}
	if !lex.IsList() {
		word, err := lex.Keyword()
		if err != nil {
			return err
		}
		if word != "STATUS" {
			return wire.Syntaxf("expected STATUS or a group of events")
		}
		n.status = true
		if err := lex.SP(); err != nil {
			return err
		}
	}
	selected := false
	for count := 0; ; count++ {
		if count == maxNotifyGroups {
			return errNotifyTooMuch
		}
		g, items, err := s.parseEventGroup(lex)
		if err != nil {
			return err
		}
		if g.filter <= filterDelayed {
			if selected {
				return bad("The selected mailbox has one group")
			}
			selected = true
			n.selected, n.delayed, n.items = g.events, g.filter == filterDelayed, items
		} else {
			n.groups = append(n.groups, g)
			n.events |= g.events
		}
		if lex.AtEnd() || !lex.Accept(' ') {
			return nil
		}
	}
}

// parseEventGroup reads "(" filter events ")".
func (s *session) parseEventGroup(lex *wire.Lexer) (g eventGroup, items []fetchItem, err error) {
	if err := lex.Enter(); err != nil {
		return g, nil, err
	}
	word, err := lex.Keyword()
	if err != nil {
		return g, nil, err
	}
	filter, ok := notifyFilters[word]
	if !ok {
		return g, nil, wire.Syntaxf("unknown kind of mailboxes")
	}
	g.filter = filter
	if filter >= filterSubtree {
		if g.names, err = s.notifyMailboxes(lex); err != nil {
			return g, nil, err
		}
	}
	if err := lex.SP(); err != nil {
		return g, nil, err
	}
	if items, err = s.parseEvents(lex, &g); err != nil {
		return g, nil, err
	}
	return g, items, lex.Leave()
}

// notifyMailboxes reads one name, or several in parentheses. No wildcards (§6.6).
func (s *session) notifyMailboxes(lex *wire.Lexer) (names []string, err error) {
	if err := lex.SP(); err != nil {
		return nil, err
	}
	one := func() error {
		name, err := s.mailboxArg(lex)
		if names = append(names, name); len(names) > maxNotifyNames {
			return errNotifyTooMuch
		}
		return err
	}
	if !lex.IsList() {
		return names, one()
	}
	if err := lex.List(one); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, wire.Syntaxf("no mailboxes")
	}
	return names, nil
}

// parseEvents reads NONE or the events; the parentheses around them are missing
// in the RFC's examples, so they may.
func (s *session) parseEvents(lex *wire.Lexer, g *eventGroup) (items []fetchItem, err error) {
	one := func() error {
		word, err := lex.Word(&itemChars, "an event")
		if err != nil {
			return err
		}
		i := slices.IndexFunc(notifyNames, func(name string) bool { return strings.EqualFold(name, word) })
		if i < 0 {
			return errBadEvent
		}
		g.events |= 1 << i
		if 1<<i == messageNew && lex.Peek() == ' ' && lex.Second() == '(' {
			items, err = s.parseNewItems(lex, g.filter)
		}
		return err
	}
	if lex.IsList() {
		err = lex.List(one)
	} else if peek := lex.Peek(); peek == 'N' || peek == 'n' { // no event begins with it
		word, err := lex.Keyword()
		if err != nil || word == "NONE" {
			return nil, err
		}
		return nil, errBadEvent
	} else {
		for err = one(); err == nil && lex.Accept(' '); {
			err = one()
		}
	}
	if err != nil {
		return nil, err
	}
	switch message := g.events & messageEvents; {
	case g.events == 0:
		return nil, wire.Syntaxf("no events")
	case message != 0 && message&(messageNew|messageExpunge) != messageNew|messageExpunge: // §5
		return nil, bad("MessageNew and MessageExpunge come together, and with FlagChange")
	case g.filter <= filterDelayed && message != g.events: // §6.1
		return nil, bad("Of the selected mailbox only its messages are told")
	}
	return items, nil
}

// parseNewItems reads the items that FETCH is to give of new messages, which is
// for the selected mailbox (§8). Nothing is marked \Seen by it.
func (s *session) parseNewItems(lex *wire.Lexer, filter notifyFilter) ([]fetchItem, error) {
	if filter > filterDelayed {
		return nil, bad("FETCH items are for the selected mailbox")
	}
	if err := lex.SP(); err != nil {
		return nil, err
	}
	f := &fetch{s: s}
	if err := lex.List(func() error { return f.parseItem(lex, false) }); err != nil {
		return nil, err
	}
	if len(f.items) == 0 {
		return nil, wire.Syntaxf("nothing to fetch")
	}
	return once(f.items), nil
}
