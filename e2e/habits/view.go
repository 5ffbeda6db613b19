package habits

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// view is a folder as one connection was told of it, and nothing else.
type view struct {
	folder   *folder
	validity uint32
	modSeq   uint64 // HIGHESTMODSEQ when it was opened
	uidNext  uint32
	msgs     []shown // by message sequence number

	// While a folder that is known is opened with QRESYNC:
	vanished bool
	told     int // EXISTS
	due      int // the first EXISTS: all of these must be told
}

// shown is a message; its UID is 0, or its flags "?", until they were told.
type shown struct {
	uid   uint32
	flags string
}

var (
	exists       = regexp.MustCompile(`^\* (\d+) EXISTS$`)
	expunge      = regexp.MustCompile(`^\* (\d+) EXPUNGE$`)
	vanish       = regexp.MustCompile(`^\* VANISHED (\(EARLIER\) )?([0-9:,]+)$`)
	fetchReply   = regexp.MustCompile(`^\* (\d+) FETCH \((.*)\)$`)
	uidItem      = regexp.MustCompile(`\bUID (\d+)`)
	flagsItem    = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	sizeItem     = regexp.MustCompile(`\bRFC822\.SIZE (\d+)`)
	validityCode = regexp.MustCompile(`\[UIDVALIDITY (\d+)\]`)
	uidNextCode  = regexp.MustCompile(`\[UIDNEXT (\d+)\]`)
	modSeqCode   = regexp.MustCompile(`\[HIGHESTMODSEQ (\d+)\]`)
)

