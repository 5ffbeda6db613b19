package imapd

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"posthouse/mailstore"
)

// watcher is a session as its client sees it.
type watcher struct {
	nodes              []*site
	r                  *rand.Rand
	id                 int
	condstore, qresync bool
	visitor            bool   // another user than the mailboxes' owner
	notice             notice // what it asked NOTIFY for
	miss               string // a kind of response that it overlooks once

	p    *peer
	box  *folder
	held map[string]*folder // what a QRESYNC client remembers of folders, by name
	log  []string           // the last responses

	command string // that is being answered
	change  func(flags string) string
	fresh   []shown // FETCHs of a SELECT that brings held up to date
	opening bool
	whole   bool // the SELECT tells of every message that is new
	count   int  // EXISTS of the SELECT
	high    uint64

	counts map[string]map[string]uint64 // STATUS of mailboxes that are not selected
}

// folder is a mailbox as the client keeps it.
type folder struct {
	name     string
	validity string
	safe     uint64 // everything up to this mod-sequence is known
	msgs     []shown
	keywords map[string]bool
}

type shown struct {
	seq    int // of a FETCH while opening
	uid    uint32
	flags  string
	modseq uint64
}

var (
	exists     = regexp.MustCompile(`^\* (\d+) EXISTS$`)
	expunged   = regexp.MustCompile(`^\* (\d+) EXPUNGE$`)
	vanished   = regexp.MustCompile(`^\* VANISHED (\(EARLIER\) )?([0-9:,]+)$`)
	fetchedRow = regexp.MustCompile(`^\* (\d+) FETCH \((.*)\)$`)
	modSeqItem = regexp.MustCompile(`MODSEQ \((\d+)\)`)
	highest    = regexp.MustCompile(`\[HIGHESTMODSEQ (\d+)\]`)
	validity   = regexp.MustCompile(`\[UIDVALIDITY (\d+)\]`)
	flagsLine  = regexp.MustCompile(`^\* FLAGS \((.*)\)$`)
)

// byNumber reports whether EXPUNGE is forbidden while the command runs.
func byNumber(command string) bool {
	return strings.HasPrefix(command, "FETCH") || strings.HasPrefix(command, "STORE") || strings.HasPrefix(command, "SEARCH")
}

func sortedFlags(list string) string {
	words := slices.DeleteFunc(strings.Fields(strings.Trim(list, "()")), func(w string) bool { return w == `\Recent` })
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

// take applies an untagged response, and says which rule it breaks.
func (w *watcher) take(line string) error {
	if w.log = append(w.log, line); len(w.log) > 60 {
		w.log = w.log[1:]
	}
	kind := ""
	switch {
	case strings.Contains(line, "VANISHED (EARLIER)"):
		kind = "EARLIER"
	case vanished.MatchString(line):
		kind = "VANISHED"
	case expunged.MatchString(line):
		kind = "EXPUNGE"
	case statusLine.MatchString(line):
		kind = "STATUS"
	case fetchedRow.MatchString(line) && strings.Contains(line, "FLAGS") && !strings.Contains(w.command, "FETCH"):
		kind = "FETCH"
	}
	if kind != "" && kind == w.miss {
		if kind != "FETCH" && kind != "STATUS" { // flags may be told again: all are missed
			w.miss = ""
		}
		return nil
	}
	if m := highest.FindStringSubmatch(line); m != nil {
		w.high = max(w.high, atoi(m[1]))
	}
	if m := flagsLine.FindStringSubmatch(line); m != nil {
		w.box.keywords = map[string]bool{`\Recent`: true}
		for _, k := range strings.Fields(m[1]) {
			w.box.keywords[k] = true
		}
		return nil
	}
	if m := validity.FindStringSubmatch(line); m != nil {
		if w.box.validity != "" && w.box.validity != m[1] {
			return fmt.Errorf("%s, but it was %s", line, w.box.validity)
		}
		w.box.validity = m[1]
	}
	if m := statusLine.FindStringSubmatch(line); m != nil && w.notice != noNotice {
		return w.takeStatus(m[1], m[2])
	}
	if m := exists.FindStringSubmatch(line); m != nil {
		return w.takeExists(int(atoi(m[1])))
	}
	if m := expunged.FindStringSubmatch(line); m != nil {
		return w.takeExpunge(int(atoi(m[1])))
	}
	if m := vanished.FindStringSubmatch(line); m != nil {
		return w.takeVanished(m[1] != "", m[2])
	}
	if m := fetchedRow.FindStringSubmatch(line); m != nil {
		return w.takeFetch(int(atoi(m[1])), m[2])
	}
	return nil
}

func atoi(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err) // the expression let only digits through
	}
	return n
}

func (w *watcher) takeExists(n int) error {
	if w.opening && w.count < 0 {
		w.count = n
		return nil
	}
	if err := w.opened(); err != nil {
		return err
	}
	if n < len(w.box.msgs) {
		return fmt.Errorf("EXISTS %d, but there were %d", n, len(w.box.msgs))
	}
	w.box.msgs = append(w.box.msgs, make([]shown, n-len(w.box.msgs))...)
	return nil
}

