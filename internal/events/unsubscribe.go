package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"posthouse/internal/mail"
	"posthouse/internal/seal"
)

// ErrToken says that an unsubscribe token was not made here, or was damaged on
// its way.
var ErrToken = errors.New("not an unsubscribe token of this site")

// Unsubscribe is what a token stands for: this recipient wants no more mail of
// this account's list; with an empty List none of the account at all.
type Unsubscribe struct {
	Account int64
	Address mail.Address
	List    string // at most 300 octets
}

// Unsubscriber makes and opens the tokens of one-click unsubscription (RFC
// 8058). They are signed, so nothing is kept for them, they serve for good, and
// nobody can unsubscribe whose mail they have not got.
//
// The HTTP API puts into a message for one recipient, before it is signed by
// DKIM (which has to cover both fields, §4):
//
//	List-Unsubscribe: <https://HOST/unsubscribe/TOKEN>
//	List-Unsubscribe-Post: List-Unsubscribe=One-Click
//
// and answers a POST there, whose body is List-Unsubscribe=One-Click, without
// cookies, log-in or redirect (§3.1), with Open and then Suppressions.Add for
// Suppression's Reason Unsubscribed. A GET must change nothing: programs follow
// links; it shows a page with a button.
type Unsubscriber struct{ key []byte }

// NewUnsubscriber derives its key from the site's secret key.
func NewUnsubscriber(siteKey []byte) (*Unsubscriber, error) {
	key, err := seal.Derive(siteKey, "posthouse unsubscribe")
	if err != nil {
		return nil, err
	}
	return &Unsubscriber{key}, nil
}

const (
	tokenVersion = 1
	tokenMAC     = 16 // octets of HMAC-SHA256: a guess is one of 2^128
	maxToken     = 2000
)

// Token makes the token: letters, digits, - and _ only.
func (u *Unsubscriber) Token(un Unsubscribe) (string, error) {
	if un.Address.IsZero() || un.Account <= 0 || len(un.List) > maxID {
		return "", fmt.Errorf("%w: a token needs an account and an address, and a list of at most %d octets", ErrInvalid, maxID)
	}
	b := []byte{tokenVersion}
	b = binary.AppendUvarint(b, uint64(un.Account))
	b = binary.AppendUvarint(b, uint64(len(un.List)))
	b = append(b, un.List...)
	b = append(b, un.Address.String()...)
	return base64.RawURLEncoding.EncodeToString(append(b, u.mac(b)...)), nil
}

func (u *Unsubscriber) mac(b []byte) []byte {
	m := hmac.New(sha256.New, u.key)
	m.Write(b)
	return m.Sum(nil)[:tokenMAC]
}

// Open checks a token and says what it stands for. ErrToken.
func (u *Unsubscriber) Open(token string) (Unsubscribe, error) {
	if len(token) > maxToken {
		return Unsubscribe{}, ErrToken
	}
	// Strict: else one token could be written in several ways.
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < tokenMAC+1 {
		return Unsubscribe{}, ErrToken
	}
	body, mac := b[:len(b)-tokenMAC], b[len(b)-tokenMAC:]
	if !hmac.Equal(mac, u.mac(body)) || body[0] != tokenVersion {
		return Unsubscribe{}, ErrToken
	}
	account, n := binary.Uvarint(body[1:])
	rest := body[1+max(n, 0):]
	size, m := binary.Uvarint(rest)
	if n <= 0 || m <= 0 || size > uint64(len(rest)-m) {
		return Unsubscribe{}, ErrToken
	}
	rest = rest[m:]
	addr, err := mail.ParseAddress(string(rest[size:]))
	if err != nil {
		return Unsubscribe{}, ErrToken
	}
	return Unsubscribe{int64(account), addr, string(rest[:size])}, nil
}

// Suppression is the entry that a token asks for.
func (un *Unsubscribe) Suppression() Suppression {
	return Suppression{AccountID: un.Account, List: un.List, Reason: ReasonUnsubscribed}
}
