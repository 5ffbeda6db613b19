// Package issuer is an OpenID Connect issuer on loopback, over real HTTPS, for
// tests: it signs tokens with keys that can be changed, answers for opaque ones,
// and can be made to fail. It counts what it is asked.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Audience, ClientID and ClientSecret are what the issuer knows of the mail server.
const (
	Audience     = "posthouse"
	ClientID     = "mail server"
	ClientSecret = "s3cret:with/signs"
)

// Issuer is a running one.
type Issuer struct {
	URL string
	t   testing.TB
	srv *httptest.Server

	mu     sync.Mutex
	keys   []jose.JSONWebKey // private; the last one signs
	opaque map[string]map[string]any
	down   bool
	asked  map[string]int
}

// New starts one; it ends with the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, opaque: make(map[string]map[string]any), asked: make(map[string]int)}
	i.srv = httptest.NewTLSServer(http.HandlerFunc(i.answer))
	i.URL = i.srv.URL
	t.Cleanup(i.srv.Close)
	i.Rotate("first", true)
	return i
}

// Transport reaches the issuer, and trusts its certificate.
func (i *Issuer) Transport() http.RoundTripper { return i.srv.Client().Transport }

// Trust writes the issuer's certificate to a PEM file in dir.
func (i *Issuer) Trust(dir string) string {
	i.t.Helper()
	path := filepath.Join(dir, "issuer.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.srv.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o644); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// Rotate makes a new key, which signs from now on. Without keep the ones before
// are withdrawn. The first key is RSA, those after it ECDSA.
func (i *Issuer) Rotate(id string, keep bool) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	k := jose.JSONWebKey{KeyID: id, Use: "sig"}
	var err error
	if len(i.keys) == 0 {
		k.Algorithm = "RS256"
		k.Key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		k.Algorithm = "ES256"
		k.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	if !keep {
		i.keys = nil
	}
	i.keys = append(i.keys, k)
}

// Key is the one that signs.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Down makes every answer a 503, or ends that.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Asked is how often a path was asked for.
func (i *Issuer) Asked(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// Claims are those of a good token for an address, with changes; nil takes one out.
func (i *Issuer) Claims(address string, change map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{"iss": i.URL, "aud": Audience, "sub": "subject of " + address, "email": address, "email_verified": true,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Token signs a good token for an address, with changes to its claims.
func (i *Issuer) Token(address string, change map[string]any) string {
	i.t.Helper()
	k := i.Key()
	return Sign(i.t, jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: k}, i.Claims(address, change))
}

// Sign signs claims with any key.
func Sign(t testing.TB, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Opaque makes a token known to introspection; claims nil takes it back.
func (i *Issuer) Opaque(token string, claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opaque[token] = claims
}

// Answer answers a request without a network, for tests in bubbles of time.
func (i *Issuer) Answer(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	i.answer(w, r)
	return w.Result()
}

func (i *Issuer) answer(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked[r.URL.Path]++
	if i.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	var answer any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "introspection_endpoint": i.URL + "/introspect"}
	case "/keys":
		var set jose.JSONWebKeySet
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		answer = set
	case "/introspect":
		if user, password, ok := r.BasicAuth(); !ok || user != "mail+server" || password != "s3cret%3Awith%2Fsigns" || r.Method != http.MethodPost {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		claims := map[string]any{"active": false}
		if known := i.opaque[r.FormValue("token")]; known != nil {
			claims = map[string]any{"active": true}
			maps.Copy(claims, known)
		}
		answer = claims
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) // a client that hung up is the test's own
}
