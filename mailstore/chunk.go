package mailstore

import "sort"

// chunkMessages is how many messages a chunk of a view holds at most.
const chunkMessages = 512

// chunk is up to chunkMessages messages with rising UIDs, packed: most mailboxes
// have runs of UIDs and few different flags, and a view of 100,000 messages
// takes from 20 to 400 KB.
type chunk struct {
	first UID
	n     int
	near  []uint16 // UID-first of each; nil with far nil: dense, first+i
	far   []uint32 // the same, where 16 bits don't hold it
	flags []Flags  // the different flags; one: all have it
	index []uint8  // into flags, of each; nil: flags is one for all or one for each
}

func (c *chunk) uid(i int) UID {
	switch {
	case c.near != nil:
		return c.first + UID(c.near[i])
	case c.far != nil:
		return c.first + UID(c.far[i])
	}
	return c.first + UID(i)
}

func (c *chunk) last() UID { return c.uid(c.n - 1) }

func (c *chunk) flag(i int) Flags {
	switch {
	case c.index != nil:
		return c.flags[c.index[i]]
	case len(c.flags) == 1:
		return c.flags[0]
	}
	return c.flags[i]
}

// from gives the index of the first message whose UID is uid or higher.
func (c *chunk) from(uid UID) int {
	if uid <= c.first {
		return 0
	}
	if c.near == nil && c.far == nil {
		return int(min(uint64(uid-c.first), uint64(c.n)))
	}
	return sort.Search(c.n, func(i int) bool { return c.uid(i) >= uid })
}

// size is about what the chunk takes in memory, in bytes.
func (c *chunk) size() int64 {
	return 128 + 2*int64(len(c.near)) + 4*int64(len(c.far)) + 8*int64(len(c.flags)) + int64(len(c.index))
}

// entry is one message on its way into a chunk.
type entry struct {
	uid   UID
	flags Flags
}

// makeChunk packs 1 to chunkMessages messages.
func makeChunk(list []entry) *chunk {
	c := &chunk{first: list[0].uid, n: len(list)}
	switch span := list[len(list)-1].uid - c.first; {
	case int(span) == len(list)-1: // dense
	case span < 1<<16:
		c.near = make([]uint16, len(list))
		for i, e := range list {
			c.near[i] = uint16(e.uid - c.first)
		}
	default:
		c.far = make([]uint32, len(list))
		for i, e := range list {
			c.far[i] = uint32(e.uid - c.first)
		}
	}
	c.packFlags(list)
	return c
}

func (c *chunk) packFlags(list []entry) {
	ordinal := make(map[Flags]uint8, 4)
	last := list[0].flags
	c.flags = []Flags{last}
	ordinal[last] = 0
	at := uint8(0)
	for i, e := range list {
		if e.flags != last {
			last = e.flags
			k, known := ordinal[last]
			if !known && len(c.flags) == 256 { // as many as messages, nearly
				c.flags, c.index = make([]Flags, len(list)), nil
				for i, e := range list {
					c.flags[i] = e.flags
				}
				return
			}
			if !known {
				k = uint8(len(c.flags))
				ordinal[last] = k
				c.flags = append(c.flags, last)
			}
			if at = k; c.index == nil {
				c.index = make([]uint8, len(list)) // what came before is 0
			}
		}
		if c.index != nil {
			c.index[i] = at
		}
	}
}

// appendChunks packs messages into chunks.
func appendChunks(chunks []*chunk, list []entry) []*chunk {
	for len(list) > 0 {
		n := min(len(list), chunkMessages)
		chunks = append(chunks, makeChunk(list[:n]))
		list = list[n:]
	}
	return chunks
}

// merge gives the messages of c after the changes, and notes them in ch.
func (c *chunk) merge(out []entry, remove UIDSet, keep bool, update []entry, ch *Changes, gone *int) []entry {
	for i := 0; i < c.n || len(update) > 0; {
		if i == c.n || len(update) > 0 && update[0].uid < c.uid(i) {
			ch.Added.Add(update[0].uid)
			out, update = append(out, update[0]), update[1:]
			continue
		}
		e := entry{c.uid(i), c.flag(i)}
		i++
		if len(update) > 0 && update[0].uid == e.uid {
			e.flags = update[0].flags | e.flags&flagGone
			ch.Flagged.Add(e.uid)
			update = update[1:]
		}
		if remove.Contains(e.uid) {
			switch {
			case !keep:
				ch.Expunged.Add(e.uid)
				if e.flags&flagGone != 0 {
					*gone--
				}
				continue
			case e.flags&flagGone == 0:
				e.flags |= flagGone
				*gone++
			}
		}
		out = append(out, e)
	}
	return out
}
