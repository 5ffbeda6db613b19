package message

import (
	"fmt"
	"strings"
	"testing"
)

// TestThreadKeys compares headers that mean the same, and some that do not.
func TestThreadKeys(t *testing.T) {
	for _, c := range []struct {
		header, like string
		same         bool
	}{
		{"Message-ID: <a@b>", "message-id:\r\n <a@b> (x)", true},
		{"Message-ID: <\"a\"@b>", "Message-ID: <a@b>", true},
		{"Message-ID: <\"a\\\"c\"@b>", "Message-ID: <\"a\\\"\\c\"@b>", true},
		{"Message-ID: <A@b>", "Message-ID: <a@b>", false},
		{"Message-ID: <a>", "X: y", true},
		{"Message-ID: <@b>", "X: y", true},
		{"Message-ID: <a@>", "X: y", true},
		{"Message-ID: <a@b", "X: y", true},
		{"Message-ID: <a@b>\r\nReferences: <1@x>junk<2\r\n @x>\r\nIn-Reply-To: <3@x>", "References: <1@x> <2@x>\r\nMessage-ID: <a@b>", true},
		{"In-Reply-To: Your mail of today <no> <3@x> <4@x>", "References: <3@x>", true},
		{"References: <no>\r\nIn-Reply-To: <3@x>", "References: <3@x>", true},
		{"References: <1@x>", "Message-ID: <1@x>", false},
		{"Subject: Re: x", "Subject: [b] fw: y", true},
		{"Subject: Re: x", "Subject: x", false},
		{"Subject: [b] x", "Subject: y", true},
		{"References: <<1@x>", "References: <1@x>", true},
		{"References: <\"<1@x> <2@x>", "References: <2@x>", false},
	} {
		a, b := ThreadKeys([]byte(c.header+"\r\n\r\n")), ThreadKeys([]byte(c.like+"\r\n\r\n"))
		if (string(a) == string(b)) != c.same {
			t.Errorf("%q and %q: the same: %v, want %v", c.header, c.like, !c.same, c.same)
		}
		if _, _, _, ok := DecodeThreadKeys(a); !ok {
			t.Errorf("%q: %x does not decode", c.header, a)
		}
	}
	var refs strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&refs, " <%d@x>", i)
	}
	p := parse(t, "Message-ID: <own@x>\r\nSubject: re: many\r\nReferences:"+refs.String()+"\r\n\r\n")
	reply, own, ids, ok := DecodeThreadKeys(p.ThreadKeys)
	if !ok || !reply || !own || len(ids) != 1+maxReferences {
		t.Fatalf("%v %v %d %v", reply, own, len(ids), ok)
	}
	if _, _, want, _ := DecodeThreadKeys(ThreadKeys([]byte("References: <0@x> <801@x> <999@x>\r\n\r\n"))); ids[1] != want[0] || ids[2] != want[1] || ids[200] != want[2] {
		t.Error("other references than the first and the last ones are kept")
	}
	if string(ThreadKeys(p.HeaderSubset)) != string(p.ThreadKeys) {
		t.Error("the subset of the header has other keys than the header")
	}
	if _, _, _, ok := DecodeThreadKeys(nil); ok {
		t.Error("nothing decodes")
	}
}

func FuzzThreadKeys(f *testing.F) {
	f.Add([]byte("Message-ID: <\"a\\\"\"@b>\r\nReferences: <1@x> <2@x\r\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		if _, _, ids, ok := DecodeThreadKeys(ThreadKeys(header)); !ok || len(ids) > 1+maxReferences {
			t.Errorf("%q: %d ids, %v", header, len(ids), ok)
		}
	})
}
