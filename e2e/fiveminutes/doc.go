// Package fiveminutes is what a newcomer does, as one test, with the real
// program: quickstart, the DNS records that it printed, serve, doctor, and mail
// both ways with a Postfix of another domain that knows nothing of us.
//
//	go test -v ./e2e/fiveminutes
//
// All of it is on loopback: a DNS server that holds what quickstart printed and
// nothing else of ours, pebble as the certificate authority, and [testing] in
// the configuration in place of port 25, of 443 and of the world's roots.
package fiveminutes
