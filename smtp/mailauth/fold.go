package mailauth

import "strings"

// folder writes a header field in lines of at most 76 octets where its parts
// allow it.
type folder struct {
	out  []byte
	line int // octets in the current line
}

const foldAt = 76

// add writes a part that is not broken; its leading blank may become a fold.
func (f *folder) add(part string) {
	if f.line > 0 && f.line+len(part) > foldAt {
		f.fold()
		part = strings.TrimPrefix(part, " ")
	}
	f.out = append(f.out, part...)
	f.line += len(part)
}

// list writes names between colons, folded behind a colon: blanks may stand
// there (RFC 6376 §3.5, sig-h-tag).
func (f *folder) list(tag, names string) {
	f.add(tag)
	for name := range strings.SplitAfterSeq(names, ":") {
		f.add(name)
	}
}

// text writes base64, broken where a line is full (RFC 6376 §2.10: blanks in it
// are nothing).
func (f *folder) text(s string) {
	for {
		n := min(len(s), max(foldAt-f.line, 0))
		f.out = append(f.out, s[:n]...)
		f.line += n
		if s = s[n:]; s == "" {
			return
		}
		f.fold()
	}
}

func (f *folder) fold() {
	f.out = append(f.out, "\r\n\t"...)
	f.line = 1
}
