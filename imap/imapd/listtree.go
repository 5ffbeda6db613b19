package imapd

import (
	"cmp"
	"slices"
	"strings"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// node is one name of the mailbox tree: a mailbox, a level above one that is
// none itself any more, or a name that is only subscribed.
type node struct {
	name        string
	box         *mailstore.Reached // nil: no such mailbox
	subscribed  bool
	hasChildren bool // there is a mailbox below
	chosen      bool // by the selection options
	childInfo   bool // something below is chosen, and matches no pattern (RFC 5258 §3.5)
}

// tree is an account's mailbox names, INBOX first, each level in order.
type tree []*node

// newTree makes the tree of the mailboxes, the names above them and, with
// subscriptions, the subscribed names and those above them.
func newTree(boxes []mailstore.Reached, subscriptions []string) tree {
	byName := make(map[string]*node, len(boxes)+len(subscriptions))
	at := func(name string) *node {
		n := byName[name]
		if n == nil {
			n = &node{name: name}
			byName[name] = n
		}
		return n
	}
	for i := range boxes {
		at(boxes[i].Name).box = &boxes[i]
		for above := range ancestors(boxes[i].Name) {
			at(above).hasChildren = true
		}
	}
	for _, name := range subscriptions {
		at(name).subscribed = true
		for above := range ancestors(name) {
			at(above)
		}
	}
	t := make(tree, 0, len(byName))
	for _, n := range byName {
		t = append(t, n)
	}
	slices.SortFunc(t, func(a, b *node) int { return compareNames(a.name, b.name) })
	return t
}

// ancestors are the names above a name, the nearest first.
func ancestors(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			i := strings.LastIndexByte(name, wire.Delimiter)
			if i < 0 || !yield(name[:i]) {
				return
			}
			name = name[:i]
		}
	}
}

// compareNames puts INBOX first and what is below a name right behind it.
func compareNames(a, b string) int {
	if a == "INBOX" || b == "INBOX" {
		return cmp.Compare(btoi(a != "INBOX"), btoi(b != "INBOX"))
	}
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if a[i] == wire.Delimiter || b[i] == wire.Delimiter {
			return cmp.Compare(btoi(a[i] != wire.Delimiter), btoi(b[i] != wire.Delimiter))
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// patterns are what LIST was asked for: a name matches one of them, or none.
type patterns struct {
	compiled     []*wire.Pattern
	wildcard     bool // one has "*" or "%" in it
	percent      bool // one has "%" in it
	emptyPattern bool // the last one is ""
}

func (p *patterns) match(name string) bool {
	return slices.ContainsFunc(p.compiled, func(one *wire.Pattern) bool { return one.Match(name) })
}

// inform marks the names that have something chosen below, which matches no
// pattern and so would not be told: RFC 5258 §3.5, and for "%" RFC 3501 §6.3.9.
func (t tree) inform(p *patterns) {
	byName := make(map[string]*node, len(t))
	for _, n := range t {
		byName[n.name] = n
	}
	for _, n := range t {
		if !n.chosen || p.match(n.name) {
			continue
		}
		for above := range ancestors(n.name) {
			a := byName[above]
			if a.childInfo {
				break // and so are those above it
			}
			a.childInfo = true
		}
	}
}
