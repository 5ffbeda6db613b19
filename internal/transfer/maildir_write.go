package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// MaildirTarget writes a Maildir++ as Dovecot has it: flags in the file names,
// keywords in dovecot-keywords, internal dates as times of the files, and in
// folders that it makes the UIDs in dovecot-uidlist. A second export adds what
// came since and brings flags up to date; it removes nothing.
type MaildirTarget struct {
	root string
	note func(string)

	dir      string                 // of the mailbox under way
	box      mailstore.Mailbox      //
	files    map[string]maildirFile // by unique name
	keywords []string               // by letter
	uids     *strings.Builder       // the lines of dovecot-uidlist; nil: there is one
	left     map[string]bool        // keywords noted to be left out
	listed   *strings.Builder       // the lines of subscriptions; nil: there is one
}

// NewMaildir makes or goes on with the Maildir at a path. note takes lines for people.
func NewMaildir(root string, note func(string)) (*MaildirTarget, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	t := &MaildirTarget{root: root, note: note, left: map[string]bool{}}
	if _, err := os.Stat(filepath.Join(root, "subscriptions")); errors.Is(err, fs.ErrNotExist) {
		t.listed = &strings.Builder{}
	}
	return t, nil
}

// Begin makes the folder.
func (t *MaildirTarget) Begin(m mailstore.Mailbox, subscribed bool) error {
	t.box, t.dir = m, t.root
	if m.Name != "INBOX" {
		var levels []string
		for _, level := range strings.Split(m.Name, mailstore.Delimiter) {
			levels = append(levels, strings.ReplaceAll(wire.EncodeUTF7(level), ".", dot))
		}
		t.dir = filepath.Join(t.root, "."+strings.Join(levels, "."))
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(t.dir, sub), 0o700); err != nil {
			return err
		}
	}
	if subscribed && t.listed != nil && m.Name != "INBOX" {
		t.listed.WriteString(strings.ReplaceAll(wire.EncodeUTF7(m.Name), "/", "\t") + "\n")
	}
	if m.Name != "INBOX" { // what tells a Maildir++ folder from a Maildir
		if err := os.WriteFile(filepath.Join(t.dir, "maildirfolder"), nil, 0o600); err != nil {
			return err
		}
	}
	t.uids = nil
	if _, err := os.Stat(filepath.Join(t.dir, "dovecot-uidlist")); errors.Is(err, fs.ErrNotExist) {
		t.uids = &strings.Builder{}
	}
	var err error
	if t.keywords, err = dovecotKeywords(t.dir); err != nil {
		return err
	}
	if t.keywords == nil {
		t.keywords = make([]string, 26)
	}
	list, err := listMaildir(t.dir)
	t.files = make(map[string]maildirFile, len(list))
	for _, f := range list {
		t.files[f.unique()] = f
	}
	return err
}

// base is the part of a file's name that never changes.
func (t *MaildirTarget) base(o *Outgoing) string {
	return fmt.Sprintf("%d.V%dU%dE%d.posthouse", o.Date.Unix(), t.box.UIDValidity, o.UID, o.EmailID)
}

// flags are the letters of a file name, in their order (a reader may compare).
func (t *MaildirTarget) flags(o *Outgoing) string {
	var letters []byte
	for _, f := range []struct {
		flag   mailstore.Flags
		letter byte
	}{{mailstore.FlagDraft, 'D'}, {mailstore.FlagFlagged, 'F'}, {mailstore.FlagAnswered, 'R'}, {mailstore.FlagSeen, 'S'}, {mailstore.FlagDeleted, 'T'}} {
		if o.Flags&f.flag != 0 {
			letters = append(letters, f.letter)
		}
	}
	for _, k := range o.Keywords {
		if strings.EqualFold(k, "$Forwarded") {
			letters = append(letters, 'P')
		} else if n := t.keyword(k); n >= 0 {
			letters = append(letters, byte('a'+n))
		}
	}
	slices.Sort(letters)
	return string(letters)
}

// keyword gives the number of a keyword; -1 when 26 others have one.
func (t *MaildirTarget) keyword(name string) int {
	free := -1
	for i, k := range t.keywords {
		if strings.EqualFold(k, name) {
			return i
		}
		if k == "" && free < 0 {
			free = i
		}
	}
	if free >= 0 {
		t.keywords[free] = name
	} else if id := t.box.Name + "\x00" + name; !t.left[id] {
		t.left[id] = true
		if t.note != nil {
			t.note(fmt.Sprintf("%s: keyword %q is left out: a Maildir has 26", t.box.Name, name))
		}
	}
	return free
}

// Has looks for the message, and renames the file when its flags are others now.
func (t *MaildirTarget) Has(o *Outgoing) (bool, error) {
	base := t.base(o)
	t.number(o, base)
	f, ok := t.files[base]
	if !ok {
		return false, nil
	}
	want := filepath.Join("cur", f.base+":2,"+t.flags(o))
	if f.path == want {
		return true, nil
	}
	return true, os.Rename(filepath.Join(t.dir, f.path), filepath.Join(t.dir, want))
}

// number notes a message for dovecot-uidlist.
func (t *MaildirTarget) number(o *Outgoing, base string) {
	if t.uids == nil {
		return
	}
	pop3 := ""
	if o.UIDL != "" && !strings.ContainsAny(o.UIDL, " \t\r\n") {
		pop3 = " P" + o.UIDL
	}
	fmt.Fprintf(t.uids, "%d%s :%s\n", o.UID, pop3, base)
}

// Put writes one file, aside first.
func (t *MaildirTarget) Put(ctx context.Context, o *Outgoing) error {
	base := t.base(o)
	aside := filepath.Join(t.dir, "tmp", base)
	if err := writeMessage(ctx, aside, o); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	if err := os.Chtimes(aside, o.Date, o.Date); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(t.dir, "cur", base+":2,"+t.flags(o)))
}

func writeMessage(ctx context.Context, path string, o *Outgoing) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	lf := &toLF{w: w}
	_, err = o.Body.WriteRange(ctx, lf, 0, o.Body.Size())
	err = errors.Join(err, lf.Close(), w.Flush())
	return errors.Join(err, f.Close())
}

// End writes the lists that stand beside the messages.
func (t *MaildirTarget) End() error {
	var words strings.Builder
	for i, k := range t.keywords {
		if k != "" {
			fmt.Fprintf(&words, "%d %s\n", i, k)
		}
	}
	if words.Len() > 0 {
		if err := replaceFile(filepath.Join(t.dir, "dovecot-keywords"), words.String()); err != nil {
			return err
		}
	}
	if t.uids != nil {
		head := fmt.Sprintf("3 V%d N%d\n", t.box.UIDValidity, t.box.UIDNext)
		if err := replaceFile(filepath.Join(t.dir, "dovecot-uidlist"), head+t.uids.String()); err != nil {
			return err
		}
	}
	if t.listed != nil {
		return replaceFile(filepath.Join(t.root, "subscriptions"), "V\t2\n\n"+t.listed.String())
	}
	return nil
}

// Abort leaves what is there: the next export goes on with it.
func (t *MaildirTarget) Abort() {}

// replaceFile writes a file aside and renames it.
func replaceFile(path, content string) error {
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
