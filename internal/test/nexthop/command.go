package nexthop

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// command serves one command and says whether the session goes on.
func (s *Session) command(verb, arg string) bool {
	script := &s.hop.script
	switch verb {
	case "EHLO", "HELO", "LHLO":
		s.message = nil
		s.greeted(arg)
		if (verb == "LHLO") != script.LMTP {
			return s.say(verb, arg, "500 5.5.1 not spoken here")
		}
		if verb == "HELO" {
			return s.say(verb, arg, "250 "+script.Name)
		}
		return s.say(verb, arg, s.hello())
	case "STARTTLS":
		return s.starttls()
	case "AUTH":
		return s.auth(arg)
	case "MAIL":
		return s.mail(arg)
	case "RCPT":
		return s.rcpt(arg)
	case "DATA":
		return s.data()
	case "BDAT":
		return s.bdat(arg)
	case "RSET":
		s.message, s.chunking = nil, false
		return s.say(verb, arg, "250 2.0.0 reset")
	case "NOOP":
		return s.say(verb, arg, "250 2.0.0 fine")
	case "VRFY":
		return s.say(verb, arg, "252 2.5.2 perhaps")
	case "QUIT":
		reply := s.scripted(verb, arg)
		if reply == "" {
			reply = "221 2.0.0 bye"
		}
		s.send(reply)
		return false
	}
	return s.say(verb, arg, "500 5.5.1 unknown command")
}

// greeted keeps the client's name.
func (s *Session) greeted(name string) {
	s.hop.mu.Lock()
	defer s.hop.mu.Unlock()
	s.Helo = name
	s.hop.change()
}

func (s *Session) starttls() bool {
	script := &s.hop.script
	if script.TLS == nil || script.Strip || s.TLS != nil {
		return s.say("STARTTLS", "", "502 5.5.1 not offered")
	}
	reply := s.scripted("STARTTLS", "")
	if reply == "" {
		reply = "220 2.0.0 go ahead\r\n" + script.Inject
		if _, err := io.WriteString(s.nc, reply); err != nil {
			return false
		}
	} else if !s.send(reply) {
		return false
	} else if !strings.HasPrefix(reply, "220") {
		return true
	}
	if !s.handshake() {
		return false
	}
	s.message = nil
	s.greeted("")
	s.r.Reset(s.nc) // what came in the clear is dropped
	return true
}

// auth is AUTH PLAIN and AUTH LOGIN, with and without an initial response.
func (s *Session) auth(arg string) bool {
	if s.hop.script.Auth == nil {
		return s.say("AUTH", arg, "502 5.5.1 not offered")
	}
	if reply := s.scripted("AUTH", arg); reply != "" {
		return s.send(reply)
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	ask := func(challenge string) ([]byte, bool) {
		text := initial
		if !given {
			if !s.send("334 " + base64.StdEncoding.EncodeToString([]byte(challenge))) {
				return nil, false
			}
			var err error
			if text, err = s.line(); err != nil {
				return nil, false
			}
		}
		given = false
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "="))
		return raw, err == nil
	}
	var user, password string
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		raw, ok := ask("")
		parts := bytes.Split(raw, []byte{0})
		if !ok || len(parts) != 3 {
			return s.send("501 5.5.2 what is that")
		}
		user, password = string(parts[1]), string(parts[2])
	case "LOGIN":
		name, ok := ask("Username:")
		if !ok {
			return s.send("501 5.5.2 what is that")
		}
		secret, ok := ask("Password:")
		if !ok {
			return s.send("501 5.5.2 what is that")
		}
		user, password = string(name), string(secret)
	default:
		return s.send("504 5.5.4 no such mechanism")
	}
	if want, ok := s.hop.script.Auth[user]; !ok || want != password {
		return s.send("535 5.7.8 no")
	}
	s.User = user
	return s.send("235 2.7.0 welcome")
}

func (s *Session) mail(arg string) bool {
	path, params := split(strings.TrimPrefix(strings.ToUpper(arg[:min(5, len(arg))]), "FROM:") + arg[min(5, len(arg)):])
	m := &Message{Session: s.N, From: path, Params: params, Helo: s.Helo, User: s.User, LMTP: s.hop.script.LMTP, TLS: s.TLS}
	s.Rcpts = 0
	reply := s.scripted("MAIL", arg)
	if reply == "" {
		reply = "250 2.1.0 sender fine"
		if s.message != nil {
			reply = "503 5.5.1 nested MAIL"
		}
	}
	if reply[0] == '2' {
		s.message, s.chunking = m, false
		s.Transactions++
	}
	return s.send(reply)
}

func (s *Session) rcpt(arg string) bool {
	path, params := split(strings.TrimPrefix(strings.ToUpper(arg[:min(3, len(arg))]), "TO:") + arg[min(3, len(arg)):])
	s.Rcpts++
	reply := s.forAddress("RCPT", arg, path, s.hop.script.Rcpt)
	if reply == "" {
		reply = "250 2.1.5 recipient fine"
		if s.message == nil {
			reply = "503 5.5.1 MAIL first"
		}
	}
	if reply[0] == '2' && s.message != nil {
		s.message.Rcpts = append(s.message.Rcpts, Rcpt{Address: path, Params: params})
	}
	return s.send(reply)
}

// ready says why content cannot come now, or nothing.
func (s *Session) ready() string {
	switch {
	case s.message == nil:
		return "503 5.5.1 MAIL first"
	case len(s.message.Rcpts) == 0:
		return "554 5.5.1 no valid recipients"
	}
	return ""
}

func (s *Session) data() bool {
	reply := s.scripted("DATA", "")
	if reply == "" {
		reply = s.ready()
	}
	if reply == "" {
		reply = "354 go ahead"
	}
	if !s.send(reply) {
		return false
	}
	if reply[0] != '3' {
		return true
	}
	if body := s.scripted("BODY", ""); body == Stall {
		<-s.hop.done // nothing is read, and the client's writes get stuck
		return false
	} else if body != "" {
		return s.send(body)
	}
	octets, err := s.content()
	if err != nil {
		return false
	}
	m := s.message
	s.message = nil
	if m == nil { // a script that said 354 to nothing
		return s.say("DOT", "", "503 5.5.1 MAIL first")
	}
	m.Octets = octets
	return s.dot(m)
}

func (s *Session) bdat(arg string) bool {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.ParseInt(size, 10, 63)
	if err != nil || n > 1<<30 {
		s.send("501 5.5.4 no size" + Close)
		return false
	}
	if body := s.scripted("BODY", ""); body == Stall {
		<-s.hop.done
		return false
	} else if body != "" && !s.send(body) {
		return false
	}
	chunk := make([]byte, n)
	if _, err := io.ReadFull(s.r, chunk); err != nil {
		return false
	}
	reply := s.scripted("BDAT", arg)
	if reply == "" {
		reply = s.ready()
	}
	if reply != "" && reply[0] != '2' {
		s.message = nil // RFC 3030 §2: the transaction has failed
		return s.send(reply)
	}
	s.message.Octets = append(s.message.Octets, chunk...)
	s.message.Chunks++
	if !strings.EqualFold(last, "LAST") {
		if reply == "" {
			reply = fmt.Sprintf("250 2.0.0 %d octets", n)
		}
		return s.send(reply)
	}
	m := s.message
	s.message = nil
	return s.dot(m)
}
