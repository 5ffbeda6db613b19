package door

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
)

// TLS is the server's side of handshakes. Beside the connection it gives the
// certificate that was shown, which crypto/tls tells clients only: channel
// binding by tls-server-end-point (RFC 5929 §4) needs it.
type TLS struct {
	outer *tls.Config // leads to the inner one
	inner *tls.Config
}

// NewTLS makes one of a configuration, which goes on to be used as it is, so
// that session ticket keys set on it later hold here, too. A client that insists
// on another protocol than proto is refused (ALPACA, RFC 7301); "" asks nothing.
func NewTLS(config *tls.Config, proto string) *TLS {
	if proto != "" && !slices.Equal(config.NextProtos, []string{proto}) {
		config = config.Clone()
		config.NextProtos = []string{proto}
	}
	t := &TLS{inner: config}
	t.outer = &tls.Config{
		MinVersion: config.MinVersion, MaxVersion: config.MaxVersion, CipherSuites: config.CipherSuites, // what choosing a certificate looks at
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if shown, ok := hello.Context().Value(shownKey{}).(*shown); ok {
				shown.cert = t.choose(hello)
			}
			return t.inner, nil
		},
	}
	return t
}

type shownKey struct{}

type shown struct{ cert *tls.Certificate }

// choose gives the certificate that the handshake is about to show. One that is
// resumed shows none, and stands for that of the session before it, which is the
// same unless it was renewed since.
func (t *TLS) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	if get := t.inner.GetCertificate; get != nil {
		if cert, err := get(hello); err == nil && cert != nil {
			return cert
		}
	}
	for i := range t.inner.Certificates {
		if hello.SupportsCertificate(&t.inner.Certificates[i]) == nil {
			return &t.inner.Certificates[i]
		}
	}
	if len(t.inner.Certificates) > 0 {
		return &t.inner.Certificates[0]
	}
	return nil
}

// Handshake makes c a TLS connection. The certificate is nil when it is not
// known; it is shared, and must not be changed.
func (t *TLS) Handshake(ctx context.Context, c net.Conn) (*tls.Conn, *tls.Certificate, error) {
	s := &shown{}
	conn := tls.Server(c, t.outer)
	if err := conn.HandshakeContext(context.WithValue(ctx, shownKey{}, s)); err != nil {
		return nil, nil, err
	}
	return conn, s.cert, nil
}