// numeral reads digits that an expression let through.
func numeral(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// take applies an untagged response.
func (v *view) take(r reply) error {
	if m := exists.FindStringSubmatch(r.text); m != nil {
		return v.exist(int(numeral(m[1])))
	}
	if m := expunge.FindStringSubmatch(r.text); m != nil {
		n := int(numeral(m[1]))
		if n < 1 || n > len(v.msgs) {
			return fmt.Errorf("%s of %d messages", r.text, len(v.msgs))
		}
		v.msgs = slices.Delete(v.msgs, n-1, n)
		return nil
	}
	if m := vanish.FindStringSubmatch(r.text); m != nil {
		return v.vanish(m[1] != "", m[2])
	}
	if m := fetchReply.FindStringSubmatch(r.text); m != nil {
		return v.fetched(int(numeral(m[1])), m[2])
	}
	for code, into := range map[*regexp.Regexp]func(n uint64){
		validityCode: func(n uint64) { v.validity = uint32(n) },
		uidNextCode:  func(n uint64) { v.uidNext = uint32(n) },
		modSeqCode:   func(n uint64) { v.modSeq = n },
	} {
		if m := code.FindStringSubmatch(r.text); m != nil {
			into(numeral(m[1]))
		}
	}
	return nil
}

// exist takes EXISTS. While a known folder is opened, it may be less than what is
// known: what went is not told yet.
func (v *view) exist(n int) error {
	if v.vanished {
		if v.told = n; v.due < 0 {
			v.due = n
		}
		return nil
	}
	if n < len(v.msgs) {
		return fmt.Errorf("%d EXISTS, and there were %d", n, len(v.msgs))
	}
	for len(v.msgs) < n {
		v.msgs = append(v.msgs, shown{flags: "?"})
	}
	return nil
}

// vanish takes VANISHED: unknown UIDs are fine in an EARLIER one alone.
func (v *view) vanish(earlier bool, set string) error {
	for part := range strings.SplitSeq(set, ",") {
		lo, hi, span := strings.Cut(part, ":")
		if !span {
			hi = lo
		}
		first, last := uint32(numeral(lo)), uint32(numeral(hi))
		before := len(v.msgs)
		v.msgs = slices.DeleteFunc(v.msgs, func(m shown) bool { return m.uid >= first && m.uid <= last })
		if v.vanished && !earlier { // news already, of what SELECT counted
			v.told, v.due = v.told-int(last-first)-1, v.due-int(last-first)-1
			continue
		}
		if gone := before - len(v.msgs); !earlier && gone != int(last-first)+1 {
			if err := v.unknownVanished(set, int(last-first)+1-gone); err != nil {
				return err
			}
		}
	}
	return nil
}

// unknownVanished lets messages go whose UIDs were never asked for: they are at
// the end.
func (v *view) unknownVanished(set string, n int) error {
	for ; n > 0; n-- {
		i := slices.IndexFunc(v.msgs, func(m shown) bool { return m.uid == 0 })
		if i < 0 {
			return fmt.Errorf("VANISHED %s names messages that were not there", set)
		}
		v.msgs = slices.Delete(v.msgs, i, i+1)
	}
	return nil
}

func (v *view) fetched(seq int, items string) error {
	uid := uint32(0)
	if m := uidItem.FindStringSubmatch(items); m != nil {
		uid = uint32(numeral(m[1]))
	}
	if v.vanished { // QRESYNC speaks of what is known by UID, and of what is new
		v.resynced(uid, items)
		return nil
	}
	if seq < 1 || seq > len(v.msgs) {
		return fmt.Errorf("FETCH of number %d of %d", seq, len(v.msgs))
	}
	m := &v.msgs[seq-1]
	if uid != 0 && m.uid != 0 && m.uid != uid {
		return fmt.Errorf("number %d is UID %d, and was %d", seq, uid, m.uid)
	}
	if uid != 0 {
		m.uid = uid
	}
	if f := flagsItem.FindStringSubmatch(items); f != nil {
		m.flags = tidy(f[1])
	}
	return nil
}

// resync ends a SELECT with QRESYNC: all that it counted was told. What came
// since is to be asked for.
func (v *view) resync() error {
	v.vanished = false
	if len(v.msgs) < v.due || len(v.msgs) > v.told {
		return fmt.Errorf("%s: after QRESYNC %d messages, and EXISTS said %d, then %d", v.folder.name, len(v.msgs), v.due, v.told)
	}
	return v.exist(v.told)
}

// resynced takes a FETCH of a SELECT with QRESYNC.
func (v *view) resynced(uid uint32, items string) {
	f := flagsItem.FindStringSubmatch(items)
	if uid == 0 || f == nil {
		return
	}
	i, known := slices.BinarySearchFunc(v.msgs, uid, func(m shown, uid uint32) int { return int(m.uid) - int(uid) })
	if !known {
		v.msgs = slices.Insert(v.msgs, i, shown{uid: uid})
	}
	v.msgs[i].flags = tidy(f[1])
}

// tidy puts flags in order, without \Recent.
func tidy(list string) string {
	words := slices.DeleteFunc(strings.Fields(list), func(w string) bool { return strings.EqualFold(w, `\Recent`) })
	slices.Sort(words)
	return strings.Join(words, " ")
}

// compare holds the view against the ledger; nobody works meanwhile.
func (v *view) compare(l *Ledger) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := v.folder
	if len(v.msgs) != len(f.letters) {
		return fmt.Errorf("%s: the connection was told of %d messages, the ledger has %d", f.name, len(v.msgs), len(f.letters))
	}
	byUID := make(map[uint32]*letter, len(f.letters))
	for _, m := range f.letters {
		byUID[m.uid] = m
	}
	for i, m := range v.msgs {
		want := byUID[m.uid]
		if want == nil {
			return fmt.Errorf("%s: the connection was told that number %d is UID %d, which the ledger has not", f.name, i+1, m.uid)
		}
		if text := flagText(want.flags); m.flags != text {
			return fmt.Errorf("%s: the connection was told that UID %d has (%s), the ledger says (%s)", f.name, m.uid, m.flags, text)
		}
	}
	return nil
}

// counts is compare of what IDLE tells: how many there are, and what has changed
// of those that are known.
func (v *view) counts(l *Ledger) error {
	whole := &view{folder: v.folder}
	for _, m := range v.msgs {
		if !unknown(m) {
			whole.msgs = append(whole.msgs, m)
		}
	}
	l.mu.Lock()
	n := len(v.folder.letters)
	var missing []*letter
	for _, m := range v.folder.letters {
		if !slices.ContainsFunc(whole.msgs, func(s shown) bool { return s.uid == m.uid }) {
			missing = append(missing, m)
		}
	}
	l.mu.Unlock()
	if len(v.msgs) != n {
		return fmt.Errorf("%s: %d messages, the ledger has %d", v.folder.name, len(v.msgs), n)
	}
	for _, m := range missing {
		whole.msgs = append(whole.msgs, shown{m.uid, flagText(m.flags)})
	}
	return whole.compare(l)
}
