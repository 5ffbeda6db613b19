package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthouse/internal/mail"
	"posthouse/internal/message"
)

// sealedFields are signed once more than they occur, so that none can be added
// on the way (RFC 6376 §8.15): a second From or Subject is what a forger needs.
var sealedFields = []string{
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
}

// signedFields are signed where they occur. Others may add them later, mailing
// lists above all, and should not break the signature with it.
var signedFields = []string{
	"Sender", "Content-Disposition", "Content-ID", "Content-Description",
	"Resent-From", "Resent-To", "Resent-Cc", "Resent-Date", "Resent-Message-ID", "Resent-Sender",
	"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	"Auto-Submitted", "TLS-Required", "TLS-Report-Domain", "TLS-Report-Submitter", "Feedback-ID", "CFBL-Address",
}

// errHeader is a message that cannot be signed.
var errHeader = errors.New("the header is too large")

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// Sign makes the DKIM-Signature fields for a message from an address, one by
// each of its domain's keys, to stand before the message, with CRLF. There are
// none when the domain is not ours. The message has CRLF lines and is read once,
// in bounded memory; its header may have message.MaxHeader octets.
func (k *Keys) Sign(ctx context.Context, from mail.Address, body io.ReaderAt, size int64) ([]byte, error) {
	keys, err := k.signersOf(ctx, from.Domain)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", from.Domain, err)
	}
	if len(keys) == 0 {
		k.tellSilent(from.Domain)
		return nil, nil
	}
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	header, bodySum, err := digest(io.NewSectionReader(body, 0, size), buf[:])
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", from.Domain, err)
	}
	s := signing{domain: from.Domain, at: time.Now(), bodySum: bodySum}
	s.take(splitHeader(header))
	var out []byte
	for _, key := range keys {
		if out, err = s.sign(out, key); err != nil {
			return nil, fmt.Errorf("sign for %s with %s: %w", from.Domain, key.selector, err)
		}
	}
	return out, nil
}

// tellSilent logs, once an hour for a domain, that its mail goes unsigned.
func (k *Keys) tellSilent(domain string) {
	now := time.Now()
	k.mu.Lock()
	quiet := now.Before(k.silent[domain])
	if !quiet {
		if len(k.silent) >= cachedMost {
			clear(k.silent)
		}
		k.silent[domain] = now.Add(time.Hour)
	}
	k.mu.Unlock()
	if !quiet {
		k.log.Info("mail is not signed: its From domain is not one of ours", "event", "dkim.unsigned", "domain", domain)
	}
}

// digest reads a message once: it gives the header, with the empty line that
// ends it left out, and the hash of the body.
func digest(r io.Reader, buf []byte) (header, bodySum []byte, err error) {
	body := relaxedBody{sum: sha256.New()}
	for behind := false; ; {
		n, err := r.Read(buf)
		switch p := buf[:n]; {
		case behind:
			body.Write(p)
		default:
			known := len(header)
			end, next := headerEnd(header, p)
			header = append(header, p[:max(end-known, 0)]...)
			if behind = next >= 0; behind {
				header = header[:end]
				body.Write(p[next-known:])
			}
			if len(header) > message.MaxHeader {
				return nil, nil, errHeader
			}
		}
		if err == io.EOF {
			return header, body.Sum(), nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// headerEnd finds, in known octets followed by new ones, where the header ends
// and where the body begins; next is -1 when the empty line is not there yet.
func headerEnd(known, p []byte) (end, next int) {
	tail := known[max(len(known)-3, 0):]
	seam := append(bytes.Clone(tail), p[:min(len(p), 3)]...)
	at := len(known) - len(tail) // of the seam
	switch {
	case at == 0 && bytes.HasPrefix(seam, []byte("\r\n")):
		return 0, 2
	case bytes.Contains(seam, emptyLine):
		i := at + bytes.Index(seam, emptyLine)
		return i + 2, i + 4
	}
	if i := bytes.Index(p, emptyLine); i >= 0 {
		return len(known) + i + 2, len(known) + i + 4
	}
	return len(known) + len(p), -1
}

var emptyLine = []byte("\r\n\r\n")

// signing is one message on its way to its signatures.
type signing struct {
	domain  string
	at      time.Time
	bodySum []byte
	names   string // h=
	fields  []byte // the signed fields, canonical, each with CRLF
}

// take chooses the fields to sign. Of several with one name the last comes
// first (RFC 6376 §5.4.2).
func (s *signing) take(fields []field) {
	at := make(map[string][]int, len(fields))
	for i, f := range fields {
		at[f.name] = append(at[f.name], i)
	}
	var names []string
	add := func(name string, once bool) {
		lower := strings.ToLower(name)
		list := at[lower]
		for i := len(list) - 1; i >= 0; i-- {
			names = append(names, name)
			s.fields = relaxedField(s.fields, []byte(lower), fields[list[i]].value)
			s.fields = append(s.fields, "\r\n"...)
		}
		if once {
			names = append(names, name)
		}
	}
	for _, name := range sealedFields {
		add(name, true)
	}
	for _, name := range signedFields {
		add(name, false)
	}
	s.names = strings.Join(names, ":")
}

// sign appends the field of one key.
func (s *signing) sign(out []byte, key signer) ([]byte, error) {
	var f folder
	f.add("DKIM-Signature: v=1;")
	f.add(" a=" + key.algorithm + "-sha256;")
	f.add(" c=relaxed/relaxed;")
	f.add(" d=" + s.domain + ";")
	f.add(" s=" + key.selector + ";")
	f.add(" i=@" + s.domain + ";")
	f.add(" t=" + strconv.FormatInt(s.at.Unix(), 10) + ";")
	f.list(" h=", s.names+";")
	f.add(" bh=" + base64.StdEncoding.EncodeToString(s.bodySum) + ";")
	f.add(" b=")
	sum := sha256.New()
	sum.Write(s.fields)
	name, value, _ := bytes.Cut(f.out, []byte{':'})
	sum.Write(relaxedField(nil, name, value)) // RFC 6376 §3.7: b= empty, no line end
	signature, err := signHash(key.private, sum.Sum(nil))
	if err != nil {
		return nil, err
	}
	f.text(base64.StdEncoding.EncodeToString(signature))
	return append(append(out, f.out...), "\r\n"...), nil
}

func signHash(private crypto.Signer, sum []byte) ([]byte, error) {
	if _, ok := private.(ed25519.PrivateKey); ok {
		return private.Sign(nil, sum, crypto.Hash(0)) // RFC 8463 §3: the hash is the message
	}
	return private.Sign(rand.Reader, sum, crypto.SHA256)
}
