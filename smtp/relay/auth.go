package relay

import (
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"posthouse/internal/mail"
)

// maxSteps bounds an exchange of challenges.
const maxSteps = 6

// login authenticates us where the route says so. Whatever goes wrong is a
// mistake of ours or a fault of the next hop: mail waits until it is mended.
func (s *Session) login() *Failure {
	l := s.route.Auth
	if l == nil {
		return nil
	}
	if s.state == nil && s.addr.IsValid() && !s.addr.Addr().IsLoopback() {
		return s.noLogin(mail.Enhanced{4, 7, 11}, "a password is not sent in clear, and there is no TLS")
	}
	client, name, err := s.mechanism(l)
	if err != nil {
		return s.noLogin(mail.Enhanced{4, 7, 8}, err.Error())
	}
	_, response, err := client.Start()
	if err != nil {
		return s.noLogin(mail.Enhanced{4, 7, 8}, err.Error())
	}
	line := "AUTH " + name
	if response != nil {
		line += " " + encode(response)
	}
	for range maxSteps {
		if f := s.command(StageAuth, s.r.Timeouts.Auth, line); f != nil {
			return f
		}
		if s.reply.code == 235 {
			if c, ok := client.(*scramClient); ok && !c.conversation.Valid() {
				return s.noLogin(mail.Enhanced{4, 7, 8}, "the host has not proved that it knows the password")
			}
			return nil
		}
		if s.reply.code != 334 {
			f := s.refused(StageAuth)
			f.Outcome = Deferred
			return f
		}
		challenge, err := base64.StdEncoding.DecodeString(string(s.reply.text))
		if err == nil {
			response, err = client.Next(challenge)
		}
		if err != nil {
			s.usable = false
			return s.noLogin(mail.Enhanced{4, 7, 8}, err.Error())
		}
		line = base64.StdEncoding.EncodeToString(response)
	}
	s.usable = false
	return s.noLogin(mail.Enhanced{4, 7, 8}, "AUTH does not end")
}

func (s *Session) noLogin(enhanced mail.Enhanced, why string) *Failure {
	return fail(Deferred, StageAuth, enhanced, "no login: "+why, nil)
}

// encode is an initial response, where "=" stands for one that is empty
// (RFC 4954 §4).
func encode(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// mechanism takes the best that the host offers.
func (s *Session) mechanism(l *Login) (sasl.Client, string, error) {
	switch {
	case slices.Contains(s.ext.auth, "SCRAM-SHA-256"):
		client, err := scram.SHA256.NewClient(l.User, l.Password, "")
		if err != nil {
			return nil, "", fmt.Errorf("user or password: %w", err)
		}
		return &scramClient{client.NewConversation()}, "SCRAM-SHA-256", nil
	case slices.Contains(s.ext.auth, "PLAIN"):
		return sasl.NewPlainClient("", l.User, l.Password), "PLAIN", nil
	case slices.Contains(s.ext.auth, "LOGIN"):
		return &loginClient{*l, 0}, "LOGIN", nil
	}
	return nil, "", fmt.Errorf("the host offers no mechanism of ours (%q)", s.ext.auth)
}

// scramClient is SCRAM (RFC 5802) as a sasl.Client.
type scramClient struct{ conversation *scram.ClientConversation }

func (c *scramClient) Start() (string, []byte, error) {
	first, err := c.conversation.Step("")
	return "SCRAM-SHA-256", []byte(first), err
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	next, err := c.conversation.Step(string(challenge))
	return []byte(next), err
}

// loginClient is LOGIN, which nobody has specified: the first challenge is for
// the user and the second for the password, whatever they say.
type loginClient struct {
	Login
	asked int
}

func (c *loginClient) Start() (string, []byte, error) { return "LOGIN", nil, nil }

func (c *loginClient) Next([]byte) ([]byte, error) {
	c.asked++
	switch c.asked {
	case 1:
		return []byte(c.User), nil
	case 2:
		return []byte(c.Password), nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}
