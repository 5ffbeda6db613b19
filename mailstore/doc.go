// Package mailstore keeps mail in Postgres: mailboxes, messages, bodies, flags,
// the journal of changes, quota, search, the POP3 maildrop and undelete.
//
// A [Store] is the whole of it. Mail enters through [Store.Deliver], one
// transaction for all recipients of a message, shared with other deliveries
// that happen at the same time. IMAP sessions hold an immutable [View] of the
// selected mailbox ([Store.Load]), learn of changes from [Store.Watch] and take
// them over with [Store.Advance]; what a message looks like comes prepared from
// [Store.Messages], its octets from [Store.OpenBody].
//
// Bodies are searched exactly: any substring of the folded text. Behind delivery an
// indexer packs the texts, and for accounts that search them a segmenter says
// which words are in which; what neither has yet is read from the bodies, so
// [Store.Search] is right at any time and only its speed depends on them.
//
// What it promises: an error-free return means committed; UIDs rise and are
// never reused; mod-sequence order is commit order within a mailbox (RFC 7162);
// locks are taken on mailbox rows only, in id order, and no account waits for
// another's; every error carries its class ([mail.ClassOf]).
package mailstore
