package transfer

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthouse/imap/wire"
	"posthouse/mailstore"
)

// Maildir reads a Maildir: sub-folders as Maildir++ has them (.A.B), or as
// folders in folders (Dovecot's LAYOUT=fs, mbsync's Verbatim and Legacy). Of
// Dovecot it knows dovecot-keywords, dovecot-uidlist and subscriptions, and
// compressed messages. It changes nothing.
type Maildir struct{ root string }

// OpenMaildir opens the Maildir at a path.
func OpenMaildir(root string) (*Maildir, error) {
	m := &Maildir{root}
	folders, err := m.Folders(context.Background())
	if err == nil && len(folders) == 0 {
		err = fmt.Errorf("%s is no Maildir: neither it nor a folder in it holds cur and new", root)
	}
	return m, err
}

// Close does nothing: no file stays open.
func (m *Maildir) Close() error { return nil }

// maxDepth bounds how deep folders in folders are looked for.
const maxDepth = 20

// Folders lists the Maildir itself as INBOX and its sub-folders.
func (m *Maildir) Folders(context.Context) ([]Folder, error) {
	subscribed, err := m.subscriptions()
	if err != nil {
		return nil, err
	}
	var list []Folder
	add := func(id string, path []string) {
		f := Folder{ID: id, Path: path, Subscribed: true}
		if subscribed != nil {
			f.Subscribed = len(path) == 1 && strings.EqualFold(path[0], "INBOX") || subscribed[strings.Join(path, "\x00")]
		}
		list = append(list, f)
	}
	if isMaildir(m.root) {
		add(".", []string{"INBOX"})
	}
	err = m.below(".", nil, add)
	return list, err
}

