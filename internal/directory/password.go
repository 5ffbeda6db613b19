package directory

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	"posthouse/internal/events"
)

// Costs of a password. Argon2id as OWASP advises for a server; SCRAM's
// iterations are spent by the client at each login (RFC 7677 §4 asks for 4,096
// at least).
const (
	argonTime    = 2
	argonMemory  = 19 * 1024 // KiB
	argonThreads = 1
	argonLen     = 32
	saltLen      = 16

	scramIterations = 65_536

	maxPassword = 1024 // octets, prepared
)

// hasher does the costly work, as many at a time as there are processors: a
// storm of logins costs 19 MiB for each of those and no more.
type hasher struct {
	slots    chan struct{}
	scram    []byte // key of salts for users who do not exist
	verified *verified
	hashes   atomic.Int64 // argon2id computations
}

func newHasher(key []byte) *hasher {
	return &hasher{slots: make(chan struct{}, runtime.GOMAXPROCS(0)), scram: subkey(key, "scram salt"), verified: newVerified()}
}

// subkey keeps the uses of the site's key apart.
func subkey(key []byte, use string) []byte { return mac(key, "posthouse directory", use) }

// mac is HMAC-SHA-256 over parts, each with its length, so that no two lists of parts run together.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum(nil)
}

// prepare is the form of a password that is hashed: SASLprep (RFC 4013), as
// SCRAM's clients do it. What is younger than its Unicode 3.2, as emoji are,
// takes the form of RFC 8265 §4.2, and what that refuses NFC.
func prepare(password string) string {
	if !utf8.ValidString(password) { // nobody has it, and the tables would make something of it
		return password
	}
	if p, err := stringprep.SASLprep.Prepare(password); err == nil {
		return p
	}
	if p, err := precis.OpaqueString.String(password); err == nil {
		return p
	}
	return norm.NFC.String(password)
}

// secrets are what is kept of a password; the zero value lets nobody in.
type secrets struct {
	argon2id             string
	salt                 []byte
	iterations           int
	storedKey, serverKey []byte
}

// make derives both kinds of secret. ErrInvalid for a password that is too
// long, not UTF-8, or has control characters, which clients can not send.
func (h *hasher) make(ctx context.Context, password string) (secrets, error) {
	if password == "" {
		return secrets{}, nil
	}
	p := prepare(password)
	if p == "" || len(p) > maxPassword || !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		return secrets{}, fmt.Errorf("password: %w", ErrInvalid)
	}
	s := secrets{salt: make([]byte, saltLen), iterations: scramIterations}
	rand.Read(s.salt) // never fails
	salt := make([]byte, saltLen)
	rand.Read(salt)
	sum, err := h.argon(ctx, p, salt, argonTime, argonMemory, argonThreads, argonLen)
	if err != nil {
		return secrets{}, err
	}
	enc := base64.RawStdEncoding
	s.argon2id = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		enc.EncodeToString(salt), enc.EncodeToString(sum))
	salted, err := pbkdf2.Key(sha256.New, p, s.salt, s.iterations, sha256.Size)
	if err != nil {
		return secrets{}, fmt.Errorf("password: %w", err)
	}
	s.serverKey = hmacSum(salted, "Server Key") // RFC 5802 §3
	stored := sha256.Sum256(hmacSum(salted, "Client Key"))
	s.storedKey = stored[:]
	return s, nil
}

func hmacSum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// store writes the secrets under a new epoch.
func (s secrets) store(ctx context.Context, q querier, account int64) error {
	var argon *string
	var iterations *int
	if s.argon2id != "" {
		argon, iterations = &s.argon2id, &s.iterations
	}
	_, err := q.Exec(ctx, `INSERT INTO credential (account_id, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account_id) DO UPDATE SET epoch = nextval('credential_epoch'), changed_at = now(), argon2id = excluded.argon2id,
			scram_salt = excluded.scram_salt, scram_iterations = excluded.scram_iterations,
			scram_stored_key = excluded.scram_stored_key, scram_server_key = excluded.scram_server_key`,
		account, argon, s.salt, iterations, s.storedKey, s.serverKey)
	return err
}

// nobody is the PHC string that stands in for a user without a password: the
// same cost, and no password has its hash.
var nobody = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
	base64.RawStdEncoding.EncodeToString(make([]byte, saltLen)), base64.RawStdEncoding.EncodeToString(make([]byte, argonLen)))

// verify compares a prepared password with a PHC string, in the same time for "", which nothing matches.
func (h *hasher) verify(ctx context.Context, phc, prepared string) (bool, error) {
	exists := phc != ""
	if !exists {
		phc = nobody
	}
	var version, memory, time, threads int
	f := strings.Split(phc, "$")
	if len(f) != 6 || f[1] != "argon2id" {
		return false, errors.New("stored password is not argon2id")
	}
	if _, err := fmt.Sscanf(f[2]+" "+f[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil {
		return false, fmt.Errorf("stored password: parameters: %w", err)
	}
	if version != argon2.Version {
		return false, fmt.Errorf("stored password: argon2 version %d", version)
	}
	salt, err := base64.RawStdEncoding.DecodeString(f[4])
	if err != nil {
		return false, fmt.Errorf("stored password: salt: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(f[5])
	if err != nil || len(want) < 16 {
		return false, fmt.Errorf("stored password: hash: %w", errors.Join(err, ErrInvalid))
	}
	if len(prepared) > maxPassword {
		prepared, exists = prepared[:maxPassword], false
	}
	got, err := h.argon(ctx, prepared, salt, uint32(time), uint32(memory), uint8(threads), uint32(len(want)))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && exists, nil
}

func (h *hasher) argon(ctx context.Context, password string, salt []byte, time, memory uint32, threads uint8, n uint32) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.hashes.Add(1)
	events.PasswordHashes.Inc()
	return argon2.IDKey([]byte(password), salt, time, memory, threads, n), nil
}
