package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	kpflate "github.com/klauspost/compress/flate"
)

// spoken is what a client says, and its compressed form.
type spoken struct{ plain, packed []byte }

// vectors are streams of zlib's, flushed after each line (testdata/vectors.py).
func vectors(t testing.TB) map[string][]spoken {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]spoken)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		plain, err := hex.DecodeString(f[1])
		if err != nil {
			t.Fatal(err)
		}
		packed, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		all[f[0]] = append(all[f[0]], spoken{plain, packed})
	}
	if len(all) < 16 {
		t.Fatalf("%d streams", len(all))
	}
	return all
}

var errWaiting = errors.New("nothing more yet")

// trickle gives out what it holds, size octets at a time, and then an error as
// a deadline would.
type trickle struct {
	held []byte
	size int
}

func (t *trickle) Read(p []byte) (int, error) {
	if len(t.held) == 0 {
		return 0, errWaiting
	}
	n := copy(p, t.held[:min(t.size, len(t.held))])
	t.held = t.held[n:]
	return n, nil
}

// drain reads until r waits.
func drain(t *testing.T, r io.Reader, room int) (got []byte) {
	t.Helper()
	p := make([]byte, room)
	for {
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err == errWaiting {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestYields: each line is there as soon as its flush is, Z_PARTIAL_FLUSH too,
// in whatever pieces the octets come, and whatever deadline passes in between.
func TestYields(t *testing.T) {
	for name, lines := range vectors(t) {
		for _, size := range []int{1, 7, 1 << 20} {
			src := &trickle{size: size}
			r := NewReader(src)
			for i, line := range lines {
				for rest := line.packed; len(rest) > 0; {
					n := min(size, len(rest))
					src.held = append(src.held, rest[:n]...)
					rest = rest[n:]
					if len(rest) > 0 {
						line.plain = bytes.TrimPrefix(line.plain, drain(t, r, 100))
					}
				}
				if got := drain(t, r, 3); !bytes.Equal(got, line.plain) {
					t.Fatalf("%s in pieces of %d, line %d: %q, want %q", name, size, i, got, line.plain)
				}
			}
			if r.codes != nil && !r.codes.fixed || r.large != nil {
				t.Errorf("%s: a reader that waits between blocks holds tables or a large buffer", name)
			}
		}
	}
}

// patient holds a line, and notes whether more was asked for before it was given out.
type patient struct {
	io.Reader
	given, heldBack bool
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n == 0 {
		p.heldBack = p.heldBack || !p.given
	}
	return n, err
}

// TestOthersHoldBack is why this package exists: should it fail, that need not.
func TestOthersHoldBack(t *testing.T) {
	line := vectors(t)["partial6"][0]
	for name, tt := range map[string]struct {
		open func(io.Reader) io.Reader
		want bool
	}{
		"inflate":        {func(r io.Reader) io.Reader { return NewReader(r) }, false},
		"compress/flate": {func(r io.Reader) io.Reader { return flate.NewReader(r) }, true},
		"klauspost":      {func(r io.Reader) io.Reader { return kpflate.NewReader(r) }, true},
	} {
		src := &patient{Reader: bytes.NewReader(line.packed)}
		got := make([]byte, 100)
		n, err := tt.open(src).Read(got)
		src.given = true
		if string(got[:n]) != string(line.plain) {
			t.Errorf("%s: %q, %v", name, got[:n], err)
		}
		if src.heldBack != tt.want {
			t.Errorf("%s: held back %v", name, src.heldBack)
		}
	}
}

// sample is text with repetitions near and far, and some noise.
func sample(n int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for len(b) < n {
		switch random.IntN(4) {
		case 0:
			for range random.IntN(600) {
				b = append(b, byte(random.Uint32()))
			}
		case 1:
			b = append(b, strings.Repeat("ab", random.IntN(400))...)
		default:
			if from := random.IntN(len(b) + 1); from < len(b) {
				b = append(b, b[from:min(len(b), from+random.IntN(2000))]...)
			} else {
				b = append(b, "Subject: words, and more words\r\n"...)
			}
		}
	}
	return b[:n]
}

func pack(t testing.TB, plain []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 300, firstWindow, firstWindow + 1, maxWindow, 1 << 20} {
		plain := sample(size, uint64(size))
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			packed := pack(t, plain, level)
			for _, src := range []io.Reader{bytes.NewReader(packed), iotest.OneByteReader(bytes.NewReader(packed)), iotest.DataErrReader(bytes.NewReader(packed))} {
				got, err := io.ReadAll(NewReader(src))
				if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%d octets at level %d: %d octets, %v", size, level, len(got), err)
				}
			}
			got, err := io.ReadAll(NewReader(bytes.NewReader(packed[:len(packed)-1])))
			if err != io.ErrUnexpectedEOF || !bytes.HasPrefix(plain, got) {
				t.Fatalf("cut: %d octets, %v", len(got), err)
			}
		}
	}
}

