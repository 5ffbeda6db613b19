// Package mailauth is what this site says of itself to others, and keeps of
// what they say of themselves: DKIM keys and signatures (RFC 6376, RFC 8463),
// rewritten senders of forwarded mail (SRS), cached MTA-STS policies
// (RFC 8461), reports on how TLS went (RFC 8460), and the DNS records that a
// domain needs.
//
// Private keys lie in Postgres, sealed under the site's secret key. Every node
// works from the same rows; which key signs follows from the database's clock,
// so that a rotation happens on all of them without anybody awake.
package mailauth
