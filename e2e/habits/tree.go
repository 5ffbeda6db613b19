package habits

import (
	"fmt"
	"strings"
)

// words are parts of folders' names, with their modified UTF-7.
var words = [][2]string{{"Projekt", "Projekt"}, {"Entwürfe", "Entw&APw-rfe"}, {"R&D", "R&-D"}, {"日本語", "&ZeVnLIqe-"}, {"Ящик", "&BC8ESQQ4BDo-"}}

// maxFolders bounds those that we make.
const maxFolders = 15

// grow makes, renames or drops a folder. Nobody uses a name meanwhile; who has
// the folder open goes on.
func (b *bird) grow() error {
	if err := b.wake(); err != nil {
		return err
	}
	b.l.tree.Lock()
	defer b.l.tree.Unlock()
	if b.folderGone() {
		return nil // a farewell is due: not between two commands
	}
	own := b.own()
	switch k := b.r.IntN(5); {
	case len(own) < 3 || len(own) < maxFolders && k < 2:
		return b.create(own)
	case k < 4:
		return b.rename(own[b.r.IntN(len(own))])
	}
	return b.remove(own[b.r.IntN(len(own))])
}

// own are the folders that may be renamed and dropped.
func (b *bird) own() (out []*folder) {
	for _, f := range b.l.list() {
		switch f.name {
		case "INBOX", "Sent", "Drafts", "Trash", "Junk", "Archive":
		default:
			out = append(out, f)
		}
	}
	return out
}

// fresh is a name that was never used: half of them are below another folder.
func (b *bird) fresh(own []*folder) (name, encoded string) {
	w := words[b.r.IntN(len(words))]
	n := b.l.number()
	name, encoded = fmt.Sprint(w[0], " ", n), fmt.Sprint(w[1], " ", n)
	if len(own) > 0 && b.r.IntN(2) == 0 {
		if above := own[b.r.IntN(len(own))]; strings.Count(above.name, "/") < 3 {
			name, encoded = above.name+"/"+name, above.encoded+"/"+encoded
		}
	}
	return name, encoded
}

func (b *bird) create(own []*folder) error {
	name, encoded := b.fresh(own)
	f := &folder{name: name, encoded: encoded}
	for _, verb := range []string{"CREATE ", "SUBSCRIBE "} {
		if _, err := b.do(verb + b.name(f)); err != nil {
			return err
		}
	}
	b.l.add(name, encoded)
	b.l.did("create")
	return nil
}

func (b *bird) rename(f *folder) error {
	name, encoded := b.fresh(nil)
	if _, err := b.do("RENAME " + b.name(f) + " " + b.name(&folder{name: name, encoded: encoded})); err != nil {
		return err
	}
	b.l.moveTree(f, name, encoded)
	b.l.did("rename")
	return nil
}

// moveTree gives a folder, and with it what is below, another name.
func (l *Ledger) moveTree(f *folder, name, encoded string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	above, aboveEncoded := f.name, f.encoded
	var moved []*folder
	for old, g := range l.folders {
		if rest, below := strings.CutPrefix(old, above+"/"); g == f || below {
			delete(l.folders, old)
			moved = append(moved, g)
			if g.name, g.encoded = name, encoded+strings.TrimPrefix(g.encoded, aboveEncoded); below {
				g.name = name + "/" + rest
			}
		}
	}
	for _, g := range moved {
		l.folders[g.name] = g
	}
}

// remove deletes a folder that has none below it, with all that is in it. Others
// who have it open are told by a farewell.
func (b *bird) remove(f *folder) error {
	for _, g := range b.l.list() {
		if strings.HasPrefix(g.name, f.name+"/") {
			return nil
		}
	}
	if b.v != nil && b.v.folder == f {
		if _, err := b.do("CLOSE"); err != nil {
			return err
		}
		b.v = nil
	}
	b.l.forget(f)
	for _, verb := range []string{"DELETE ", "UNSUBSCRIBE "} {
		if _, err := b.do(verb + b.name(f)); err != nil {
			return err
		}
	}
	b.l.did("delete")
	if b.v == nil {
		return b.open(b.l.folder("INBOX"))
	}
	return nil
}

// forget takes a folder out. It is called before it goes: the farewells come at once.
func (l *Ledger) forget(f *folder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.gone = true
	delete(l.folders, f.name)
}
