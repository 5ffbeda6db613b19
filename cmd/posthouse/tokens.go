package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"posthouse/internal/config"
	"posthouse/internal/dns"
	"posthouse/internal/oidc"
)

// tokenVerifier asks OpenID Connect issuers, by the process's own resolver. They
// are the operator's choice, and may well be in a private network.
func tokenVerifier(c *config.Config, resolver *dns.Resolver, log *slog.Logger) (*oidc.Verifier, error) {
	roots, err := c.Testing.Roots()
	if err != nil {
		return nil, err
	}
	return oidc.New(&http.Transport{
		DialContext:            (&dns.Dialer{Resolver: resolver, HTTPSPort: c.Testing.HTTPSPort, Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		MaxConnsPerHost:        20,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}, log), nil
}
