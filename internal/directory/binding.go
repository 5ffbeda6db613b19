package directory

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"
)

// binds reports whether this connection can be bound to a login: SCRAM with
// channel binding is offered then.
func (c Client) binds() bool {
	return c.TLSState != nil && (c.TLSState.Version >= tls.VersionTLS13 || c.TLSState.TLSUnique != nil || c.Certificate != nil)
}

// binding is what the client binds its login to, by the first field of its
// message (RFC 5802 §6, gs2-cbind-flag). ErrChannelBinding: a binding that is
// none of this connection, or an offer of ours that was hidden from the client
// on its way.
func (c Client) binding(clientFirst string, plus bool) (scram.ChannelBinding, error) {
	flag, _, _ := strings.Cut(clientFirst, ",")
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case !bound && flag != "n" && flag != "y":
		return scram.ChannelBinding{}, ErrMalformed
	case bound && !plus, !bound && plus:
		return scram.ChannelBinding{}, fmt.Errorf("%w: the mechanism says otherwise", ErrChannelBinding)
	case flag == "y" && c.binds() && !c.PlusHidden:
		return scram.ChannelBinding{}, fmt.Errorf("%w: somebody took %s out of what this server offers", ErrChannelBinding, scramPlus)
	case !bound:
		return scram.ChannelBinding{}, nil
	}
	b, err := c.bindingOf(scram.ChannelBindingType(kind))
	if err != nil || !b.IsSupported() {
		return scram.ChannelBinding{}, fmt.Errorf("%w: there is no %q here", ErrChannelBinding, kind)
	}
	return b, nil
}

// bindingOf is this connection's side of a channel binding; the zero one when
// it has none of that kind.
func (c Client) bindingOf(kind scram.ChannelBindingType) (b scram.ChannelBinding, err error) {
	if c.TLSState == nil {
		return b, nil
	}
	switch kind {
	case scram.ChannelBindingTLSExporter: // RFC 9266; below TLS 1.3 crypto/tls exports with an extended master secret only (§4.1)
		return scram.NewTLSExporterBinding(c.TLSState)
	case scram.ChannelBindingTLSUnique: // RFC 5929 §3: not for TLS 1.3, which has none
		return scram.NewTLSUniqueBinding(c.TLSState.TLSUnique), nil
	case scram.ChannelBindingTLSServerEndpoint: // RFC 5929 §4
		if c.Certificate == nil || len(c.Certificate.Certificate) == 0 {
			return b, nil
		}
		leaf := c.Certificate.Leaf
		if leaf == nil {
			if leaf, err = x509.ParseCertificate(c.Certificate.Certificate[0]); err != nil {
				return b, err
			}
		}
		// The library reads the peer's certificate, as a client sees it.
		return scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	}
	return b, nil
}
