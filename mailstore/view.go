package mailstore

import (
	"sort"
)

// View is the state of a mailbox as one session sees it: which UID stands at
// which message sequence number, with which flags. It is immutable and shared
// between sessions. Its messages stand in chunks that successive views share,
// so that a change costs a copy of the chunks it touches and a list of pointers.
type View struct {
	account  AccountID
	mailbox  MailboxID
	validity uint32
	modseq   ModSeq
	uidnext  UID
	keywords []string
	gone     int // messages marked gone

	chunks []*chunk
	starts []int32 // messages before each chunk
	n      int
}

// index counts the chunks again.
func (v *View) index() {
	v.starts = make([]int32, len(v.chunks))
	v.n = 0
	for i, c := range v.chunks {
		v.starts[i] = int32(v.n)
		v.n += c.n
	}
}

// size is about what the view takes in memory, in bytes.
func (v *View) size() int64 {
	n := int64(200) + 12*int64(len(v.chunks))
	for _, c := range v.chunks {
		n += c.size()
	}
	return n
}

// at finds the chunk of a sequence number and the index within it.
func (v *View) at(seq int) (*chunk, int) {
	i := sort.Search(len(v.starts), func(i int) bool { return int(v.starts[i]) >= seq }) - 1
	return v.chunks[i], seq - 1 - int(v.starts[i])
}

// Len is the number of messages, those marked gone included.
func (v *View) Len() int { return v.n }

// UID gives the UID at a sequence number, 1 to Len.
func (v *View) UID(seq int) UID {
	c, i := v.at(seq)
	return c.uid(i)
}

// Seq gives the sequence number of a UID.
func (v *View) Seq(uid UID) (int, bool) {
	seq := v.SeqFrom(uid)
	return seq, seq <= v.n && v.UID(seq) == uid
}

// SeqFrom gives the first sequence number whose UID is uid or higher; Len+1 when there is none.
func (v *View) SeqFrom(uid UID) int {
	i := sort.Search(len(v.chunks), func(i int) bool { return v.chunks[i].last() >= uid })
	if i == len(v.chunks) {
		return v.n + 1
	}
	return int(v.starts[i]) + v.chunks[i].from(uid) + 1
}

// Flags gives the flags at a sequence number.
func (v *View) Flags(seq int) Flags {
	c, i := v.at(seq)
	return c.flag(i) &^ flagGone
}

// Gone reports whether the message at a sequence number is expunged, which the
// session was not told yet.
func (v *View) Gone(seq int) bool {
	if v.gone == 0 {
		return false
	}
	c, i := v.at(seq)
	return c.flag(i)&flagGone != 0
}

// AnyGone reports whether the view holds messages that are expunged.
func (v *View) AnyGone() bool { return v.gone > 0 }

// Each yields the messages from one sequence number to another, both included,
// those marked gone too; the bounds are cut to the view.
func (v *View) Each(lo, hi int, yield func(seq int, uid UID, flags Flags) bool) {
	lo, hi = max(lo, 1), min(hi, v.n)
	if lo > hi {
		return
	}
	for k := sort.Search(len(v.starts), func(i int) bool { return int(v.starts[i]) >= lo }) - 1; k < len(v.chunks); k++ {
		c, start := v.chunks[k], int(v.starts[k])
		for i := max(0, lo-1-start); i < c.n; i++ {
			if start+i+1 > hi || !yield(start+i+1, c.uid(i), c.flag(i)&^flagGone) {
				return
			}
		}
	}
}

// UIDs gives the UIDs from one sequence number to another, both included.
func (v *View) UIDs(lo, hi int) UIDSet {
	var set UIDSet
	v.Each(lo, hi, func(_ int, uid UID, _ Flags) bool {
		set.Add(uid)
		return true
	})
	return set
}

// ModSeq is the HIGHESTMODSEQ up to which the view is complete.
func (v *View) ModSeq() ModSeq { return v.modseq }

// UIDNext is above every UID in the view.
func (v *View) UIDNext() UID { return v.uidnext }

// UIDValidity is that of the mailbox when the view was made.
func (v *View) UIDValidity() uint32 { return v.validity }

// Keywords is the keyword table that Flags refer to. Not to be changed.
func (v *View) Keywords() []string { return v.keywords }

// Mailbox is the mailbox that this is a view of.
func (v *View) Mailbox() MailboxID { return v.mailbox }

// Account is the owner of the mailbox.
func (v *View) Account() AccountID { return v.account }

// edit makes a view of v with changes: remove are the UIDs that go (with keep:
// are marked gone instead), update are messages that are new or have new flags,
// by rising UID. It gives what was really removed, added and updated.
func (v *View) edit(remove UIDSet, keep bool, update []entry) (*View, Changes) {
	var ch Changes
	next := *v
	next.chunks = make([]*chunk, 0, len(v.chunks)+1)
	var tail []entry // messages beyond the last chunk, or in a chunk being changed
	for k, c := range v.chunks {
		last := k == len(v.chunks)-1
		hi := c.last()
		n := sort.Search(len(update), func(i int) bool { return update[i].uid > hi })
		if last {
			n = len(update)
		}
		mine := update[:n]
		update = update[n:]
		if len(mine) == 0 && !remove.overlaps(c.first, hi) {
			next.chunks = append(next.chunks, c)
			continue
		}
		tail = c.merge(tail[:0], remove, keep, mine, &ch, &next.gone)
		next.chunks = appendChunks(next.chunks, tail)
	}
	if len(v.chunks) == 0 {
		for _, e := range update {
			ch.Added.Add(e.uid)
		}
		next.chunks = appendChunks(next.chunks, update)
	}
	next.index()
	return &next, ch
}

// overlaps reports whether the set holds any UID from lo to hi.
func (s UIDSet) overlaps(lo, hi UID) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Hi >= lo })
	return i < len(s) && s[i].Lo <= hi
}

// goneUIDs gives the UIDs marked gone.
func (v *View) goneUIDs() UIDSet {
	var set UIDSet
	if v.gone == 0 {
		return set
	}
	for _, c := range v.chunks {
		for i := range c.n {
			if c.flag(i)&flagGone != 0 {
				set.Add(c.uid(i))
			}
		}
	}
	return set
}
