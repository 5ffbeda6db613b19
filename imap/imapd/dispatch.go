package imapd

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"posthouse/internal/events"
)

// A client that sends this many wrong commands in a row is closed.
const (
	maxBadGuest = 10
	maxBadUser  = 50
)

// command reads, runs and answers one command.
func (s *session) command(ctx context.Context) error {
	s.lex.Begin()
	s.count++
	s.named, s.placed = s.named[:0], nil
	c := &command{lex: s.lex, metric: "unknown", begun: time.Now()}
	spec, err := s.header(c)
	if err == nil && spec.in == selected {
		err = s.recheck(ctx)
	}
	if err == nil {
		err = spec.run(s, ctx, c)
	}
	if errors.Is(err, errClosed) {
		return err // not another octet
	}
	if lost := s.lex.Skip(); lost != nil {
		return lost
	}
	if err == nil && s.lex.Err() != nil {
		return s.lex.Err()
	}
	if s.box != nil && !s.over {
		if lost := s.sync(ctx, spec.noExpunge); lost != nil {
			// What became of the command is told all the same.
			return errors.Join(s.answer(c, err), lost)
		}
	}
	if !s.over {
		s.notices(ctx)
	}
	return s.answer(c, err)
}

// header reads the tag and the name, and finds the command.
func (s *session) header(c *command) (commandSpec, error) {
	tag, err := s.lex.Tag()
	if err != nil {
		return commandSpec{}, s.stranger(err)
	}
	if s.count == 1 && (otherProtocol[strings.ToUpper(tag)] || strings.HasPrefix(tag, "SSH-")) {
		return commandSpec{}, errClosed // TRUST row 15: not even a banner for it
	}
	c.tag = tag
	if err := s.lex.SP(); err != nil {
		return commandSpec{}, err
	}
	name, err := s.lex.Keyword()
	if err != nil {
		return commandSpec{}, err
	}
	if name == "UID" {
		if err := s.lex.SP(); err != nil {
			return commandSpec{}, err
		}
		if name, err = s.lex.Keyword(); err != nil {
			return commandSpec{}, err
		}
		c.uid = true
	}
	c.name = name
	if c.uid {
		name = "UID " + name
	}
	spec, ok := commands[name]
	if !ok {
		return spec, bad("Unknown command")
	}
	c.metric = name
	if spec.in&s.state == 0 {
		return spec, bad("%s is not allowed now", name)
	}
	if s.lex.Accept(' ') && s.lex.AtEnd() { // a space too many
		return spec, s.lex.Err()
	}
	return spec, s.lex.Err()
}

// otherProtocol are first words of those who mistake us for a web or mail server.
var otherProtocol = map[string]bool{"GET": true, "POST": true, "HEAD": true, "PUT": true, "OPTIONS": true,
	"CONNECT": true, "DELETE": true, "PATCH": true, "TRACE": true, "PRI": true, "HELO": true, "EHLO": true}

// stranger closes at once on whoever begins with something else than IMAP.
func (s *session) stranger(err error) error {
	if s.count == 1 && s.lex.Err() == nil && s.lex.Peek() < ' ' && !s.lex.AtEnd() {
		return errClosed
	}
	return err
}

// answer writes the tagged response. An error ends the session.
func (s *session) answer(c *command, err error) error {
	result := imap.StatusResponseTypeOK
	defer func() { c.count(result) }()
	if err == nil && c.answered {
		return nil
	}
	if err == nil {
		s.bad = 0
		text := c.text
		if text == "" {
			text = c.name + " completed"
		}
		s.tagged(c, imap.StatusResponseTypeOK, c.code, text)
		return s.enc.Flush()
	}
	if s.lex.Err() != nil || s.enc.Err() != nil {
		return err
	}
	answer, ours := refusal(err)
	result = answer.Type
	if ours {
		s.log.Error("command failed", "event", "imap.error", "command", c.name, "error", err)
	}
	if answer.Type == imap.StatusResponseTypeBye {
		return answer
	}
	s.tagged(c, answer.Type, string(answer.Code), answer.Text)
	if err := s.enc.Flush(); err != nil {
		return err
	}
	if answer.Type != imap.StatusResponseTypeBad {
		return nil
	}
	if s.bad++; s.bad >= maxBadUser || s.state == guest && s.bad >= maxBadGuest {
		return bye("", "Too many wrong commands")
	}
	return nil
}

func (s *session) tagged(c *command, status imap.StatusResponseType, code, text string) {
	tag := c.tag
	if tag == "" {
		tag = "*"
	}
	s.enc.Raw(tag + " " + string(status) + " " + bracket(code) + text + "\r\n")
}

// count notes the command in the metrics.
func (c *command) count(result imap.StatusResponseType) {
	events.IMAPCommands.WithLabelValues(c.metric, string(result)).Inc()
	if c.metric != "IDLE" {
		events.IMAPSeconds.WithLabelValues(c.metric).Observe(time.Since(c.begun).Seconds())
	}
}