// below looks for Maildirs in a folder.
func (m *Maildir) below(id string, path []string, add func(string, []string)) error {
	entries, err := os.ReadDir(filepath.Join(m.root, id))
	if err != nil {
		return fmt.Errorf("read the Maildir: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		here := filepath.Join(m.root, id, name)
		if info, err := os.Stat(here); err != nil || !info.IsDir() { // links are followed
			continue
		}
		if (name == "cur" || name == "new" || name == "tmp") && isMaildir(filepath.Join(m.root, id)) {
			continue
		}
		inner, dotted := strings.CutPrefix(name, ".")
		levels := append(slices.Clone(path), decodeLevel(inner))
		if dotted && len(path) == 0 { // Maildir++
			levels = nil
			for _, level := range strings.Split(inner, ".") {
				levels = append(levels, decodeLevel(level))
			}
		}
		sub := filepath.Join(id, name)
		if isMaildir(here) {
			add(sub, levels)
		} else if dotted {
			continue
		}
		if len(levels) < maxDepth {
			if err := m.below(sub, levels, add); err != nil {
				return err
			}
		}
	}
	return nil
}

func isMaildir(dir string) bool {
	for _, sub := range []string{"cur", "new"} {
		if info, err := os.Stat(filepath.Join(dir, sub)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// dot is how a dot stands within a level, where it would end it.
const dot = "&AC4-"

// decodeLevel decodes modified UTF-7, in which Dovecot and Courier name their
// folders; what is none is UTF-8.
func decodeLevel(s string) string {
	s = strings.ReplaceAll(s, dot, ".")
	if name, err := wire.DecodeUTF7(s); err == nil {
		return name
	}
	return s
}

// maildirFile is a message of a Maildir.
type maildirFile struct {
	path string // below the folder
	base string // the name without flags
	info string // the flags
	uid  uint32 // as Dovecot numbers it; 0: not known
	pop3 string
}

// unique is the part of the name that stays when programs add fields to it
// (",S=size" by Dovecot, ",U=uid" by mbsync).
func (f *maildirFile) unique() string {
	name, _, _ := strings.Cut(f.base, ",")
	return name
}

// Read gives the messages in the order of Dovecot's UIDs, else of their names,
// which begin with the time of delivery.
func (m *Maildir) Read(ctx context.Context, f Folder, sink *Sink) error {
	dir := filepath.Join(m.root, f.ID)
	files, err := listMaildir(dir)
	if err != nil {
		return err
	}
	keywords, err := dovecotKeywords(dir)
	if err != nil {
		return err
	}
	for page := range slices.Chunk(files, pageMessages) {
		keys := make([]mailstore.ImportKey, len(page))
		for i := range page {
			keys[i] = key("maildir", strings.Join(f.Path, "\x00"), page[i].unique())
		}
		fresh, err := sink.Fresh(ctx, keys)
		if err != nil {
			return err
		}
		for _, i := range fresh {
			msg, err := readMaildirFile(dir, page[i], keywords, sink)
			if err != nil {
				sink.Bad(filepath.Join(dir, page[i].path), err)
				continue
			}
			msg.Key = keys[i]
			if err := sink.Put(ctx, msg); err != nil {
				return err
			}
		}
	}
	return nil
}

// listMaildir lists the messages of one folder.
func listMaildir(dir string) ([]maildirFile, error) {
	uids, err := dovecotUIDs(dir)
	if err != nil {
		return nil, err
	}
	var files []maildirFile
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return nil, fmt.Errorf("read the Maildir: %w", err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
				continue
			}
			f := maildirFile{path: filepath.Join(sub, e.Name()), base: e.Name()}
			// ":2," and where a file system forbids colons ";2," or "!2,"
			if i := strings.LastIndexAny(f.base, ":;!"); i >= 0 {
				f.base, f.info = f.base[:i], strings.TrimPrefix(f.base[i+1:], "2,")
			}
			known := uids[f.base]
			f.uid, f.pop3 = known.uid, known.pop3
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b maildirFile) int {
		switch {
		case a.uid != b.uid && a.uid != 0 && b.uid != 0:
			if a.uid < b.uid {
				return -1
			}
			return 1
		case a.uid != b.uid && a.uid == 0: // not numbered yet: the newest
			return 1
		case a.uid != b.uid:
			return -1
		}
		return strings.Compare(a.base, b.base)
	})
	return files, nil
}

// readMaildirFile spools one message. A mail client may rename the file
// meanwhile: it is looked for under its other flags then.
func readMaildirFile(dir string, f maildirFile, keywords []string, sink *Sink) (Message, error) {
	file, err := os.Open(filepath.Join(dir, f.path))
	if errors.Is(err, fs.ErrNotExist) {
		again, listErr := listMaildir(dir)
		i := slices.IndexFunc(again, func(o maildirFile) bool { return o.unique() == f.unique() })
		if listErr != nil || i < 0 {
			return Message{}, err
		}
		f = again[i]
		file, err = os.Open(filepath.Join(dir, f.path))
	}
	if err != nil {
		return Message{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Message{}, err
	}
	if !info.Mode().IsRegular() {
		return Message{}, errors.New("not a file")
	}
	var r io.Reader = bufio.NewReaderSize(file, 32<<10)
	if magic, err := r.(*bufio.Reader).Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b { // Dovecot's zlib
		if r, err = gzip.NewReader(r); err != nil {
			return Message{}, err
		}
	}
	body := sink.Spool()
	if _, err := io.Copy(&toCRLF{w: body}, r); err != nil {
		body.Close()
		return Message{}, err
	}
	flags, words := maildirFlags(f.info, keywords)
	return Message{Flags: flags, Keywords: words, Date: info.ModTime(), UIDL: f.pop3, Body: body}, nil
}

// maildirFlags reads the flags of a file name: capitals are the system's and
// passed on ($Forwarded), small letters Dovecot's keywords.
func maildirFlags(info string, keywords []string) (flags mailstore.Flags, words []string) {
	info, _, _ = strings.Cut(info, ",") // others add fields behind
	for _, c := range info {
		switch {
		case c == 'S':
			flags |= mailstore.FlagSeen
		case c == 'R':
			flags |= mailstore.FlagAnswered
		case c == 'F':
			flags |= mailstore.FlagFlagged
		case c == 'T':
			flags |= mailstore.FlagDeleted
		case c == 'D':
			flags |= mailstore.FlagDraft
		case c == 'P':
			words = append(words, "$Forwarded")
		case c >= 'a' && c <= 'z' && int(c-'a') < len(keywords) && keywords[c-'a'] != "":
			words = append(words, keywords[c-'a'])
		}
	}
	return flags, words
}
