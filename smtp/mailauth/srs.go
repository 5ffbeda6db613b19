package mailauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/internal/mail"
	"posthouse/internal/seal"
)

// SRSValid is how long a rewritten sender takes bounces, in whole days: longer
// than any queue keeps mail.
const SRSValid = 21 * 24 * time.Hour

var (
	// ErrNotSRS says that an address is an ordinary one.
	ErrNotSRS = errors.New("not a rewritten sender")
	// ErrSRS says that a rewritten sender is forged, or too old.
	ErrSRS = errors.New("a rewritten sender that is not ours, or too old")
)

// SRS rewrites the senders of mail that is forwarded, so that SPF sees a
// domain of this site, and leads bounces back (the Sender Rewriting Scheme of
// libsrs2 and others: SRS0 at the first forwarder, SRS1 at those behind it).
// Hosts on the way may change the case of local parts: it does not count.
type SRS struct {
	pool *pgxpool.Pool
	key  []byte
}

// NewSRS derives its key from the site's secret key.
func NewSRS(pool *pgxpool.Pool, siteKey []byte) (*SRS, error) {
	key, err := seal.Derive(siteKey, "posthouse srs")
	return &SRS{pool, key}, err
}

const (
	srsHash = 8 // letters, 40 bits
	srsDay  = 24 * time.Hour
	srsDays = 1 << 10 // timestamps count days modulo this, in two letters
)

// letters32 is base32 (RFC 4648) as it stands in addresses.
var letters32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Forward gives the sender under which a domain of this site forwards mail of
// another's. The null reverse-path stays as it is. It does not ask whether the
// sender is of this site too, and so needs no rewriting.
func (s *SRS) Forward(ctx context.Context, from mail.Address, via string) (mail.Address, error) {
	if from.IsZero() {
		return from, nil
	}
	switch kind, rest := srsKind(from.Local); kind {
	case 0: // another forwarder's: what it means only that one knows
		if a := s.first(from.Domain, rest, via); len(a.Local) <= mail.MaxLocal {
			return a, nil
		}
	case 1:
		if _, hop, opaque, ok := cutHop(rest); ok {
			if a := s.first(hop, opaque, via); len(a.Local) <= mail.MaxLocal {
				return a, nil
			}
		}
	}
	tail := stamp(time.Now()) + "=" + from.Domain + "=" + from.Local
	if len("SRS0=")+srsHash+1+len(tail) > mail.MaxLocal {
		token, err := s.keep(ctx, from)
		if err != nil {
			return mail.Address{}, fmt.Errorf("rewrite the sender %s: %w", from, err)
		}
		tail = stamp(time.Now()) + "==" + token
	}
	return mail.Address{Local: "SRS0=" + s.mac("0", tail) + "=" + tail, Domain: via}, nil
}

// first is an address that leads to the first forwarder, whose own part is
// opaque (its separator included).
func (s *SRS) first(hop, opaque, via string) mail.Address {
	tail := hop + "=" + opaque
	return mail.Address{Local: "SRS1=" + s.mac("1", tail) + "=" + tail, Domain: via}
}

// Reverse gives the address that a rewritten sender stands for. ErrNotSRS,
// ErrSRS; other errors are temporary.
func (s *SRS) Reverse(ctx context.Context, rcpt mail.Address) (mail.Address, error) {
	kind, rest := srsKind(rcpt.Local)
	if kind < 0 {
		return mail.Address{}, ErrNotSRS
	}
	rest = rest[1:] // the separator
	mac, tail, ok := strings.Cut(rest, "=")
	if !ok || !hmac.Equal([]byte(strings.ToLower(mac)), []byte(s.mac(string(rune('0'+kind)), tail))) {
		return mail.Address{}, ErrSRS
	}
	if kind == 1 {
		hop, opaque, ok := strings.Cut(tail, "=")
		if !ok || opaque == "" {
			return mail.Address{}, ErrSRS
		}
		return checked("SRS0"+opaque, hop)
	}
	at, tail, ok := strings.Cut(tail, "=")
	if !ok || !fresh(at, time.Now()) {
		return mail.Address{}, ErrSRS
	}
	domain, local, ok := strings.Cut(tail, "=")
	switch {
	case !ok:
		return mail.Address{}, ErrSRS
	case domain == "":
		return s.kept(ctx, local)
	}
	return checked(local, domain)
}

