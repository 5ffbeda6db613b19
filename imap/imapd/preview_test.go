package imapd

import "testing"

// RFC 8970.
func TestPreview(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", "Subject: one\n\nThis is\n   the   text.\n")
	s.deliver("INBOX", "Subject: nothing\n\n")
	s.deliver("INBOX", "Content-Type: text/html; charset=utf-8\n\n<p>Gr\u00fc\u00dfe</p><style>p{}</style>\n")
	p := s.open("INBOX")
	p.run(`
		C: a FETCH 1 PREVIEW
		S: * 1 FETCH (PREVIEW "This is the text.")
		S: a OK …
		C: a FETCH 1 PREVIEW (LAZY)
		S: * 1 FETCH (PREVIEW "This is the text.")
		S: a OK …
		C: a FETCH 1:2 (PREVIEW (LAZY) RFC822.SIZE)
		S: * 1 FETCH (PREVIEW "This is the text." RFC822.SIZE …)
		S: * 2 FETCH (PREVIEW "" RFC822.SIZE …)
		S: a OK …
		C: a UID FETCH 3 (PREVIEW UID)
		S: * 3 FETCH (PREVIEW {7}\r\nGrüße UID 3)
		S: a OK …
		# no \Seen by it
		C: a SEARCH SEEN
		S: * SEARCH
		S: a OK …
		C: a FETCH 1 (PREVIEW (BUSY))
		S: a BAD …
		C: a FETCH 1 FLAGS (LAZY)
		S: a BAD …
		C: a FETCH 1 (PREVIEW (LAZY)
		S: a BAD …
	`)
}
