package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkHostile times TRUST.md row 7: under 100 ms each.
func BenchmarkHostile(b *testing.B) {
	for name, msg := range hostile() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			r := bytes.NewReader([]byte(msg))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(r, int64(len(msg))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// typicalMessage is a message as it comes from the Internet: some 3 KiB of header,
// a multipart/alternative of text and HTML, of size octets in all.
func typicalMessage(size int) string {
	var m strings.Builder
	m.WriteString("Return-Path: <bounces@lists.example.org>\r\n")
	for i := range 4 {
		fmt.Fprintf(&m, "Received: from mx%d.example.org (mx%d.example.org [192.0.2.%d])\r\n\tby mail.example.test with ESMTPS id 4XyZ%dabc\r\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256)\r\n\tfor <alice@example.test>; Mon, 23 Nov 2026 21:05:5%d +0000\r\n", i, i, i, i, i)
	}
	m.WriteString("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;\r\n\th=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\tb=" + strings.Repeat("dGhpcyBpcyBubyByZWFsIHNpZ25hdHVyZQ", 8) + "\r\n")
	m.WriteString("From: =?utf-8?q?Bob_the_B=C3=BCilder?= <bob@example.org>\r\nTo: \"Alice\" <alice@example.test>, team@example.test\r\n" +
		"Subject: Re: [team] The figures of this week and what follows from them\r\nDate: Mon, 23 Nov 2026 21:05:57 +0100\r\n" +
		"Message-ID: <20261123.210557@example.org>\r\nIn-Reply-To: <20261122.1@example.test>\r\nReferences: <20261120.1@example.test>\r\n <20261122.1@example.test>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_b0undary_7f3a\"\r\nList-Id: <team.example.test>\r\n\r\n")
	words := strings.Fields("the quick figures of this week show that deliveries rose again while complaints fell so we keep the plan and meet on Thursday")
	text := func(n int, sep string) {
		for at, w := 0, 0; n > 0; w++ {
			word := words[(w*7+n)%len(words)]
			if at += len(word) + 1; at > 70 {
				m.WriteString(sep)
				at = 0
			}
			m.WriteString(word + " ")
			n -= len(word) + 1
		}
	}
	rest := size - m.Len() - 500
	m.WriteString("--=_b0undary_7f3a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	text(rest/3, "=\r\n")
	m.WriteString("\r\n--=_b0undary_7f3a\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><head><style>p {margin:0}</style></head><body>")
	text(rest*2/3, "</p>\r\n<p style=3D\"margin:0\">")
	m.WriteString("</body></html>\r\n--=_b0undary_7f3a--\r\n")
	return m.String()
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{12 << 10, 1 << 20} {
		msg := []byte(typicalMessage(size))
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(bytes.NewReader(msg), int64(len(msg))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSearchText(b *testing.B) {
	for _, size := range []int{12 << 10, 1 << 20} {
		msg := []byte(typicalMessage(size))
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := SearchText(bytes.NewReader(msg), int64(len(msg)), MaxText); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
