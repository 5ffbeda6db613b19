// Package imapd is the IMAP server. A session is one goroutine that reads a
// command, runs its handler and answers; one file holds one command: its
// grammar, its work, its reply. The table in commands.go names them all, the one
// in capability.go what is advertised.
//
// What a session shows of its mailbox is a [mailstore.View], brought forward
// from the change journal at the moments when RFC 3501 §5.2 and §7.4.1 allow it
// (sync.go). Bodies, envelopes and structures are bytes prepared at delivery:
// FETCH copies them.
//
// Promises: octets of a refused literal never run as commands; what a client may
// take in memory is bounded before and after login; a slow client holds neither
// a transaction nor a database connection; a panic in a handler ends its own
// session only.
//
// RFC 3501 and the extensions listed in capability.go.
package imapd
