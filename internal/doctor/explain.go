package doctor

import "strings"

// explain says what a line of a server means, for people who do not speak the
// protocol; empty where it speaks for itself. done: it is the last of its answer.
func explain(p Protocol, line string, done bool) string {
	switch p {
	case SMTP:
		if done {
			return explainSMTP(line)
		}
		return explainKeyword(line)
	case IMAP:
		return explainIMAP(line)
	}
	switch {
	case strings.HasPrefix(line, "-ERR [AUTH]"):
		return "user or password is wrong"
	case strings.HasPrefix(line, "-ERR [IN-USE]"):
		return "another session has the mailbox open"
	case strings.HasPrefix(line, "-ERR [SYS"):
		return "something is wrong over there; try later"
	case strings.HasPrefix(line, "-ERR"):
		return "refused"
	case line == "STLS":
		return "it can switch to TLS"
	}
	return ""
}

// codes of SMTP, with the enhanced ones that say more (RFC 5321, RFC 3463).
var codes = []struct{ prefix, means string }{
	{"220 2.0.0", "now TLS begins"}, // a greeting has no enhanced code (RFC 2034 §4)
	{"220", "the server is there and speaks SMTP"},
	{"221", "it takes leave"},
	{"235", "logged in"},
	{"250", "agreed"},
	{"354", "it waits for the message"},
	{"421", "it has no time for us now: too many connections, or it is stopping; try later"},
	{"450 4.2.0", "greylisted, most likely: try again in some minutes"},
	{"450", "not now; try again later"},
	{"451", "something is wrong over there for now; try again later"},
	{"452 4.2.2", "the mailbox is full"},
	{"452", "it is short of room, or a limit is reached; try later"},
	{"454 4.7.0", "logging in does not work there for now"},
	{"454", "TLS does not work there for now"},
	{"500", "it does not know this command: is this the right port?"},
	{"501", "it does not like what stands behind the command"},
	{"502", "it does not offer this command"},
	{"503", "the command came out of order"},
	{"530 5.7.0", "first TLS (STARTTLS), then this"},
	{"530", "first log in, then this"},
	{"534", "it wants a stronger way to log in"},
	{"535", "user or password is wrong"},
	{"538", "logging in is for connections with TLS"},
	{"550 5.1.1", "there is no such mailbox"},
	{"550 5.7.1", "not allowed: it relays for nobody who has not logged in, or a policy forbids it"},
	{"550", "refused: no such mailbox, or a policy forbids it"},
	{"552", "too large, or the mailbox is full"},
	{"553", "it does not like the address, or this sender is not ours to use"},
	{"554", "refused as a whole: mostly the reputation of our address, or of what the message says"},
}

func explainSMTP(line string) string {
	best := ""
	length := 0
	for _, c := range codes {
		if strings.HasPrefix(line, c.prefix) && len(c.prefix) > length {
			best, length = c.means, len(c.prefix)
		}
	}
	return best
}

// explainKeyword is for the lines of an EHLO's answer.
func explainKeyword(line string) string {
	if len(line) < 5 {
		return ""
	}
	word, _, _ := strings.Cut(strings.ToUpper(line[4:]), " ")
	return map[string]string{
		"STARTTLS": "it can switch to TLS", "AUTH": "the ways to log in", "SIZE": "the largest message, in octets",
		"8BITMIME": "umlauts need no encoding", "SMTPUTF8": "addresses may be in any script", "PIPELINING": "commands need not wait for answers",
		"DSN": "it reports on delivery when asked", "CHUNKING": "messages may come in pieces", "REQUIRETLS": "a message can insist on TLS all the way",
	}[word]
}

func explainIMAP(line string) string {
	upper := strings.ToUpper(line)
	switch {
	case strings.HasPrefix(upper, "* BYE"):
		return "the server ends the connection"
	case strings.HasPrefix(upper, "* OK"):
		return "the server is there and speaks IMAP"
	case strings.Contains(upper, " NO [AUTHENTICATIONFAILED]"):
		return "user or password is wrong"
	case strings.Contains(upper, " NO [UNAVAILABLE]"):
		return "something is wrong over there for now; try later"
	case strings.Contains(upper, " NO [PRIVACYREQUIRED]"), strings.HasPrefix(upper, "* CAPABILITY") && strings.Contains(upper, "LOGINDISABLED"):
		return "logging in is for connections with TLS"
	case strings.Contains(upper, " NO "):
		return "refused"
	case strings.Contains(upper, " BAD "):
		return "it does not understand"
	}
	return ""
}
