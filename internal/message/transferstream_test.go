package message

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

// The stream decodes as the one in memory does, however it is cut.
func TestDecodeTransfer(t *testing.T) {
	long := strings.Repeat("=C3=BCber ", 9000)
	for _, in := range []string{"", "SGVsbG8=", "SGVs\r\nbG8=\r\n", "SGVsbG8", "!SGVs=bG8 ==", "a", "ab", "=", "==\r\n",
		"a=20\r\nb =\r\nc \t\r\n=", "=zz=4", "x=\r\n", "=3D=3D\n", long, strings.Repeat("x", 100_000), strings.Repeat(" ", 50_000) + "x\r\n",
		strings.Repeat("QUJD\r\n", 20_000)} {
		for _, encoding := range []string{"base64", "quoted-printable", "7bit", "8bit", "binary"} {
			want := string(decodeTransfer([]byte(in), encoding))
			var whole, octets bytes.Buffer
			if err := DecodeTransfer(&whole, strings.NewReader(in), encoding); err != nil {
				t.Fatal(err)
			}
			if err := DecodeTransfer(&octets, iotest.OneByteReader(strings.NewReader(in)), encoding); err != nil {
				t.Fatal(err)
			}
			if whole.String() != want || octets.String() != want {
				t.Errorf("%s of %.60q:\n got %.80q\n and %.80q\nwant %.80q", encoding, in, whole.String(), octets.String(), want)
			}
		}
	}
	if err := DecodeTransfer(new(bytes.Buffer), strings.NewReader("x"), "x-uuencode"); !errors.Is(err, ErrUnknownEncoding) {
		t.Error(err)
	}
	bad := errors.New("disk")
	for _, encoding := range []string{"base64", "quoted-printable", "8bit"} {
		if err := DecodeTransfer(new(bytes.Buffer), iotest.ErrReader(bad), encoding); !errors.Is(err, bad) {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}
