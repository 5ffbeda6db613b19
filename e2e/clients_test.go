package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"posthouse/e2e/node"
)

// letter makes a message of about n octets whose first field is a mark, so that
// what servers add before it can be told apart.
func letter(mark string, n int, line func(*rand.Rand) string) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(len(mark))))
	var b bytes.Buffer
	fmt.Fprintf(&b, "X-Mark: %s\r\nFrom: <sender@example.org>\r\nTo: <them@localhost>\r\nSubject: =?utf-8?Q?gr=C3=BC=C3=9Fe?= %s\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", mark, mark)
	for b.Len() < n {
		b.WriteString(line(rng))
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

func asciiLine(rng *rand.Rand) string {
	return strings.Repeat(".", rng.IntN(3)) + fmt.Sprintf("%x %x %x %x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
}

// eightBitLine holds UTF-8, Latin-1 that is no UTF-8, and trailing blanks.
func eightBitLine(rng *rand.Rand) string {
	return fmt.Sprintf("grüße aus \xe4\xf6\xfc 東京 %x \t ", rng.Uint64())
}

// since is a served message from its mark on.
func since(t *testing.T, served []byte, mark string) []byte {
	t.Helper()
	i := bytes.Index(served, []byte("X-Mark: "+mark))
	if i < 0 {
		t.Fatalf("no message with the mark %s among %d octets", mark, len(served))
	}
	return served[i:]
}

// TestByteForByte sends with swaks and curl to several recipients at once, and
// reads with curl over IMAPS and with mbsync.
func TestByteForByte(t *testing.T) {
	t.Parallel()
	tool(t, "swaks")
	tool(t, "curl")
	tool(t, "mbsync")
	n := server(t)
	dir := folder(t)
	first, second := account(t, n, "byte-one"), account(t, n, "byte-two")
	letters := []struct {
		name string
		text []byte
	}{
		{"10KB", letter("10KB", 10<<10, asciiLine)},
		{"1MB", letter("1MB", 1<<20, asciiLine)},
		{"25MB", letter("25MB", 25<<20, asciiLine)},
		{"8bit", letter("8bit", 20<<10, eightBitLine)},
	}
	for _, l := range letters {
		// swaks ends the last line itself.
		file := write(t, dir, l.name, bytes.TrimSuffix(l.text, []byte("\r\n")))
		command(t, "swaks", "--server", n.Listen["smtp"], "--from", "sender@example.org", "--to", first+","+second,
			"--data", "@"+file, "--suppress-data", "--hide-send")
	}
	// swaks knows no SMTPUTF8; curl asks for it when an address needs it.
	utf8 := letter("utf8", 10<<10, eightBitLine)
	command(t, "curl", "-sS", "smtp://"+n.Listen["smtp"]+"/client.example.org", "--mail-from", "größe@example.org",
		"--mail-rcpt", first, "--mail-rcpt", second, "-T", write(t, dir, "utf8", utf8))
	letters = append(letters, struct {
		name string
		text []byte
	}{"utf8", utf8})

	for _, user := range []string{first, second} {
		for i, l := range letters {
			got := command(t, "curl", "-sS", "--cacert", n.CA, "-u", user+":"+password,
				fmt.Sprintf("imaps://localhost:%s/INBOX;UID=%d", port(n, "imaps"), i+1))
			if text := since(t, got, l.name); !bytes.Equal(text, l.text) {
				t.Errorf("%s of %s by curl: %d octets came back of %d", l.name, user, len(text), len(l.text))
			}
		}
		box := pull(t, n, dir, user)
		for _, l := range letters {
			// A maildir keeps lines with LF alone.
			want := bytes.ReplaceAll(l.text, []byte("\r\n"), []byte("\n"))
			if text := since(t, box[l.name], l.name); !bytes.Equal(text, want) {
				t.Errorf("%s of %s by mbsync: %d octets came back of %d", l.name, user, len(text), len(want))
			}
		}
	}
}

// tuid is a header field that mbsync adds to know its own messages again.
var tuid = regexp.MustCompile("(?m)^X-TUID: .*\n")

// pull fetches an INBOX with mbsync and gives the messages by mark.
func pull(t *testing.T, n *node.Node, dir, user string) map[string][]byte {
	t.Helper()
	base := filepath.Join(dir, "pull-"+user)
	if err := os.MkdirAll(filepath.Join(base, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	rc := write(t, base, "mbsyncrc", []byte(mbsyncConfig(n, user, base)+"Channel inbox\nFar :remote:INBOX\nNear :local:INBOX\nCreate Near\nSyncState *\n"))
	command(t, "mbsync", "-q", "-c", rc, "inbox")
	box := make(map[string][]byte)
	for file := range maildirFiles(t, filepath.Join(base, "mail")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := bytes.Cut(text, []byte("X-Mark: "))
		mark, _, _ := bytes.Cut(rest, []byte("\n"))
		box[string(mark)] = tuid.ReplaceAll(text, nil)
	}
	return box
}
