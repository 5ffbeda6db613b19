package pop3

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"posthouse/internal/directory"
	"posthouse/mailstore"
)

// mayAuth reports whether passwords may be sent: under TLS, or where there is no network.
func (s *session) mayAuth() bool { return s.tls != nil || s.srv.AllowPlainAuth }

func (s *session) client() directory.Client {
	c := directory.Client{Remote: s.remote, Protocol: "pop3", TLS: s.tls != nil}
	if s.tls != nil {
		cs := s.tls.ConnectionState()
		c.TLSState, c.Certificate = &cs, s.cert
	}
	return c
}

// cmdStls is STLS (RFC 2595 §4). Commands that were sent in the clear behind it
// could be somebody else's: they are dropped unread (CVE-2011-0411).
func (s *session) cmdStls(ctx context.Context, arg string) {
	switch {
	case arg != "":
		s.wrong("STLS takes no argument")
		return
	case s.tls != nil:
		s.wrong("TLS is active already")
		return
	case s.srv.TLS == nil:
		s.wrong("TLS is not available")
		return
	}
	s.ok("Begin TLS negotiation now")
	if s.w.Flush() != nil || s.handshake(ctx) != nil {
		s.end = gone // half a handshake: no telling what the peer would read
		return
	}
	// RFC 2595 §4: what was said before is forgotten.
	s.user = ""
}

// handshake puts the lines under TLS. Those read before are gone.
func (s *session) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(30*time.Second, s.srv.Timeouts.Login))
	defer cancel()
	s.conn.deadline(time.Now().Add(time.Minute))
	c, cert, err := s.srv.tls.Handshake(ctx, s.conn)
	if err != nil {
		s.log.Debug("TLS handshake failed", "event", "pop3.tls", "error", err)
		return err
	}
	s.tls, s.cert = c, cert
	s.lines = newLines(s.conn, c)
	return nil
}

// cmdUTF8 is UTF8 (RFC 6856 §2.1): messages are sent as they are anyway.
func (s *session) cmdUTF8(_ context.Context, arg string) {
	if arg != "" {
		s.wrong("UTF8 takes no argument")
		return
	}
	s.ok("UTF8 enabled")
}

// cmdUser is USER (RFC 1939 §7). Every name is welcome until PASS.
func (s *session) cmdUser(_ context.Context, arg string) {
	switch {
	case !s.mayAuth():
		s.wrong("[SYS/PERM] Use STLS first")
	case arg == "":
		s.wrong("USER takes a name")
	case !utf8.ValidString(arg):
		s.wrong("[UTF8] Names are in UTF-8") // RFC 6856 §4
	default:
		s.user = arg
		s.ok("Send PASS")
	}
}

// cmdPass is PASS (RFC 1939 §7): all of the line is the password, spaces too.
func (s *session) cmdPass(ctx context.Context, arg string) {
	user := s.user
	s.user = ""
	switch {
	case !s.mayAuth():
		s.wrong("[SYS/PERM] Use STLS first")
	case user == "":
		s.wrong("Send USER first")
	default:
		a, err := s.srv.Directory.Authenticate(ctx, user, arg, s.client())
		s.login(ctx, a, err)
	}
}

// cmdAuth is AUTH (RFC 5034); without a mechanism it lists them, as old clients ask.
func (s *session) cmdAuth(ctx context.Context, arg string) {
	mech, initial, hasInitial := strings.Cut(arg, " ")
	if !s.mayAuth() {
		s.wrong("[SYS/PERM] Use STLS first")
		return
	}
	if mech == "" {
		s.ok("Mechanisms follow")
		for _, m := range s.srv.Directory.Mechanisms(s.client()) {
			fmt.Fprintf(s.w, "%s\r\n", m)
		}
		s.w.WriteString(".\r\n")
		return
	}
	x, err := s.srv.Directory.NewExchange(mech, s.client())
	if err != nil {
		s.wrong("Unknown mechanism")
		return
	}
	var response []byte
	if hasInitial {
		if response, err = decodeSASL(initial); err != nil {
			s.wrong("That is not base64")
			return
		}
	}
	s.exchange(ctx, x, response)
}

