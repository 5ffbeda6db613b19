// Package events holds what happened and what follows from it.
//
// A Log records events of messages in Postgres: Add soon, AddTx with the
// caller's transaction. Find, Events and Messages read them back for `trace` and
// the HTTP API; Maintain keeps a month of them. Events owe requests to webhooks
// (Hooks, delivered by a Dispatcher on whichever node lives), and put recipients
// who are gone or complain on the suppression list (Suppressions). Unsubscriber
// makes the tokens of one-click unsubscription (RFC 8058), ParseARF reads
// complaints (RFC 5965).
//
// The Prometheus metrics of all packages stand here, too, so that their names
// and labels stay one family.
package events
