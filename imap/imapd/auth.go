package imapd

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/imap/wire"
	"posthouse/internal/directory"
)

// maxSASL bounds one line of a SASL exchange, in octets (RFC 4954 §4 has the
// same bound for SMTP).
const maxSASL = 12288

// capScramPlus offers to bind a login to its connection. A client that can and does
// not see the offer says so, which is a sign of an attack where it was made (RFC
// 5802 §6).
const capScramPlus imap.Cap = "AUTH=SCRAM-SHA-256-PLUS"

// maxFailures is how many wrong passwords end a connection.
const maxFailures = 5

// client is who asks to log in.
func (s *session) client() directory.Client {
	c := directory.Client{Remote: s.remote, Protocol: "imap"}
	if s.tls != nil {
		state := s.tls.ConnectionState()
		c.TLS, c.TLSState, c.Certificate = true, &state, s.cert
		c.PlusHidden = s.masked()(capScramPlus)
	}
	return c
}

// mayPlain reports whether a password may come as it is (RFC 8314: not without TLS).
func (s *session) mayPlain() bool { return s.tls != nil || s.srv.AllowPlainAuth }

var errPrivacy = no(imap.ResponseCodePrivacyRequired, "Not without TLS: use STARTTLS first")

// plainMechanisms show the password to whoever listens.
var plainMechanisms = map[string]bool{"PLAIN": true, "LOGIN": true, "OAUTHBEARER": true, "XOAUTH2": true}

// mechanisms are the SASL mechanisms that the client may use now.
func (s *session) mechanisms() []string {
	if s.srv.Directory == nil {
		return nil
	}
	var allowed []string
	for _, m := range s.srv.Directory.Mechanisms(s.client()) {
		if s.mayPlain() || !plainMechanisms[m] {
			allowed = append(allowed, m)
		}
	}
	return allowed
}

// cmdLogin is LOGIN (RFC 3501 §6.2.3).
func (s *session) cmdLogin(ctx context.Context, c *command) error {
	name, err := c.lex.Astring()
	if err != nil {
		return err
	}
	if err := c.lex.SP(); err != nil {
		return err
	}
	password, err := c.lex.Astring()
	if err != nil {
		return err
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if !s.mayPlain() {
		return errPrivacy
	}
	account, err := s.srv.Directory.Authenticate(ctx, name, password, s.client())
	if err != nil {
		return s.failedLogin(err)
	}
	return s.login(ctx, c, account, "LOGIN")
}

// cmdAuthenticate is AUTHENTICATE (RFC 3501 §6.2.2) with an initial response
// (RFC 4959).
func (s *session) cmdAuthenticate(ctx context.Context, c *command) error {
	mech, err := c.lex.Keyword()
	if err != nil {
		return err
	}
	var response []byte // nil: none yet
	if c.lex.Accept(' ') {
		text, err := c.lex.Take(&saslChars, maxSASL)
		if err != nil {
			return err
		}
		if response, err = decodeSASL(text); err != nil {
			return err
		}
	}
	if err := c.lex.End(); err != nil {
		return err
	}
	if !s.mayPlain() && plainMechanisms[mech] {
		return errPrivacy
	}
	if s.srv.Directory == nil { // nobody can log in here
		return no(imap.ResponseCodeCannot, "Unsupported mechanism")
	}
	exchange, err := s.srv.Directory.NewExchange(mech, s.client())
	if err != nil {
		return no(imap.ResponseCodeCannot, "Unsupported mechanism")
	}
	for {
		challenge, done, err := exchange.Next(ctx, response)
		if err != nil {
			return s.failedLogin(err)
		}
		if done {
			return s.login(ctx, c, exchange.Account(), mech)
		}
		if response, err = s.respond(c, challenge); err != nil {
			return err
		}
	}
}

var saslChars = func() (set wire.Class) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") {
		set[c] = true
	}
	return set
}()

// respond sends a challenge and reads the answer to it.
func (s *session) respond(c *command, challenge []byte) ([]byte, error) {
	s.enc.Raw("+ " + base64.StdEncoding.EncodeToString(challenge) + "\r\n")
	if err := s.enc.Flush(); err != nil {
		return nil, err
	}
	line, err := c.lex.Line(maxSASL)
	if err != nil {
		return nil, err
	}
	if line == "*" {
		return nil, bad("AUTHENTICATE cancelled")
	}
	if line == "" {
		return []byte{}, nil
	}
	return decodeSASL(line)
}

// decodeSASL reads base64; "=" stands for an empty response that is there.
func decodeSASL(text string) ([]byte, error) {
	if text == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, wire.Syntaxf("malformed base64")
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// failedLogin is the answer to an error of the directory.
func (s *session) failedLogin(err error) error {
	if throttled, ok := errors.AsType[*directory.Throttled](err); ok {
		s.log.Warn("login throttled", "event", "imap.login", "error", err)
		return no(imap.ResponseCodeUnavailable, "Too many failed logins, try again in %s", throttled.RetryAfter.Round(time.Second))
	}
	if errors.Is(err, directory.ErrMalformed) {
		return bad("Malformed response")
	}
	if errors.Is(err, directory.ErrBadCredentials) || errors.Is(err, directory.ErrDisabled) || errors.Is(err, directory.ErrChannelBinding) {
		s.log.Info("login failed", "event", "imap.login", "error", err)
		if s.failures++; s.failures >= maxFailures {
			return bye(imap.ResponseCodeAuthenticationFailed, "Too many failed logins")
		}
	}
	return err
}

// login enters the authenticated state. The new capabilities come with the OK.
func (s *session) login(ctx context.Context, c *command, account directory.Account, how string) error {
	if s.srv.Admission != nil {
		release, ok := s.srv.Admission.AdmitAccount(account.ID)
		if !ok {
			return no(imap.ResponseCodeLimit, "Too many connections of this account")
		}
		s.onEnd(release)
	}
	s.account, s.state = account, user
	s.log = s.log.With("account", account.Address.String())
	s.lex.Limits = wire.User
	s.onEnd(s.srv.revocations.watch(s))
	s.log.Info("login", "event", "imap.login", "mechanism", strings.ToUpper(how), "tls", s.tls != nil)
	c.code, c.text = s.capabilityText(), "Logged in"
	return nil
}
