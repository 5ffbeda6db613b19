package directory

import "context"

// Mechanisms are the SASL mechanisms for this client, best first. Whether
// plain-text ones may be used without TLS is the protocol's to decide.
func (d *Directory) Mechanisms(c Client) []string {
	return []string{"SCRAM-SHA-256", "PLAIN"}
}

// Exchange is one SASL authentication (RFC 4422).
type Exchange struct{}

// NewExchange begins one; mech is matched without regard to case. The only
// error is ErrMechanism.
func (d *Directory) NewExchange(mech string, c Client) (*Exchange, error) { return nil, ErrMechanism }

// Next takes the client's response, decoded from base64, and gives the
// challenge to send. nil says that the client sent no initial response; an
// empty one that is there ("=") is not nil. When done is true there is nothing
// more to send but the protocol's OK, and Account holds who it is. Errors are
// those of Authenticate and ErrMalformed.
//
// A client that cancels with "*" is the caller's to answer; the exchange is
// then dropped and costs nothing.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	return nil, false, errUnbuilt
}

// Account is who logged in, after Next said done.
func (x *Exchange) Account() Account { return Account{} }
