package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// corpus makes mail that looks like mail: lognormal sizes with a median of 12
// KB, words with a long tail, a few header fields, now and then a multipart.
// The same seed gives the same mail to every server.
type corpus struct {
	rnd   *rand.Rand
	words []string
	n     int
}

func newCorpus(seed uint64) *corpus {
	c := &corpus{rnd: rand.New(rand.NewPCG(seed, 7))}
	const letters = "etaoinshrdlucmfwypvbgkjqxz"
	for range 20000 {
		var w strings.Builder
		for range 2 + c.rnd.IntN(9) {
			w.WriteByte(letters[int(float64(len(letters))*math.Pow(c.rnd.Float64(), 1.7))])
		}
		c.words = append(c.words, w.String())
	}
	return c
}

func (c *corpus) word() string {
	return c.words[int(float64(len(c.words))*math.Pow(c.rnd.Float64(), 3))]
}

// size is lognormal with the given median, between 600 octets and 8 MB.
func (c *corpus) size(median float64) int {
	s := median * math.Exp(1.3*c.rnd.NormFloat64())
	return int(min(max(s, 600), 8<<20))
}

// message makes the next mail, of about size octets.
func (c *corpus) message(size int) []byte {
	c.n++
	var b bytes.Buffer
	fmt.Fprintf(&b, "Received: from client.example.org ([127.0.0.1]) by mx.example.org with ESMTP id %08x;\r\n Mon, 2 Nov 2026 10:00:00 +0000\r\n", c.n)
	fmt.Fprintf(&b, "From: \"%s %s\" <%s@example.org>\r\nTo: %s@example.test\r\n", c.word(), c.word(), c.word(), c.word())
	fmt.Fprintf(&b, "Subject: %s %s %s %d\r\nDate: Mon, 2 Nov 2026 10:%02d:%02d +0000\r\n", c.word(), c.word(), c.word(), c.n, c.n/60%60, c.n%60)
	fmt.Fprintf(&b, "Message-ID: <%d.%08x@example.org>\r\nMIME-Version: 1.0\r\n", c.n, c.rnd.Uint32())
	if size > 30000 && c.n%3 == 0 {
		c.multipart(&b, size)
		return b.Bytes()
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
	c.text(&b, size)
	return b.Bytes()
}

func (c *corpus) multipart(b *bytes.Buffer, size int) {
	b.WriteString("Content-Type: multipart/mixed; boundary=\"=_part\"\r\n\r\n--=_part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	c.text(b, b.Len()+size/8)
	b.WriteString("\r\n--=_part\r\nContent-Type: application/octet-stream; name=\"data.bin\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"data.bin\"\r\n\r\n")
	raw := make([]byte, 57)
	for b.Len() < size {
		for i := range raw {
			raw[i] = byte(c.rnd.Uint32())
		}
		b.WriteString(base64.StdEncoding.EncodeToString(raw))
		b.WriteString("\r\n")
	}
	b.WriteString("--=_part--\r\n")
}

func (c *corpus) text(b *bytes.Buffer, until int) {
	for line := 0; b.Len() < until; {
		w := c.word()
		b.WriteString(w)
		if line += len(w) + 1; line > 66 {
			b.WriteString("\r\n")
			line = 0
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteString("\r\n")
}
