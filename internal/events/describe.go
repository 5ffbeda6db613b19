package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Describe says in words what happened, without the time and the recipient.
func (e *Event) Describe() string {
	by := e.Remote
	if by == "" {
		by = "the other host"
	}
	switch e.Kind {
	case Received:
		s := "received"
		if e.Remote != "" {
			s += " from " + e.Remote
		}
		return s + e.over() + e.note() + e.measure()
	case Refused:
		if e.Code >= 400 && e.Code < 500 {
			return "refused for now" + e.saying()
		}
		return "refused" + e.saying()
	case Stored:
		return "stored" + e.note()
	case Queued:
		return "put into the queue" + e.note()
	case Delivered:
		return "delivered to " + by + e.over() + e.saying() + e.measure()
	case Deferred:
		if e.Remote == "" && e.Code == 0 {
			return "not delivered yet" + e.saying()
		}
		return "not delivered yet: " + by + e.over() + e.said("did not take it")
	case Bounced:
		if e.Remote == "" && e.Code == 0 {
			return "failed for good" + e.saying()
		}
		return "failed for good: " + by + e.over() + e.said("refused it")
	case Reported:
		return "the sender was sent a report" + e.note()
	case Held:
		return "held by an operator" + e.note()
	case Released:
		return "released by an operator" + e.note()
	case Suppressed:
		return "not sent: the address is on the suppression list" + e.note()
	case Complained:
		return "the recipient's host reports it as spam" + e.note()
	case Captured:
		return "captured here: this server sends nothing out" + e.note()
	}
	return string(e.Kind) + e.saying()
}

// reply is what the other side said.
func (e *Event) reply() string {
	var parts []string
	if e.Code != 0 {
		parts = append(parts, strconv.Itoa(e.Code))
	}
	for _, s := range []string{e.Enhanced, e.Text} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}

func (e *Event) saying() string {
	if r := e.reply(); r != "" {
		return ": " + r
	}
	return ""
}

func (e *Event) said(nothing string) string {
	if e.Code == 0 { // there was no reply: the words are ours
		if e.Text != "" {
			return ": " + e.Text
		}
		return " " + nothing
	}
	return " said " + e.reply()
}

func (e *Event) over() string {
	if e.TLS != "" {
		return " over " + e.TLS
	}
	return ""
}

func (e *Event) note() string {
	if e.Text != "" {
		return " (" + e.Text + ")"
	}
	return ""
}

func (e *Event) measure() string {
	s := ""
	if e.Size != 0 {
		s += fmt.Sprintf(", %d octets", e.Size)
	}
	if e.Duration != 0 {
		s += ", in " + e.Duration.Round(time.Millisecond).String()
	}
	return s
}
