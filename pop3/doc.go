// Package pop3 serves the maildrops of the mailstore over POP3: RFC 1939 with
// CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), response codes (RFC 2449,
// RFC 3206) and UTF8 (RFC 6856). APOP is not offered: it needs passwords in the
// clear on the server.
//
// A [Server] runs sessions on its listeners, one goroutine each, and one more
// while somebody is logged in. A session is in one of the three states of RFC
// 1939. Its maildrop is a snapshot of INBOX under a lease; it holds no database
// connection between commands, nor while a slow client takes its mail. Messages
// are streamed: a session keeps at most about a megabyte, plus 32 octets for
// each message of the list.
//
// Nothing is deleted but by a complete QUIT. What a deletion does is the
// account's retention policy; see mailstore.Maildrop.
//
// Messages are sent as they are stored, with every line ended by CRLF, and
// sizes are those of what is sent. That holds for 8-bit headers too, whether or
// not the client said UTF8: RFC 6856 would have RETR refused, and a client that
// does not know why would never empty its maildrop.
package pop3
