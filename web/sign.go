package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/smallstep/pkcs7"
)

// SignProfile wraps a configuration profile in a signed message (CMS, RFC
// 5652), so that a device can say who it is from.
func SignProfile(profile []byte, cert *tls.Certificate) ([]byte, error) {
	signed, err := pkcs7.NewSignedData(profile)
	if err != nil {
		return nil, fmt.Errorf("sign a profile: %w", err)
	}
	signed.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	var chain []*x509.Certificate
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("sign a profile: %w", err)
		}
		chain = append(chain, c)
	}
	if err := signed.AddSignerChain(cert.Leaf, cert.PrivateKey, chain, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, fmt.Errorf("sign a profile: %w", err)
	}
	return signed.Finish()
}