// TestCorrupt are streams that are wrong in each way there is.
func TestCorrupt(t *testing.T) {
	for name, packed := range map[string]string{
		"no kind of block":             "07",
		"stored length":                "0101000000",
		"286 codes at most":            "f500000000",
		"30 distances at most":         "041fe8ff0000000000",
		"too many code lengths":        "04c0ffffffffffffffffffffffffff",
		"distance before the start":    "03020000",
		"symbol 286 of the fixed code": "1bf3",
	} {
		b, err := hex.DecodeString(packed)
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(io.MultiReader(bytes.NewReader(b), strings.NewReader(strings.Repeat("\x00", 64))))
		if got, err := io.ReadAll(r); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, once more: %v", name, err)
		}
	}
}

// TestMemory: little is held for a client that says little, and never more than
// the window and an input buffer.
func TestMemory(t *testing.T) {
	r := NewReader(bytes.NewReader(pack(t, []byte("a NOOP\r\n"), 6)))
	if _, err := io.ReadAll(r); err != nil || len(r.window) != firstWindow {
		t.Errorf("a window of %d for a line, %v", len(r.window), err)
	}
	r = NewReader(bytes.NewReader(pack(t, sample(1<<20, 2), 6)))
	if _, err := io.Copy(io.Discard, r); err != nil || len(r.window) != maxWindow {
		t.Errorf("a window of %d for a megabyte, %v", len(r.window), err)
	}
	if err := r.Close(); err != nil || r.large != nil || r.codes != nil {
		t.Error("closed, and still something borrowed", err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader reads")
	}
}

// FuzzReader compares with compress/flate: where that succeeds so do we, with
// the same octets, and where it fails so do we, with octets that agree.
func FuzzReader(f *testing.F) {
	for _, lines := range vectors(f) {
		var whole []byte
		for _, line := range lines {
			whole = append(whole, line.packed...)
		}
		f.Add(append(whole, 3, 0), uint8(7)) // an empty last block
	}
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		f.Add(pack(f, sample(3000, uint64(level+3)), level), uint8(200))
	}
	const most = 4 << 20 // of a bomb
	f.Fuzz(func(t *testing.T, packed []byte, room uint8) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), most))
		r := NewReader(iotest.HalfReader(bytes.NewReader(packed)))
		var got []byte
		var err error
		for p := make([]byte, int(room)+1); err == nil && len(got) < most; {
			var n int
			n, err = r.Read(p)
			got = append(got, p[:n]...)
		}
		if err == nil && len(want) == most || err == io.EOF {
			err = nil
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, want %v", err, wantErr)
		}
		if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) || wantErr == nil && n < min(len(want), most) {
			t.Fatalf("%d octets differ from %d", len(got), len(want))
		}
	})
}

func BenchmarkReader(b *testing.B) {
	packed := pack(b, sample(1<<20, 3), 6)
	b.SetBytes(1 << 20)
	for b.Loop() {
		if _, err := io.Copy(io.Discard, NewReader(bytes.NewReader(packed))); err != nil {
			b.Fatal(err)
		}
	}
}
