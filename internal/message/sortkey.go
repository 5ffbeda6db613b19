package message

import "strings"

// maxSubject is how much of a decoded subject makes the sort key, in octets.
const maxSubject = 1000

// BaseSubject is the base subject of RFC 5256 §2.1 of a subject as it stands in
// the header, folded as SORT and THREAD compare it. reply says that something
// was removed that marks a reply or a forwarded message (§3, REFERENCES).
func BaseSubject(raw []byte) (base string, reply bool) {
	s := Fold(clip(DecodeHeader(raw), maxSubject)) // (1); folding makes one space of white space
	for {
		trimmed, fwd := trimTrailers(s) // (2)
		s, reply = trimmed, reply || fwd
		for { // (3) to (5)
			rest, ok := cutLeader(s)
			if ok {
				reply = reply || rest != strings.TrimPrefix(s, " ")
				s = rest
				continue
			}
			if rest, ok = cutBlob(s); ok && hasBase(rest) {
				s = rest
				continue
			}
			break
		}
		inner, ok := strings.CutPrefix(s, "[FWD:") // (6)
		if !ok || !strings.HasSuffix(inner, "]") {
			return s, reply
		}
		s, reply = inner[:len(inner)-1], true
	}
}

// trimTrailers removes all of subj-trailer = "(fwd)" / WSP.
func trimTrailers(s string) (rest string, fwd bool) {
	for {
		s = strings.TrimRight(s, " ")
		cut, ok := strings.CutSuffix(s, "(FWD)")
		if !ok {
			return s, fwd
		}
		s, fwd = cut, true
	}
}

// cutLeader removes one subj-leader = (*subj-blob subj-refwd) / WSP.
func cutLeader(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, " "); ok {
		return rest, true
	}
	for rest := s; ; {
		if after, ok := cutRefwd(rest); ok {
			return after, true
		}
		after, ok := cutBlob(rest)
		if !ok {
			return s, false
		}
		rest = after
	}
}

// cutRefwd removes subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":".
func cutRefwd(s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, "RE")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "FW"); !ok {
			return s, false
		}
		rest = strings.TrimPrefix(rest, "D")
	}
	rest = strings.TrimLeft(rest, " ")
	if after, ok := cutBlob(rest); ok {
		rest = after
	}
	return strings.CutPrefix(rest, ":")
}

// cutBlob removes subj-blob = "[" *BLOBCHAR "]" *WSP.
func cutBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}

// hasBase reports whether a subj-base is left once the leaders are gone.
func hasBase(s string) bool {
	for {
		rest, ok := cutLeader(s)
		if !ok {
			return s != ""
		}
		s = rest
	}
}

// sortMailbox is the key of SORT by FROM or TO: the mailbox of the first address.
func sortMailbox(list []address) string {
	if len(list) == 0 {
		return ""
	}
	return sortText(list[0].mailbox)
}

// sortDisplay is the key of SORT=DISPLAY (RFC 5957 §3): the display name of the
// first address, else its mailbox and host.
func sortDisplay(list []address) string {
	if len(list) == 0 {
		return ""
	}
	a := &list[0]
	if a.role == groupStart {
		return sortText(a.mailbox)
	}
	if name := sortText(a.name); strings.Trim(name, " ") != "" {
		return name
	}
	if len(a.host) == 0 {
		return sortMailbox(list)
	}
	return clip(sortText(a.mailbox)+"@"+sortText(a.host), maxSubject)
}

// sortText decodes and folds the beginning of a text.
func sortText(raw []byte) string {
	return clip(Fold(DecodeHeader(clip(raw, 4*maxSubject))), maxSubject)
}
