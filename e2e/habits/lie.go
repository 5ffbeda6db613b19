package habits

import (
	"fmt"
	"maps"
	"slices"
)

// lie is the control of the harness: each lie that is put into the ledger must be
// noticed by the checking connection, and by one that has the folder open where it
// can see it.
func (h *harness) lie() error {
	b := h.birds[0]
	if err := b.wake(); err != nil {
		return b.blame(err)
	}
	f, m := h.victim()
	if f == nil {
		return fmt.Errorf("no letter to lie about")
	}
	if err := b.open(f); err != nil {
		return b.blame(err)
	}
	uid, hash := m.uid, m.sum
	for _, lie := range []struct {
		about      string
		seen       bool // by a connection that has the folder open
		tell, undo func()
	}{
		{"a letter that is not there", true, func() { f.letters["lie"] = &letter{mark: "lie", uid: 4_000_000_000} }, func() { delete(f.letters, "lie") }},
		{"one that is", true, func() { delete(f.letters, m.mark) }, func() { f.letters[m.mark] = m }},
		{"a flag", true, func() { m.flags[`\Draft`] = true }, func() { delete(m.flags, `\Draft`) }},
		{"a UID", true, func() { m.uid++ }, func() { m.uid = uid }},
		{"octets", false, func() { m.sum[0]++ }, func() { m.sum = hash }},
		{"a folder", false, func() { h.l.folders["lie"] = &folder{name: "lie"} }, func() { delete(h.l.folders, "lie") }},
		{"UIDVALIDITY", false, func() { f.validity++ }, func() { f.validity-- }},
	} {
		lie.tell()
		_, err := check(h.n, h.account, h.l, true)
		by := b.v.compare(h.l)
		lie.undo()
		if err == nil || lie.seen != (by != nil) {
			return fmt.Errorf("the control failed: a lie about %s was noticed neither by the one nor the other: %v, %v", lie.about, err, by)
		}
		h.result.Lies++
	}
	// And the truth again is no lie.
	if _, err := check(h.n, h.account, h.l, true); err != nil {
		return err
	}
	return b.v.compare(h.l)
}

// victim is the letter that lies are about.
func (h *harness) victim() (*folder, *letter) {
	for _, f := range h.l.list() {
		for _, mark := range slices.Sorted(maps.Keys(f.letters)) {
			return f, f.letters[mark]
		}
	}
	return nil, nil
}
