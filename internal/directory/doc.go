// Package directory knows who is here: domains, accounts, aliases, credentials,
// who may send as whom, how much, and how fast somebody may guess. It knows the
// way to elsewhere, too: relays and routes, and the domains that this site is
// backup MX for.
//
// Everything lies in Postgres and is changed at once, without a restart.
// Nothing is believed for longer than a second without asking the database: a
// login reads the account's row (one indexed query), a resolved recipient is
// remembered for at most a second, and less when a change is announced by
// NOTIFY.
//
// Addresses are looked up folded: the local part in lower case and NFC, the
// domain as mail.ParseAddress gives it. "user+detail" is the account "user"
// unless "user+detail" exists by itself (RFC 5233). postmaster and abuse exist
// in every domain (RFC 2142, RFC 5321 §4.5.1).
//
// Passwords are kept as argon2id (RFC 9106) and as SCRAM-SHA-256 keys (RFC
// 5802, RFC 7677). A guess is answered in the same time with the same words
// whether the user exists or not.
//
// Mail that leaves takes the route of RouteFor, answered from memory; relays'
// passwords lie sealed under the site's key. A backup domain's recipients are
// taken when its primary knows them (RelaysFor), asked with bounds and
// remembered, so that what it would refuse is refused here, in the session, and
// does not bounce to a forged sender. What an account sends is counted in one row
// by one statement (Allow); one that behaves like a stolen one is blocked and its
// postmaster told.
//
// Operations that change something take DryRun contexts: they do all of their
// work and roll it back.
package directory
