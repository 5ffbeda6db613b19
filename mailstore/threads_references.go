package mailstore

// THREAD=REFERENCES (RFC 5256 §3), step by step.

// referencing is what the algorithm needs beside the parents.
type referencing struct {
	*threading
	table  *threadTable
	place  []int32 // of each message in the table
	holder []int32 // of each id: the node that has it, -1: none yet
	below  []int32 // how many children each node has
	steps  int     // that may be taken up the tree, see above
	walked int     // that were taken
}

// stepsPerLink bounds the walks up the tree on average. A mailbox has to be made
// for it to need more; links that would are not made, as if they closed a loop.
const stepsPerLink = 100

func (t *threading) references(col *sortColumn) *Threads {
	return newReferencing(t, col).thread()
}

func newReferencing(t *threading, col *sortColumn) *referencing {
	r := &referencing{threading: t, table: col.threads, place: make([]int32, len(t.uids)), holder: make([]int32, col.threads.known), below: make([]int32, len(t.uids))}
	for i := range r.holder {
		r.holder[i] = -1
	}
	col.places(t.uids, func(i, place int) { r.place[i] = int32(place) })
	for i, place := range r.place { // an id that several messages have is the first one's
		if place < 0 {
			continue
		}
		if own := r.table.own[place]; own >= 0 && r.holder[own] < 0 {
			r.holder[own] = int32(i)
		}
	}
	return r
}

func (r *referencing) thread() *Threads {
	for i := range r.place { // step 1
		r.connect(int32(i))
	}
	r.prune()
	r.gather()
	return r.forest() // step 6
}

// refs are the references of a message.
func (r *referencing) refs(message int32) []int32 {
	place := r.place[message]
	if place < 0 {
		return nil
	}
	return r.table.refs[r.table.from[place]:r.table.to[place]]
}

// reply reports whether a message is a reply or was forwarded.
func (r *referencing) reply(message int32) bool {
	place := r.place[message]
	return place >= 0 && r.table.reply[place]
}

// connect links what a message refers to (step 1 A), then the message (1 B).
func (r *referencing) connect(message int32) {
	last := int32(-1)
	for _, id := range r.refs(message) {
		r.steps += stepsPerLink
		node := r.holder[id]
		if node < 0 {
			node = int32(len(r.parent))
			r.holder[id] = node
			r.parent, r.below = append(r.parent, -1), append(r.below, 0)
		}
		if last >= 0 && r.parent[node] < 0 && !r.above(node, last) {
			r.parent[node] = last
			r.below[last]++
		}
		last = node
	}
	if old := r.parent[message]; old != last {
		if old >= 0 {
			r.parent[message] = -1
			r.below[old]--
		}
		if last >= 0 && !r.above(message, last) {
			r.parent[message] = last
			r.below[last]++
		}
	}
}

// above reports whether a node is another one or stands above it.
func (r *referencing) above(node, other int32) bool {
	if node == other {
		return true
	}
	if r.below[node] == 0 {
		return false
	}
	for ; other >= 0; other = r.parent[other] {
		if r.walked++; other == node || r.walked > r.steps {
			return true
		}
	}
	return false
}

// prune takes dummies out (step 3): their children go to the level of the dummy,
// but not to the top, unless there is only one.
func (r *referencing) prune() {
	messages := int32(len(r.uids))
	top := make([]int32, len(r.parent)) // of each dummy: where its children go, -1: not known yet
	for i := range top {
		top[i] = -1
	}
	var path []int32
	for i := range messages {
		node := r.parent[i]
		for path = path[:0]; node >= messages && top[node] < 0 && r.parent[node] >= 0; node = r.parent[node] {
			path = append(path, node)
		}
		if node >= messages && top[node] >= 0 {
			node = top[node]
		}
		for _, dummy := range path {
			top[dummy] = node
		}
		r.parent[i] = node
	}
	only := make([]int32, len(r.parent)) // children of dummies at the top
	for i := range messages {
		if p := r.parent[i]; p >= messages {
			only[p]++
		}
	}
	for i := range messages {
		if p := r.parent[i]; p >= messages && only[p] == 1 {
			r.parent[i] = -1
		}
	}
}

// gather joins threads of one subject (steps 4 and 5).
func (r *referencing) gather() {
	messages := int32(len(r.uids))
	f := r.forest() // step 4
	table := map[int32]int32{}
	subject := func(root int32) int32 {
		if root >= messages {
			root = f.children[root]
		}
		return r.subject[root]
	}
	for root := f.roots; root >= 0; root = f.next[root] { // B
		what := subject(root)
		if what == r.empty {
			continue
		}
		held, ok := table[what]
		if !ok || held < messages && (root >= messages || r.reply(held) && !r.reply(root)) {
			table[what] = root
		}
	}
	for root := f.roots; root >= 0; root = f.next[root] { // C
		what := subject(root)
		if what == r.empty {
			continue
		}
		switch held := table[what]; {
		case held == root:
		case held >= messages && root >= messages:
			for child := f.children[root]; child >= 0; child = f.next[child] {
				r.parent[child] = held
			}
		case held >= messages || r.reply(root) && !r.reply(held):
			r.parent[root] = held
		default:
			dummy := int32(len(r.parent))
			r.parent = append(r.parent, -1)
			r.parent[root], r.parent[held] = dummy, dummy
			table[what] = dummy
		}
	}
}
