// Package api is the HTTP interface for sending: a program hands mail over with
// a Bearer key that speaks for an account, and asks what became of it.
//
// A message is composed (or, as message/rfc822, mended like one submitted by
// SMTP), signed, and given to the same Deliverer in the same transaction. What
// an account may not do by SMTP it may not do here: send under another's name,
// beyond its limits, or to whom it does not exist.
//
// With an Idempotency-Key each message of a request is accepted exactly once
// within 24 hours, whatever is lost: its answer is committed together with the
// message, and given again, octet for octet, to the same request. Nothing is
// kept of a request that was refused.
//
// Memory is bounded: a request's body is spooled, its attachments are read from
// there while the message is written into another spool, and what remains of
// the JSON, texts included, is at most Limits.Text octets.
//
// Errors are problem details (RFC 9457) with a stable code. The interface is
// described by openapi.json, which is served, and which the tests hold every
// answer against.
package api
