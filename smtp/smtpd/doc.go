// Package smtpd receives mail: as MX on port 25, as submission server on 587
// and 465 (RFC 6409, RFC 8314), and by LMTP from a trusted MTA (RFC 2033).
//
// The SMTP engine is github.com/emersion/go-smtp behind a guard. The guard
// (conn) owns the socket and does STARTTLS itself; go-smtp speaks with the
// guard over what looks like a plain net.Conn. Its Read gives go-smtp exactly
// one vetted command line at a time, rewritten to a form that cannot be
// misread, or the octets of one DATA or BDAT body and not an octet more; its
// Write sees every reply before the client does. As go-smtp answers a line
// before it reads the next, the two run in lockstep, in one goroutine.
//
//	conn.go     the guard as a net.Conn, deadlines      session.go   go-smtp's session
//	command.go  the commands                            rcpt.go      which recipients
//	path.go     MAIL and RCPT arguments                 submit.go    identity, missing fields
//	params.go   their parameters                        notify.go    those of DSN
//	data.go     where a body ends                       content.go   what a body may hold
//	record.go   which refusals become events            reverse.go   who is welcome, and what they are called
//	inject.go   errors on demand, where mail is captured
//
// What it promises:
//   - a line is executed only if it came as a command: not behind STARTTLS in
//     the clear, not behind a timeout in DATA, not behind an end of data that
//     another server might see elsewhere (such a message is refused and the
//     connection closed);
//   - 250 is said after the Deliverer committed; a message is spooled, never
//     held in memory beyond Limits.Memory;
//   - nobody relays without having logged in.
//
// RFC 1870, 2033, 2034, 2852, 2920, 3030, 3207, 3461, 4865, 4954, 5321, 6152,
// 6409, 6531, 6533, 6710, 8689, 9422.
package smtpd
