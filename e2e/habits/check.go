package habits

import (
	"fmt"
	"maps"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// checker is the independent connection: go-imap's client, a new one each time,
// without extensions.
type checker struct {
	c *imapclient.Client
	l *Ledger
	// proven is how many letters were compared octet by octet.
	proven int
}

// check compares the account with the ledger; nobody works meanwhile. With all,
// the octets of every letter are compared, otherwise of those that stand under a
// UID that was not compared yet.
func check(n *node.Node, account node.Login, l *Ledger, all bool) (proven int, err error) {
	config, err := n.TLS()
	if err != nil {
		return 0, err
	}
	c, err := imapclient.DialTLS(n.Listen["imaps"], &imapclient.Options{TLSConfig: config})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Login(account.Address, account.Password).Wait(); err != nil {
		return 0, err
	}
	k := &checker{c: c, l: l}
	if err := k.names(); err != nil {
		return 0, err
	}
	for _, f := range l.list() {
		if err := k.folder(f, all); err != nil {
			return 0, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return k.proven, c.Logout().Wait()
}

// names compares the tree and the subscriptions.
func (k *checker) names() error {
	var want []string
	for _, f := range k.l.list() {
		want = append(want, f.name)
	}
	for _, options := range []*imap.ListOptions{nil, {SelectSubscribed: true}} {
		list, err := k.c.List("", "*", options).Collect()
		if err != nil {
			return err
		}
		var got []string
		for _, m := range list {
			got = append(got, m.Mailbox)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("the folders (subscribed: %t) are %q, the ledger says %q", options != nil, got, want)
		}
	}
	return nil
}

// folder compares one folder: counts first, then each message.
func (k *checker) folder(f *folder, all bool) error {
	box, err := k.c.Select(f.name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return err
	}
	status, err := k.c.Status(f.name, &imap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true, UIDValidity: true}).Wait()
	if err != nil {
		return err
	}
	unseen := 0
	for _, m := range f.letters {
		if !m.flags[`\Seen`] {
			unseen++
		}
	}
	if int(box.NumMessages) != len(f.letters) || int(*status.NumMessages) != len(f.letters) || int(*status.NumUnseen) != unseen {
		return fmt.Errorf("SELECT says %d messages, STATUS %d and %d unseen; the ledger %d and %d",
			box.NumMessages, *status.NumMessages, *status.NumUnseen, len(f.letters), unseen)
	}
	if f.validity == 0 {
		f.validity = box.UIDValidity
	}
	if box.UIDValidity != f.validity || status.UIDValidity != f.validity || uint32(box.UIDNext) < f.uidNext || box.UIDNext != status.UIDNext {
		return fmt.Errorf("UIDVALIDITY %d and %d (was %d), UIDNEXT %d and %d (was %d)",
			box.UIDValidity, status.UIDValidity, f.validity, box.UIDNext, status.UIDNext, f.uidNext)
	}
	if err := k.messages(f, uint32(box.UIDNext)); err != nil {
		return err
	}
	f.uidNext = uint32(box.UIDNext)
	return k.octets(f, all)
}

// messages compares UIDs and flags.
func (k *checker) messages(f *folder, uidNext uint32) error {
	if len(f.letters) == 0 {
		return nil
	}
	header := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Message-ID"}, Peek: true}
	list, err := k.c.Fetch(everything(), &imap.FetchOptions{UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{header}}).Collect()
	if err != nil {
		return err
	}
	last := uint32(0)
	seen := make(map[string]bool, len(list))
	for _, got := range list {
		uid := uint32(got.UID)
		match := marked.FindSubmatch(got.FindBodySection(header))
		if match == nil {
			return fmt.Errorf("UID %d is none of ours", uid)
		}
		mark := string(match[1])
		m := f.letters[mark]
		switch {
		case m == nil:
			return fmt.Errorf("UID %d is %s, which the ledger has not here", uid, mark)
		case seen[mark]:
			return fmt.Errorf("%s is there twice", mark)
		case m.claimed:
			return fmt.Errorf("%s is still claimed: the harness is wrong", mark)
		case uid <= last || uid >= uidNext:
			return fmt.Errorf("UID %d after %d, below UIDNEXT %d", uid, last, uidNext)
		case m.uid == 0 && uid < f.uidNext:
			return fmt.Errorf("%s came after UIDNEXT was %d, and is UID %d", mark, f.uidNext, uid)
		case m.uid != 0 && m.uid != uid:
			return fmt.Errorf("%s is UID %d, the ledger says %d", mark, uid, m.uid)
		}
		m.uid, last, seen[mark] = uid, uid, true
		flags := map[string]bool{}
		for _, flag := range got.Flags {
			flags[string(flag)] = flag != `\Recent`
		}
		if is, want := flagText(flags), flagText(m.flags); is != want {
			return fmt.Errorf("UID %d (%s) has (%s), the ledger says (%s)", uid, mark, is, want)
		}
	}
	return nil
}

func everything() imap.SeqSet {
	var set imap.SeqSet
	set.AddRange(1, 0)
	return set
}

// octets compares what letters hold.
func (k *checker) octets(f *folder, all bool) error {
	byUID := map[imap.UID]*letter{}
	var set imap.UIDSet
	for _, m := range f.letters {
		if all || !m.proven {
			set.AddNum(imap.UID(m.uid))
			byUID[imap.UID(m.uid)] = m
		}
	}
	if len(byUID) == 0 {
		return nil
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	fetch := k.c.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{whole}})
	defer fetch.Close()
	for msg := fetch.Next(); msg != nil; msg = fetch.Next() {
		got, err := msg.Collect()
		if err != nil {
			return err
		}
		m := byUID[got.UID]
		if m == nil {
			return fmt.Errorf("UID %d was not asked for", got.UID)
		}
		if hash, ok := sum(got.FindBodySection(whole)); !ok || hash != m.sum {
			return fmt.Errorf("UID %d is not %s as it was sent", got.UID, m.mark)
		}
		m.proven = true
		k.proven++
		delete(byUID, got.UID)
	}
	if len(byUID) > 0 {
		return fmt.Errorf("no octets of UIDs %v", slices.Sorted(maps.Keys(byUID)))
	}
	return fetch.Close()
}
