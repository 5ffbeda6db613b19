package imapd

import (
	"slices"
	"strconv"

	"posthouse/mailstore"
)

// results are the messages that a search found, in the order of its answer, as
// UIDs or as sequence numbers.
type results struct {
	set   mailstore.UIDSet // in mailbox order; empty where order is set
	order []mailstore.UID  // in another order; nil: mailbox order
}

func (r results) len() int {
	if r.order != nil {
		return len(r.order)
	}
	return r.set.Len()
}

// ends are the first and the last; there must be one.
func (r results) ends() (first, last mailstore.UID) {
	if r.order != nil {
		return r.order[0], r.order[len(r.order)-1]
	}
	return r.set[0].Lo, r.set[len(r.set)-1].Hi
}

// between are those from one position to another, both included, counted from 1.
// The bounds may be beyond the end.
func (r results) between(first, last int) results {
	n := r.len()
	if first, last = max(first, 1), min(last, n); first > last {
		return results{}
	}
	if r.order != nil {
		return results{order: r.order[first-1 : last]}
	}
	upTo := firstUIDs(r.set, last)
	if first == 1 {
		return results{set: upTo}
	}
	return results{set: upTo.Subtract(firstUIDs(r.set, first-1))}
}

// uids are all of them, in mailbox order.
func (r results) uids() mailstore.UIDSet {
	if r.order != nil {
		return mailstore.UIDs(r.order...)
	}
	return r.set
}

// numbers are the sequence numbers of messages in the view.
func (r results) numbers(view *mailstore.View) results {
	if r.order == nil {
		return results{set: numbersOf(view, r.set)}
	}
	out := make([]mailstore.UID, 0, len(r.order))
	for _, uid := range r.order {
		if seq, ok := view.Seq(uid); ok {
			out = append(out, mailstore.UID(seq))
		}
	}
	return results{order: out}
}

// appendTo writes a sequence-set. One that keeps an order has ranges where that
// is the order of the numbers (RFC 5267 §3.2).
func (r results) appendTo(b []byte) []byte {
	if r.order == nil {
		return r.set.AppendTo(b)
	}
	for i := 0; i < len(r.order); {
		j := i + 1
		for j < len(r.order) && r.order[j] == r.order[j-1]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.order[i]), 10)
		if j > i+1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.order[j-1]), 10)
		}
		i = j
	}
	return b
}

// each yields them in their order.
func (r results) each(yield func(mailstore.UID) bool) {
	if r.order == nil {
		r.set.Each(yield)
		return
	}
	slices.Values(r.order)(yield)
}

// numbersOf gives the sequence numbers of messages in a view, as a set.
func numbersOf(view *mailstore.View, uids mailstore.UIDSet) mailstore.UIDSet {
	var seqs mailstore.UIDSet
	for uid := range uids.Each {
		if seq, ok := view.Seq(uid); ok {
			seqs.Add(mailstore.UID(seq))
		}
	}
	return seqs
}

// sequenceNumbers of messages in the view, as a set of numbers.
func (s *session) sequenceNumbers(uids mailstore.UIDSet) mailstore.UIDSet {
	return numbersOf(s.box.view, uids)
}
