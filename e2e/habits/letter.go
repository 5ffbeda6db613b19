package habits

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"regexp"
)

// domain ends the Message-IDs of our letters.
const domain = "@habits.example.org"

// marked finds the mark of a letter in a header or a whole message.
var marked = regexp.MustCompile(`(?i)Message-ID: <([^>@]+)` + domain + `>`)

// first is the field that letters begin with; what stands before it was added
// by the server.
const first = "X-Mark: "

// compose makes a letter. Most are short, one in ten needs several pieces of
// 64 KiB.
func compose(r *rand.Rand, mark, to string) []byte {
	size := 500 + r.IntN(6000)
	if r.IntN(10) == 0 {
		size = 60_000 + r.IntN(250_000)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\r\nFrom: Correspondent <someone@example.org>\r\nTo: <%s>\r\nSubject: =?utf-8?Q?gr=C3=BC=C3=9Fe?= %s\r\n"+
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s%s>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
		first, mark, to, mark, mark, domain)
	for b.Len() < size {
		fmt.Fprintf(&b, "the %x of %x, and once more\r\n", r.Uint64(), r.Uint64())
	}
	return b.Bytes()
}

// sum is the hash of a letter as it was written; ok is false when there is none.
func sum(served []byte) (hash [sha256.Size]byte, ok bool) {
	i := bytes.Index(served, []byte(first))
	if i < 0 {
		return hash, false
	}
	return sha256.Sum256(served[i:]), true
}
