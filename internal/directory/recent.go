package directory

// recent remembers at least the last limit entries used, and never more than
// twice as many: two generations, of which the older is dropped whole. It is
// not safe for concurrent use.
type recent[K comparable, V any] struct {
	limit    int
	now, old map[K]V
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{limit: limit, now: make(map[K]V)}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.now[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if len(r.now) >= r.limit {
		r.old, r.now = r.now, make(map[K]V)
	}
	r.now[k] = v
}

func (r *recent[K, V]) clear() { r.now, r.old = make(map[K]V), nil }
