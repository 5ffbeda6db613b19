package mailstore

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// plain is a view as a list: the model of View.edit.
type plain []entry

func (p plain) edit(remove UIDSet, keep bool, update []entry) plain {
	var out plain
	for _, e := range p {
		if i := slices.IndexFunc(update, func(u entry) bool { return u.uid == e.uid }); i >= 0 {
			e.flags = update[i].flags | e.flags&flagGone
		}
		if remove.Contains(e.uid) {
			if !keep {
				continue
			}
			e.flags |= flagGone
		}
		out = append(out, e)
	}
	for _, u := range update {
		if !slices.ContainsFunc(p, func(e entry) bool { return e.uid == u.uid }) {
			out = append(out, u)
		}
	}
	return out
}

func TestViewEditAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	v, p, next := &View{}, plain{}, UID(1)
	for step := range 400 {
		var remove UIDSet
		var update []entry
		for range rng.IntN(40) {
			if len(p) > 0 {
				remove.Add(p[rng.IntN(len(p))].uid)
			}
		}
		seen := UIDSet{}
		for range rng.IntN(60) {
			if len(p) > 0 {
				seen.Add(p[rng.IntN(len(p))].uid)
			}
		}
		for u := range seen.Each {
			update = append(update, entry{u, Flags(rng.Uint64() & 0xff1f)})
		}
		for range rng.IntN(120) {
			next += UID(1 + rng.IntN(3)*rng.IntN(2))
			if rng.IntN(300) == 0 {
				next += 100_000
			}
			update = append(update, entry{next, Flags(rng.IntN(1 + step))}) // at times more than 256 different ones
			next++
		}
		if step%3 == 0 { // what is new is not removed at once
			remove = remove.Subtract(UIDsBetween(1, 1))
		}
		keep := rng.IntN(2) == 0
		old, before := v, v.list()
		var ch Changes
		v, ch = v.edit(remove, keep, update)
		p = p.edit(remove, keep, update)
		if !slices.Equal(v.list(), p) {
			t.Fatalf("step %d: %d messages, want %d", step, v.Len(), len(p))
		}
		if !slices.Equal(old.list(), before) {
			t.Fatalf("step %d: the old view changed", step)
		}
		if v.Len() != old.Len()+ch.Added.Len()-ch.Expunged.Len() {
			t.Fatalf("step %d: %d after %d: %v", step, v.Len(), old.Len(), ch)
		}
		gone := v.goneUIDs()
		if v.gone != gone.Len() {
			t.Fatalf("step %d: %d gone, %d marked", step, v.gone, gone.Len())
		}
		for range 20 {
			if v.n == 0 {
				break
			}
			seq := 1 + rng.IntN(v.n)
			uid := v.UID(seq)
			if got, ok := v.Seq(uid); !ok || got != seq || uid != p[seq-1].uid || v.Gone(seq) != gone.Contains(uid) {
				t.Fatalf("step %d: seq %d is uid %d is seq %d", step, seq, uid, got)
			}
			probe := UID(rng.IntN(int(next) + 2))
			want := 1 + len(p)
			for i, e := range p {
				if e.uid >= probe {
					want = i + 1
					break
				}
			}
			if got := v.SeqFrom(probe); got != want {
				t.Fatalf("step %d: SeqFrom(%d) = %d, want %d", step, probe, got, want)
			}
		}
	}
}

// list is a view with its marks.
func (v *View) list() plain {
	var out plain
	for _, c := range v.chunks {
		for i := range c.n {
			out = append(out, entry{c.uid(i), c.flag(i)})
		}
	}
	return out
}

// A view of 100,000 messages stays below 1 MB, whatever they look like.
func TestViewSize(t *testing.T) {
	for name, make := range map[string]func(i int) entry{
		"dense":  func(i int) entry { return entry{UID(i + 1), FlagSeen} },
		"mixed":  func(i int) entry { return entry{UID(i + 1), Flags(i*7919%64) & SystemFlags} },
		"sparse": func(i int) entry { return entry{UID(3*i + 1), Flags(i * 7919 % 20)} },
	} {
		list := []entry{}
		for i := range 100_000 {
			list = append(list, make(i))
		}
		v := &View{chunks: appendChunks(nil, list)}
		v.index()
		if size := v.size(); size > 1<<20 || v.Len() != 100_000 {
			t.Errorf("%s: %d bytes for %d messages", name, size, v.Len())
		} else {
			t.Logf("%s: %d bytes", name, size)
		}
	}
}

func TestViewCacheBudget(t *testing.T) {
	one := func(box MailboxID, m ModSeq) *View {
		v := &View{mailbox: box, modseq: m, chunks: appendChunks(nil, []entry{{1, 0}})}
		v.index()
		return v
	}
	size := one(1, 1).size()
	c := newViewCache(3 * size)
	for box := range MailboxID(5) {
		c.put(one(box, 1))
		c.get(0)
	}
	for box, want := range []bool{true, false, false, true, true} {
		if got := c.get(MailboxID(box)) != nil; got != want {
			t.Errorf("mailbox %d cached: %v", box, got)
		}
	}
	if c.used != 3*size {
		t.Errorf("%d bytes used", c.used)
	}
	c.put(one(4, 7))
	c.put(one(4, 5)) // older: not taken
	if v := c.get(4); v.modseq != 7 || c.used != 3*size {
		t.Errorf("modseq %d, %d bytes", v.modseq, c.used)
	}
	c.drop(4, 99)
	if c.get(4) != nil || c.used != 2*size {
		t.Error("not dropped")
	}
}
