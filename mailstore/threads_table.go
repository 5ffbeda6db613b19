package mailstore

import (
	"posthouse/internal/message"
)

// threadTable is what THREAD=REFERENCES needs of the messages of a column, the
// ids of messages as small numbers. Who adds to it adds to a copy.
type threadTable struct {
	reply []bool
	own   []int32 // the message's id; -1: none
	from  []int32 // its references are refs[from:to]
	to    []int32
	refs  []int32

	known int                        // ids are below it
	ids   map[message.ThreadID]int32 // for whoever adds
}

func newThreadTable() *threadTable {
	return &threadTable{ids: map[message.ThreadID]int32{}}
}

// size is about what it takes in memory, in bytes.
func (t *threadTable) size() int64 {
	return int64(cap(t.reply)) + 4*int64(cap(t.own)+cap(t.from)+cap(t.to)+cap(t.refs)) + 40*int64(len(t.ids))
}

// add appends a message; keys may be nil, until set.
func (t *threadTable) add(keys []byte) {
	t.reply, t.own, t.from, t.to = append(t.reply, false), append(t.own, -1), append(t.from, 0), append(t.to, 0)
	if keys != nil {
		t.set(len(t.own)-1, keys)
	}
}

// set gives a message that was added just now its keys.
func (t *threadTable) set(i int, keys []byte) {
	reply, hasOwn, ids, ok := message.DecodeThreadKeys(keys)
	if !ok {
		return
	}
	t.reply[i] = reply
	if hasOwn {
		t.own[i], ids = t.number(ids[0]), ids[1:]
	}
	t.from[i] = int32(len(t.refs))
	for _, id := range ids {
		t.refs = append(t.refs, t.number(id))
	}
	t.to[i] = int32(len(t.refs))
}

func (t *threadTable) number(id message.ThreadID) int32 {
	n, ok := t.ids[id]
	if !ok {
		n = int32(len(t.ids))
		t.ids[id] = n
	}
	t.known = len(t.ids)
	return n
}
