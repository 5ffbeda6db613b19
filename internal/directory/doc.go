// Package directory knows who is here: domains, accounts, aliases, credentials,
// who may send as whom, and how fast somebody may guess.
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
// Operations that change something take DryRun contexts: they do all of their
// work and roll it back.
package directory