func (w *watcher) takeExpunge(n int) error {
	if err := w.opened(); err != nil {
		return err
	}
	if w.qresync || byNumber(w.command) || n < 1 || n > len(w.box.msgs) {
		return fmt.Errorf("EXPUNGE %d of %d in %s", n, len(w.box.msgs), w.command)
	}
	w.box.msgs = slices.Delete(w.box.msgs, n-1, n)
	return nil
}

func (w *watcher) takeVanished(earlier bool, set string) error {
	if !earlier {
		if err := w.opened(); err != nil {
			return err
		}
	}
	if !w.qresync || byNumber(w.command) || earlier && !w.opening && !strings.Contains(w.command, "VANISHED") || earlier && len(w.fresh) > 0 {
		return fmt.Errorf("VANISHED in %s", w.command)
	}
	for part := range strings.SplitSeq(set, ",") {
		lo, hi, two := strings.Cut(part, ":")
		if !two {
			hi = lo
		}
		for uid := uint32(atoi(lo)); uid <= uint32(atoi(hi)); uid++ {
			// Some are not asked for yet: one of those that stand where this UID must.
			i := 0
			for k, m := range w.box.msgs {
				if m.uid != 0 && m.uid < uid {
					i = k + 1
				}
			}
			at := slices.IndexFunc(w.box.msgs[i:], func(m shown) bool { return m.uid == uid })
			known := at >= 0
			i += max(at, 0)
			if !known && (earlier || i == len(w.box.msgs) || w.box.msgs[i].uid != 0) {
				if earlier {
					continue // of what the client never knew
				}
				return fmt.Errorf("VANISHED %d, which was not there", uid)
			}
			w.box.msgs = slices.Delete(w.box.msgs, i, i+1)
		}
	}
	return nil
}

func (w *watcher) takeFetch(seq int, items string) error {
	var got shown
	got.seq = seq
	if m := uidItem.FindStringSubmatch(items); m != nil {
		got.uid = uint32(atoi(m[1]))
	}
	if m := modSeqItem.FindStringSubmatch(items); m != nil {
		got.modseq = atoi(m[1])
		w.high = max(w.high, got.modseq)
	}
	fl := flagsItem.FindStringSubmatch(items)
	if fl != nil {
		for _, k := range strings.Fields(fl[1]) {
			if !w.box.keywords[k] {
				return fmt.Errorf("FETCH with %s, which FLAGS did not name", k)
			}
		}
		got.flags = sortedFlags(fl[1])
	}
	if w.condstore && got.modseq == 0 || w.qresync && got.uid == 0 {
		return fmt.Errorf("FETCH (%s) without MODSEQ or UID in %s", items, w.command)
	}
	if w.opening && w.count >= 0 {
		w.fresh = append(w.fresh, got)
		return nil
	}
	if seq < 1 || seq > len(w.box.msgs) {
		return fmt.Errorf("FETCH %d of %d", seq, len(w.box.msgs))
	}
	m := &w.box.msgs[seq-1]
	if got.uid != 0 && m.uid != 0 && got.uid != m.uid {
		return fmt.Errorf("FETCH %d is UID %d, but was UID %d", seq, got.uid, m.uid)
	}
	// One that is expunged, which was not told yet, may have a lower MODSEQ than
	// before: that of what was told.
	if got.uid != 0 {
		m.uid = got.uid
	}
	m.modseq = max(m.modseq, got.modseq)
	switch {
	case fl != nil:
		m.flags = got.flags
	case w.change != nil && got.modseq != 0: // a STORE that was done in silence
		m.flags = w.change(m.flags)
	}
	return nil
}

// opened ends the part of a SELECT that brings up to date what the client held.
func (w *watcher) opened() error {
	if !w.opening {
		return nil
	}
	w.opening = false
	fresh := w.fresh
	if !w.whole { // of what is new the client was told nothing, but what changed just now
		top := uint32(0)
		for _, m := range w.box.msgs {
			top = max(top, m.uid)
		}
		fresh = slices.DeleteFunc(slices.Clone(fresh), func(f shown) bool { return f.uid > top })
	}
	for _, f := range fresh {
		i, known := slices.BinarySearchFunc(w.box.msgs, f.uid, func(m shown, uid uint32) int { return cmp.Compare(m.uid, uid) })
		if !known {
			w.box.msgs = slices.Insert(w.box.msgs, i, f)
		}
		w.box.msgs[i] = f
	}
	for _, f := range fresh {
		if f.seq > len(w.box.msgs) || w.box.msgs[f.seq-1].uid != f.uid {
			return fmt.Errorf("SELECT: FETCH %d is UID %d, which the client counts otherwise", f.seq, f.uid)
		}
	}
	w.fresh = nil
	if n := len(w.box.msgs); n > w.count || w.whole && n != w.count {
		return fmt.Errorf("SELECT: EXISTS %d, but the client comes to %d", w.count, n)
	}
	w.box.msgs = append(w.box.msgs, make([]shown, w.count-len(w.box.msgs))...)
	return nil
}

// uidSetOf is a set of the UIDs that are known.
func (f *folder) uidSetOf() mailstore.UIDSet {
	var set mailstore.UIDSet
	for _, m := range f.msgs {
		if m.uid != 0 {
			set.Add(mailstore.UID(m.uid))
		}
	}
	return set
}
