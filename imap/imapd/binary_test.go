package imapd

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

const encodedMessage = `Subject: parts
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe =
aus dem Norden
--b
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

AAECAwQFBgcICQ==
--b
Content-Transfer-Encoding: x-uuencode

begin
--b
Content-Type: message/rfc822

Subject: inner
Content-Transfer-Encoding: base64

SGVsbG8=
--b--
`

// RFC 3516.
func TestBinary(t *testing.T) {
	s := newSite(t)
	s.deliver("INBOX", encodedMessage)
	s.deliver("INBOX", "Content-Transfer-Encoding: base64\n\nSGVsbG8=\n")
	p := s.open("INBOX")
	p.run(`
		C: a FETCH 1 (BINARY.SIZE[1] BINARY.SIZE[2] BINARY.SIZE[4.1])
		S: * 1 FETCH (BINARY.SIZE[1] 22 BINARY.SIZE[2] 10 BINARY.SIZE[4.1] 5)
		S: a OK …
		C: a FETCH 1 BINARY.PEEK[1]
		S: * 1 FETCH (BINARY[1] {22}\r\nGrüße aus dem Norden)
		S: a OK …
		C: a FETCH 1 BINARY.PEEK[1]<7.3>
		S: * 1 FETCH (BINARY[1]<7> {3}\r\n au)
		S: a OK …
		C: a FETCH 1 (BINARY.PEEK[1]<20.100> BINARY.PEEK[1]<23.1> BINARY.PEEK[1]<4000000000.4294967295>)
		S: * 1 FETCH (BINARY[1]<20> {2}\r\nen BINARY[1]<23> {0}\r\n BINARY[1]<4000000000> {0}\r\n)
		S: a OK …
		C: a FETCH 1 (BINARY.PEEK[4.1] BINARY.PEEK[9] BINARY.SIZE[9])
		S: * 1 FETCH (BINARY[4.1] {5}\r\nHello BINARY[9] NIL BINARY.SIZE[9] 0)
		S: a OK …
		# what cannot be decoded
		C: a FETCH 1 (UID BINARY.PEEK[3])
		S: * 1 FETCH (UID 1 BINARY[3] NIL)
		S: a NO [UNKNOWN-CTE] …
		C: a FETCH 1 BINARY.SIZE[3]
		S: * 1 FETCH (BINARY.SIZE[3] 0)
		S: a NO [UNKNOWN-CTE] …
		# a message within: its octets
		C: a FETCH 1 BINARY.PEEK[4]<0.14>
		S: * 1 FETCH (BINARY[4]<0> {14}\r\nSubject: inner)
		S: a OK …
		C: a SEARCH SEEN
		S: * SEARCH
		S: a OK …
		# sections that are text: as they are
		C: a FETCH 2 (BINARY.PEEK[TEXT]<2> BINARY.SIZE[header] BINARY.PEEK[HEADER.FIELDS (X)] BINARY.SIZE[HEADER.FIELDS.NOT (X)])
		S: * 2 FETCH (BINARY[TEXT]<2> {8}\r\nVsbG8=\r\n BINARY.SIZE[HEADER] 37 BINARY[HEADER.FIELDS (X)] {2}\r\n\r\n BINARY.SIZE[HEADER.FIELDS.NOT (X)] 37)
		S: a OK …
		C: a FETCH 1 (BINARY.PEEK[4.HEADER]<0.14> BINARY.PEEK[4.HEADER.FIELDS (subject)]<9.5> BINARY.SIZE[9.MIME] BINARY.PEEK[9.HEADER.FIELDS (X)])
		S: * 1 FETCH (BINARY[4.HEADER]<0> {14}\r\nSubject: inner BINARY[4.HEADER.FIELDS (subject)]<9> {5}\r\ninner BINARY.SIZE[9.MIME] 0 BINARY[9.HEADER.FIELDS (X)] NIL)
		S: a OK …
		C: a FETCH 1 BINARY.PEEK[4.HEADERS]
		S: a BAD …
		# without PEEK it sets \Seen
		C: a FETCH 2 BINARY[1]
		S: * 2 FETCH (BINARY[1] {5}\r\nHello FLAGS (\Seen \Recent))
		S: a OK …
		C: a FETCH 2 BINARY.SIZE[]
		S: * 2 FETCH (BINARY.SIZE[] …)
		S: a OK …
		C: a FETCH 1 BINARY[0]
		S: a BAD …
		C: a FETCH 1 BINARY.SIZE[1]<0.1>
		S: a BAD …
		C: a FETCH 1 BINARY
		S: a BAD …
	`)
	p.send("a FETCH 1 BINARY.PEEK[2]\r\n")
	if got, want := p.read(), "* 1 FETCH (BINARY[2] ~{10}\\r\\n\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09)"; got != want {
		t.Errorf("got %q", got)
	}
	p.run(`S: a OK …`)
}

// A large part, in pieces.
func TestBinaryLarge(t *testing.T) {
	s := newSite(t)
	data := strings.Repeat("0123456789abcdef\x00", 60_000)
	encoded := base64.StdEncoding.EncodeToString([]byte(data))
	var lines strings.Builder
	for len(encoded) > 76 {
		lines.WriteString(encoded[:76] + "\n")
		encoded = encoded[76:]
	}
	s.deliver("INBOX", "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"+lines.String()+encoded+"\n")
	c := s.client()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	section := &imap.FetchItemBinarySection{Part: []int{1}, Peek: true}
	size := &imap.FetchItemBinarySectionSize{Part: []int{1}}
	msgs := need[[]*imapclient.FetchMessageBuffer](t)(c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BinarySection: []*imap.FetchItemBinarySection{section},
		BinarySectionSize: []*imap.FetchItemBinarySectionSize{size}}).Collect())
	if len(msgs) != 1 || string(msgs[0].FindBinarySection(section)) != data || len(msgs[0].BinarySectionSize) != 1 || int(msgs[0].BinarySectionSize[0].Size) != len(data) {
		t.Fatal("the decoded part differs")
	}
	p := s.open("INBOX")
	at := 1_000_000
	p.run(fmt.Sprintf(`
		C: a FETCH 1 BINARY.PEEK[1]<%d.5>
		S: * 1 FETCH (BINARY[1]<%d> …)
		S: a OK …`, at, at))
}