// exchange runs the mechanism to its end.
func (s *session) exchange(ctx context.Context, x *directory.Exchange, response []byte) {
	for {
		challenge, done, err := x.Next(ctx, response)
		if done || err != nil {
			s.login(ctx, x.Account(), err)
			return
		}
		fmt.Fprintf(s.w, "+ %s\r\n", base64.StdEncoding.EncodeToString(challenge))
		line, err := s.read(maxSASL, s.start.Add(s.srv.Timeouts.Login), s.srv.Timeouts.Line)
		if err != nil {
			s.lineFailed(err)
			return
		}
		if string(line) == "*" { // RFC 5034 §4
			s.wrong("Cancelled")
			return
		}
		if response, err = base64.StdEncoding.DecodeString(string(line)); err != nil {
			s.wrong("That is not base64")
			return
		}
		if response == nil {
			response = []byte{}
		}
	}
}

// decodeSASL decodes an initial response; "=" is one that is there and empty.
func decodeSASL(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if b == nil {
		b = []byte{}
	}
	return b, err
}

// login answers an attempt, and opens the maildrop of one that succeeded.
func (s *session) login(ctx context.Context, a directory.Account, err error) {
	_, throttled := errors.AsType[*directory.Throttled](err)
	switch {
	case err == nil:
		s.enter(ctx, a)
		return
	case errors.Is(err, directory.ErrMalformed):
		s.wrong("That is no response of this mechanism")
		return
	case errors.Is(err, directory.ErrBadCredentials):
		s.fail("[AUTH] Wrong name or password") // RFC 3206 §4
	case errors.Is(err, directory.ErrChannelBinding):
		s.fail("[AUTH] The channel binding does not fit this connection")
	case errors.Is(err, directory.ErrDisabled):
		s.fail("[SYS/PERM] This account is disabled")
	case throttled:
		s.fail("[SYS/TEMP] Too many failed logins, try again later")
	default:
		s.log.Error("login failed", "event", "pop3.login", "error", err)
		s.fail("[SYS/TEMP] Logins are not possible now")
	}
	if s.failures++; s.failures >= maxFailures {
		s.end = refused
	}
}

// enter begins the transaction state.
func (s *session) enter(ctx context.Context, a directory.Account) {
	release := func() {}
	if s.srv.Admission != nil {
		var ok bool
		if release, ok = s.srv.Admission.AdmitAccount(a.ID); !ok {
			s.fail("[SYS/TEMP] This account has too many connections")
			return
		}
	}
	drop, err := s.srv.Store.OpenMaildrop(ctx, mailstore.AccountID(a.ID))
	if err != nil {
		release()
		if errors.Is(err, mailstore.ErrInUse) {
			s.fail("[IN-USE] Another session has the maildrop") // RFC 2449 §8.1.2
		} else {
			s.failed("The maildrop could not be opened", err)
		}
		return
	}
	s.atEnd = append(s.atEnd, release)
	s.account, s.drop, s.state = a, drop, transaction
	s.deleted = make([]bool, drop.Len())
	s.reset()
	s.watch()
	s.ok("Maildrop has %d messages (%d octets)", s.left, s.leftSize)
}

// watch ends the session when its password is changed or its lease is lost.
func (s *session) watch() {
	revocation, forget := s.srv.Directory.Revoked(s.account.ID)
	over := make(chan struct{})
	s.atEnd = append(s.atEnd, forget, func() { close(over) })
	lost := s.drop.Lost()
	s.watching.Go(func() {
		select {
		case <-revocation:
			s.expel(revoked)
		case <-lost:
			s.expel(broken)
		case <-over:
		}
	})
}
