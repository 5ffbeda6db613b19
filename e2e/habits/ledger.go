package habits

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// Ledger is what the account must look like. It is safe for concurrent use.
type Ledger struct {
	// tree is held for reading by who uses the name of a folder in a command, and
	// for writing by who changes the tree.
	tree sync.RWMutex

	mu      sync.Mutex
	folders map[string]*folder // by decoded name
	serial  int
	deeds   map[string]int // done, by kind
}

// folder is a mailbox.
type folder struct {
	name     string
	encoded  string // in modified UTF-7
	sub      bool   // subscribed
	gone     bool   // it was deleted
	validity uint32 // 0: not seen yet
	uidNext  uint32 // at the last checkpoint
	letters  map[string]*letter

	// deleting is held by who has messages marked \Deleted in it.
	deleting sync.Mutex
}

// letter is one message in one folder.
type letter struct {
	mark    string
	sum     [sha256.Size]byte
	uid     uint32 // 0: nobody has said
	flags   map[string]bool
	claimed bool // somebody changes it now
	proven  bool // its octets were compared under this UID
}

func newLedger() *Ledger {
	return &Ledger{folders: map[string]*folder{}, deeds: map[string]int{}}
}

// add puts a folder in.
func (l *Ledger) add(name, encoded string) *folder {
	f := &folder{name: name, encoded: encoded, sub: true, letters: map[string]*letter{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.folders[name] = f
	return f
}

// mark is a name for a new letter.
func (l *Ledger) mark(kind string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	return fmt.Sprintf("%s-%d", kind, l.serial)
}

// number is a number not given before.
func (l *Ledger) number() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	return l.serial
}

// put records a letter that the server took.
func (l *Ledger) put(f *folder, mark string, text []byte, uid uint32, flags ...string) {
	hash, _ := sum(text)
	m := &letter{mark: mark, sum: hash, uid: uid, flags: map[string]bool{}}
	for _, flag := range flags {
		m.flags[flag] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f.letters[mark] = m
}

// did counts a deed.
func (l *Ledger) did(kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deeds[kind]++
}

// list gives the folders by name.
func (l *Ledger) list() []*folder {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Values(l.folders), func(a, b *folder) int { return strings.Compare(a.name, b.name) })
}

// folder gives a folder by name; it is there.
func (l *Ledger) folder(name string) *folder {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.folders[name]
}

// any gives one of the folders.
func (l *Ledger) any(r *rand.Rand) *folder {
	all := l.list()
	return all[r.IntN(len(all))]
}

// claim takes some letters of a folder whose UIDs are known and that suit, at most n.
func (l *Ledger) claim(r *rand.Rand, f *folder, n int, suits func(m *letter) bool) []*letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*letter
	for _, mark := range slices.Sorted(maps.Keys(f.letters)) {
		m := f.letters[mark]
		if m.uid != 0 && !m.claimed && suits(m) {
			out = append(out, m)
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	out = out[:min(n, len(out))]
	for _, m := range out {
		m.claimed = true
	}
	slices.SortFunc(out, func(a, b *letter) int { return int(a.uid) - int(b.uid) })
	return out
}

// release lets go of letters.
func (l *Ledger) release(list []*letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range list {
		m.claimed = false
	}
}

// learnt takes the UID under which a connection saw a letter. What is on its way
// from one folder to another is judged at the checkpoint.
func (l *Ledger) learnt(f *folder, mark string, uid uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := f.letters[mark]
	if m == nil || m.claimed || f.gone {
		return nil
	}
	if m.uid > uid {
		return nil // it went, and came back: this answer is older
	}
	if m.uid != 0 && m.uid != uid {
		return fmt.Errorf("%s: %s is UID %d, and was told to be %d", f.name, mark, uid, m.uid)
	}
	m.uid = uid
	return nil
}

// lacks gives a folder that has none of the letters, or nil.
func (l *Ledger) lacks(r *rand.Rand, list []*letter, not *folder) *folder {
	all := l.list()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, f := range all {
		if f != not && !slices.ContainsFunc(list, func(m *letter) bool { return f.letters[m.mark] != nil }) {
			return f
		}
	}
	return nil
}

// flagText is a set of flags in order.
func flagText(flags map[string]bool) string {
	var list []string
	for f, on := range flags {
		if on {
			list = append(list, f)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// full says that there is enough to work with.
func (l *Ledger) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, f := range l.folders {
		n += len(f.letters)
	}
	return n >= maxLetters
}

// maxLetters is how many letters there are before no more are written.
const maxLetters = 1500
