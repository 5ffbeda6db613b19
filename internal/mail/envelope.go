package mail

// Envelope is what MAIL and RCPT said (RFC 5321 §2.3.1).
type Envelope struct {
	From       Address // zero: the null reverse-path
	Recipients []Address
	SMTPUTF8   bool // the client asked for RFC 6531
}
