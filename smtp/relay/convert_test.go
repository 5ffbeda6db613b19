package relay_test

import (
	"strings"
	"testing"

	"posthouse/internal/mail"
	"posthouse/internal/test/nexthop"
	"posthouse/smtp/relay"
)

// TestConvert: 8-bit messages for a host without 8BITMIME.
func TestConvert(t *testing.T) {
	const head = "From: a@b\r\nMIME-Version: 1.0\r\n"
	multi := func(kind, inner string) string {
		return head + "Content-Type: " + kind + "; boundary=x\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\r\n--x\r\n\r\nplain\r\n--x\r\n" + inner + "\r\n--x--\r\nepi\r\n"
	}
	multi7 := func(kind, inner string) string {
		return strings.Replace(multi(kind, inner), "Encoding: 8bit", "Encoding: 7bit", 1)
	}
	const refused = "failed at MAIL: 0 5.6.3"
	for name, c := range map[string]struct{ in, want, out string }{
		"none":      {head + "\r\nplain\r\n", took, head + "\r\nplain\r\n"},
		"text":      {head + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\né = e\r\n", took, head + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9 =3D e\r\n"},
		"octets":    {head + "Content-Type: image/png\r\n\r\n\xff\xfe\r\n", took, head + "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n//4NCg==\r\n"},
		"multipart": {multi("multipart/mixed", "Content-Type: text/html\r\n\r\né"), took, multi7("multipart/mixed", "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9")},
		"message": {multi("multipart/mixed", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nFrom: c@d\r\nMIME-Version: 1.0\r\n\r\né"), took,
			multi7("multipart/mixed", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nFrom: c@d\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9")},
		"signed":        {multi("multipart/signed", "Content-Type: text/html\r\n\r\né"), refused, ""},
		"signed within": {multi("multipart/mixed", "Content-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n\r\né\r\n--y--"), refused, ""},
		"between":       {multi("multipart/mixed", "Content-Type: text/html\r\n\r\nx") + "é\r\n", refused, ""},
		"encoded":       {head + "Content-Transfer-Encoding: base64\r\n\r\né\r\n", refused, ""},
	} {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Keywords: []string{"PIPELINING"}})
		m := message(c.in, "bob@example.test")
		m.Body = mail.Body8Bit
		if got := w.send(direct(h), relay.Need{}, m); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if c.out == "" {
			continue
		}
		if got := string(h.Messages()[0].Octets); got != c.out {
			t.Errorf("%s: %q\nwant %q", name, got, c.out)
		}
	}
}

// TestBinary: BINARYMIME as it is where it is offered, by base64 where not.
func TestBinary(t *testing.T) {
	const in = "From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n.\r\n"
	for keyword, want := range map[string]string{
		"BINARYMIME": in,
		"HELP":       "From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAouDQo=\r\n",
	} {
		w := newWorld(t)
		h := w.hop("127.0.0.1", nexthop.Script{Keywords: []string{"CHUNKING", "8BITMIME", keyword}})
		m := message(in, "bob@example.test")
		m.Body = mail.BodyBinary
		if got := w.send(direct(h), relay.Need{}, m); got != took || string(h.Messages()[0].Octets) != want {
			t.Errorf("%s: %s, %q", keyword, got, h.Messages()[0].Octets)
		}
	}
}
