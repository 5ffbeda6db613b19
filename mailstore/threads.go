package mailstore

import (
	"context"
	"strconv"
)

// ThreadAlgorithm is a way to find threads (RFC 5256 §3).
type ThreadAlgorithm uint8

// The algorithms of RFC 5256.
const (
	ThreadReferences ThreadAlgorithm = iota
	ThreadOrderedSubject
)

// Threads is a forest of messages.
type Threads struct {
	uids     []UID   // of the nodes below len(uids); nodes above stand for messages that are missing
	children []int32 // the first child of each node, -1: none
	next     []int32 // the next sibling, -1: none
	roots    int32   // the first of the threads, -1: none
}

// Thread gives messages of the view as threads, each set of siblings by sent date.
// Time is that of sorting them; memory is 100 octets for each message and reference.
func (s *Store) Thread(ctx context.Context, acct AccountID, mbox MailboxID, v *View, found UIDSet, how ThreadAlgorithm) (*Threads, error) {
	if found.IsEmpty() {
		return &Threads{roots: -1}, ctx.Err()
	}
	keys := []SortKey{SortDate, SortSubject}
	if how == ThreadReferences {
		keys = append(keys, keyThreads)
	}
	cols, err := s.sortColumns(ctx, acct, mbox, v, found, keys...)
	if err != nil {
		return nil, err
	}
	t := newThreading(found.Slice(), cols)
	if how == ThreadReferences {
		return t.references(cols[2]), nil
	}
	return t.orderedSubject(), nil
}

// threading is one THREAD under way. Nodes are numbered: the messages in mailbox
// order, then dummies (§3).
type threading struct {
	uids    []UID
	byDate  []int32 // the messages by sent date
	subject []int32 // of each message: the rank of its base subject
	empty   int32   // the rank of the empty subject, or -1
	parent  []int32 // -1: none
}

func newThreading(uids []UID, cols []*sortColumn) *threading {
	n := len(uids)
	t := &threading{uids: uids, byDate: make([]int32, n), subject: make([]int32, n), empty: -1, parent: make([]int32, n)}
	for i := range n {
		t.byDate[i], t.parent[i] = int32(i), -1
	}
	values := make([]uint64, n)
	limit := cols[0].values(values, uids, false)
	sortBy(t.byDate, values, limit, make([]uint64, n))
	if cols[1].words.startsEmpty() {
		t.empty = 0
	}
	cols[1].places(uids, func(i, place int) {
		if t.subject[i] = t.empty; place >= 0 {
			t.subject[i] = cols[1].ranks[place]
		}
	})
	return t
}

// orderedSubject: the first message of each subject, the others below it, all in
// the order of their dates.
func (t *threading) orderedSubject() *Threads {
	first := map[int32]int32{}
	for _, i := range t.byDate {
		if head, ok := first[t.subject[i]]; ok {
			t.parent[i] = head
		} else {
			first[t.subject[i]] = i
		}
	}
	return t.forest()
}

// forest makes lists of the parents: siblings by sent date, a dummy, which is
// always at the top, by its first child (§3, steps 4 and 6).
func (t *threading) forest() *Threads {
	n := len(t.parent)
	f := &Threads{uids: t.uids, children: make([]int32, n), next: make([]int32, n), roots: -1}
	last := make([]int32, n) // child
	for i := range n {
		f.children[i], f.next[i], last[i] = -1, -1, -1
	}
	lastRoot := int32(-1)
	addRoot := func(node int32) {
		if lastRoot < 0 {
			f.roots = node
		} else {
			f.next[lastRoot] = node
		}
		lastRoot = node
	}
	for _, i := range t.byDate {
		p := t.parent[i]
		if p < 0 {
			addRoot(i)
			continue
		}
		if last[p] < 0 {
			f.children[p] = i
			if int(p) >= len(t.uids) {
				addRoot(p)
			}
		} else {
			f.next[last[p]] = i
		}
		last[p] = i
	}
	return f
}

// AppendTo appends the threads in IMAP's notation (RFC 5256 §5, thread-list), the
// messages as the numbers given for them. It needs no stack for a chain of
// replies, however long it is.
func (f *Threads) AppendTo(b []byte, number func(UID) uint32) []byte {
	var open []int32 // parentheses: the sibling that waits behind each, or -1
	for root := f.roots; root >= 0; root = f.next[root] {
		b = append(b, '(')
		node := root
		open = append(open[:0], -1)
		for len(open) > 0 {
			if int(node) < len(f.uids) {
				b = strconv.AppendUint(b, uint64(number(f.uids[node])), 10)
			}
			switch child := f.children[node]; {
			case child >= 0 && f.next[child] < 0: // the chain goes on
				b = append(b, ' ')
				node = child
				continue
			case child >= 0:
				if int(node) < len(f.uids) {
					b = append(b, ' ')
				}
				b = append(b, '(')
				open = append(open, f.next[child])
				node = child
				continue
			}
			for len(open) > 0 { // back to where a sibling waits
				top := &open[len(open)-1]
				b = append(b, ')')
				if *top >= 0 {
					b = append(b, '(')
					node, *top = *top, f.next[*top]
					break
				}
				open = open[:len(open)-1]
			}
		}
	}
	return b
}
