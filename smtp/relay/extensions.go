package relay

import (
	"bytes"
	"strconv"
	"strings"
)

// extensions are what a next hop offers in its reply to EHLO.
type extensions struct {
	pipelining, eightBit, smtputf8, chunking, binary, startTLS, dsn, requireTLS, priority, deliverBy bool

	sized     bool
	size      int64 // most octets; 0: no limit is known
	deliverIn int64 // RFC 2852 §2: least seconds in mode R; 0: any
	auth      []string
	rcptMax   int // RFC 9422; 0: not said
	mailMax   int
}

// parseExtensions reads the lines behind the first. Keywords are written in any
// case (RFC 5321 §2.4), and what we cannot read was not offered.
func parseExtensions(text []byte) (x extensions) {
	first := true
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if first {
			first = false
			continue
		}
		fields := strings.Fields(strings.ToUpper(string(line)))
		if len(fields) == 0 {
			continue
		}
		arg := ""
		if len(fields) > 1 {
			arg = fields[1]
		}
		switch fields[0] {
		case "PIPELINING":
			x.pipelining = true
		case "8BITMIME":
			x.eightBit = true
		case "SMTPUTF8":
			x.smtputf8 = true
		case "CHUNKING":
			x.chunking = true
		case "BINARYMIME":
			x.binary = true
		case "STARTTLS":
			x.startTLS = true
		case "DSN":
			x.dsn = true
		case "REQUIRETLS":
			x.requireTLS = true
		case "MT-PRIORITY":
			x.priority = true
		case "DELIVERBY":
			x.deliverBy = true
			x.deliverIn = number(arg)
		case "SIZE":
			x.sized = true
			x.size = number(arg)
		case "AUTH":
			x.auth = append(x.auth, fields[1:]...)
		case "LIMITS":
			x.limits(fields[1:])
		default:
			if list, ok := strings.CutPrefix(fields[0], "AUTH="); ok { // before RFC 2554
				x.auth = append(append(x.auth, list), fields[1:]...)
			}
		}
	}
	return x
}

func (x *extensions) limits(list []string) {
	for _, l := range list {
		name, value, _ := strings.Cut(l, "=")
		switch n := int(min(number(value), 1<<20)); name {
		case "RCPTMAX":
			x.rcptMax = n
		case "MAILMAX":
			x.mailMax = n
		}
	}
}

// number reads a parameter; what is none is 0.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
