package message

import (
	"bytes"
	"errors"
	"io"
)

// ErrUnknownEncoding: a Content-Transfer-Encoding that nobody here can decode.
var ErrUnknownEncoding = errors.New("unknown content transfer encoding")

// transferBuffer is what DecodeTransfer holds of either side, in octets.
const transferBuffer = 32 << 10

// DecodeTransfer removes a body's transfer encoding (RFC 2045 §6) on the way from
// r to w, as [Part].Encoding names it, in bounded memory. What is malformed is
// passed over or left as it is. ErrUnknownEncoding comes before anything is read.
func DecodeTransfer(w io.Writer, r io.Reader, encoding string) error {
	switch encoding {
	case "base64":
		return streamBase64(w, r)
	case "quoted-printable":
		return streamQuotedPrintable(w, r)
	case "7bit", "8bit", "binary":
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, transferBuffer))
		return err
	}
	return ErrUnknownEncoding
}

// streamBase64 is decodeBase64 without the text in memory.
func streamBase64(w io.Writer, r io.Reader) error {
	in, out := make([]byte, transferBuffer), make([]byte, 0, transferBuffer)
	acc, digits := uint32(0), 0
	for {
		n, err := r.Read(in)
		out = out[:0]
		for _, c := range in[:n] {
			v := base64Value[c]
			switch {
			case v >= 0:
				if acc, digits = acc<<6|uint32(v), digits+1; digits == 4 {
					out = append(out, byte(acc>>16), byte(acc>>8), byte(acc))
					acc, digits = 0, 0
				}
			case c == '=':
				out = flushBase64(out, acc, digits)
				acc, digits = 0, 0
			}
		}
		if err == io.EOF {
			out = flushBase64(out, acc, digits)
		}
		if _, failed := w.Write(out); failed != nil {
			return failed
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// streamQuotedPrintable is decodeQuotedPrintable without the text in memory. A
// line that does not fit the buffer is decoded in pieces.
func streamQuotedPrintable(w io.Writer, r io.Reader) error {
	in, have := make([]byte, transferBuffer), 0
	var out []byte
	for {
		n, err := r.Read(in[have:])
		have += n
		end := bytes.LastIndexByte(in[:have], '\n') + 1
		switch {
		case err == io.EOF:
			end = have
		case end == 0 && have == len(in):
			end = have - 2 // an octet written =XX stays whole, and white space before the end of the line
			for end > 1 && (in[end-1] == ' ' || in[end-1] == '\t' || in[end-1] == '=' || in[end-2] == '=') {
				end--
			}
		}
		if end > 0 {
			out = out[:0]
			if piece := in[:end]; piece[end-1] == '\n' || err == io.EOF {
				out = appendQuotedLines(out, piece)
			} else {
				out = appendQuotedPrintable(out, piece)
			}
			if _, failed := w.Write(out); failed != nil {
				return failed
			}
			have = copy(in, in[end:have])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