// checked is an address from its parts, which nobody else could have written;
// but the rules may have changed since.
func checked(local, domain string) (mail.Address, error) {
	a, err := mail.ParseAddress(mail.Address{Local: local, Domain: strings.ToLower(domain)}.String())
	if err != nil {
		return mail.Address{}, ErrSRS
	}
	return a, nil
}

// srsKind tells a rewritten local part: 0 or 1, and what follows "SRS0", its
// separator first; -1 for others.
func srsKind(local string) (kind int, rest string) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || local[3] != '0' && local[3] != '1' || strings.IndexByte("=+-", local[4]) < 0 {
		return -1, ""
	}
	return int(local[3] - '0'), local[4:]
}

// cutHop takes the parts of another forwarder's SRS1 address: "=HASH=hop=opaque".
func cutHop(rest string) (mac, hop, opaque string, ok bool) {
	mac, tail, ok := strings.Cut(rest[1:], "=")
	if !ok {
		return "", "", "", false
	}
	hop, opaque, ok = strings.Cut(tail, "=")
	if _, err := mail.ParseDomain(hop); err != nil || opaque == "" {
		return "", "", "", false
	}
	return mac, strings.ToLower(hop), opaque, ok
}

// mac is the hash of what follows it, without regard to case.
func (s *SRS) mac(kind, tail string) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(kind + "=" + strings.ToLower(tail)))
	return letters32.EncodeToString(h.Sum(nil))[:srsHash]
}

// stamp is a day in two letters.
func stamp(t time.Time) string {
	day := t.Unix() / int64(srsDay/time.Second) % srsDays
	return string([]byte{base32Digit(day >> 5), base32Digit(day & 31)})
}

func base32Digit(n int64) byte { return "abcdefghijklmnopqrstuvwxyz234567"[n] }

// fresh says that a stamp is at most SRSValid old, and not of later than
// tomorrow: clocks differ.
func fresh(at string, now time.Time) bool {
	for age := -srsDay; age <= SRSValid; age += srsDay {
		if strings.EqualFold(at, stamp(now.Add(-age))) {
			return true
		}
	}
	return false
}

// keep stores an address that does not fit, and gives the token that stands
// for it.
func (s *SRS) keep(ctx context.Context, a mail.Address) (string, error) {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("token=" + a.String()))
	token := letters32.EncodeToString(h.Sum(nil))[:24]
	// Mostly it is known, and nothing is written.
	_, err := s.pool.Exec(ctx, `INSERT INTO srs_sender AS s (token, address, at) VALUES ($1, $2, now())
		ON CONFLICT (token) DO UPDATE SET at = now() WHERE s.at < now() - interval '1 day'`, token, a.String())
	return token, err
}

func (s *SRS) kept(ctx context.Context, token string) (mail.Address, error) {
	var text string
	err := s.pool.QueryRow(ctx, "SELECT address FROM srs_sender WHERE token = $1", strings.ToLower(token)).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return mail.Address{}, ErrSRS
	}
	if err != nil {
		return mail.Address{}, fmt.Errorf("the sender that %s stands for: %w", token, err)
	}
	a, err := mail.ParseAddress(text)
	if err != nil {
		return mail.Address{}, ErrSRS
	}
	return a, nil
}

// Sweep forgets the senders that nothing can lead to any more.
func (s *SRS) Sweep(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, "DELETE FROM srs_sender WHERE at < now() - interval '24 days'")
	if err != nil {
		return fmt.Errorf("sweep rewritten senders: %w", err)
	}
	return nil
}
