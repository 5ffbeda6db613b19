package imapd

import (
	"posthouse/internal/message"
	"posthouse/mailstore"
)

// leanFields are what the items need of each message when all of them can be
// answered from what was prepared at delivery, which the store keeps in memory;
// 0 when one of them needs more.
func (f *fetch) leanFields() (fields mailstore.Fields) {
	for i := range f.items {
		item := &f.items[i]
		switch {
		case !item.stored:
		case item.name == "RFC822.SIZE":
			fields |= mailstore.FieldSize
		case item.section == nil && item.fields != 0 && item.fields&^mailstore.PreparedFields == 0:
			fields |= item.fields
		case item.section != nil && item.section.fromSubset():
			fields |= mailstore.FieldHeaderSubset | mailstore.FieldPrefix
		default:
			return 0
		}
	}
	return fields
}

// fromSubset reports whether the section is of header fields that are kept with
// every message whose header could be read.
func (sec *bodySection) fromSubset() bool {
	return sec.fields != nil && len(sec.path) == 0 && !sec.not && message.SubsetCovers([]byte{0}, sec.fields)
}

// read yields the rows of messages with what the items need.
func (f *fetch) read(uids mailstore.UIDSet, yield func(*mailstore.Message) error) error {
	store, acct, box := f.s.srv.Store, f.s.box.account, f.s.box.id
	fields := f.leanFields()
	if fields == 0 || f.marks {
		return store.Messages(f.ctx, acct, box, uids, f.fields, yield)
	}
	return store.Prepared(f.ctx, acct, box, uids, fields, func(row *mailstore.Message) error {
		if fields&mailstore.FieldHeaderSubset != 0 && len(row.HeaderSubset) == 0 { // the fields have to be looked for in the body
			return store.Messages(f.ctx, acct, box, mailstore.UIDs(row.UID), f.fields, yield)
		}
		return yield(row)
	})
}
