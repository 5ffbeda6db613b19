package mailauth

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"posthouse/internal/mail"
)

// tlsReport is a report of RFC 8460 §4.4 on one domain and day.
type tlsReport struct {
	Organization string     `json:"organization-name"`
	Range        tlsRange   `json:"date-range"`
	Contact      string     `json:"contact-info"`
	ID           string     `json:"report-id"`
	Policies     []tlsCount `json:"policies"`

	domain    string
	submitter string
}

type tlsRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// tlsCount is what one policy met with.
type tlsCount struct {
	Policy  json.RawMessage `json:"policy"`
	Summary struct {
		Succeeded int64 `json:"total-successful-session-count"`
		Failed    int64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Failures []tlsFailure `json:"failure-details,omitempty"`
}

// tlsRow is a row of tls_result.
type tlsRow struct {
	Policy, Failure string
	N               int64
}

// newTLSReport puts results together; rows with one policy follow one another.
func newTLSReport(day time.Time, domain string, from mail.Address, rows []tlsRow) (*tlsReport, error) {
	start := day.UTC().Truncate(24 * time.Hour)
	sum := sha256.Sum256([]byte(start.Format(time.DateOnly) + " " + domain + " " + from.Domain))
	r := &tlsReport{
		Organization: from.Domain, Contact: from.String(),
		Range:  tlsRange{start, start.Add(24*time.Hour - time.Second)},
		ID:     start.Format("20060102") + "." + hex.EncodeToString(sum[:8]) + "@" + from.Domain, // the same when it is sent again
		domain: domain, submitter: from.Domain,
	}
	for _, row := range rows {
		if n := len(r.Policies); n == 0 || string(r.Policies[n-1].Policy) != row.Policy {
			r.Policies = append(r.Policies, tlsCount{Policy: json.RawMessage(row.Policy)})
		}
		p := &r.Policies[len(r.Policies)-1]
		if row.Failure == "" {
			p.Summary.Succeeded += row.N
			continue
		}
		var f tlsFailure
		if err := json.Unmarshal([]byte(row.Failure), &f); err != nil {
			return nil, fmt.Errorf("a failure in the database: %w", err)
		}
		f.Count = row.N
		p.Summary.Failed += row.N
		p.Failures = append(p.Failures, f)
	}
	return r, nil
}

// file is the report as it is sent: JSON, compressed.
func (r *tlsReport) file() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(r); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// name is that of the file (RFC 8460 §5.1).
func (r *tlsReport) name() string {
	return r.submitter + "!" + r.domain + "!" + strconv.FormatInt(r.Range.Start.Unix(), 10) + "!" + strconv.FormatInt(r.Range.End.Unix(), 10) + ".json.gz"
}

// message is the mail that carries the report (RFC 8460 §5.3), not signed yet.
// It is to arrive however TLS fares, which is what it may be about: RFC 8689 §5.
func (r *tlsReport) message(from, to mail.Address, file []byte, now time.Time) []byte {
	var b bytes.Buffer
	sum := sha256.Sum256([]byte(r.ID + " " + to.String()))
	boundary := "=_" + hex.EncodeToString(sum[:16])
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\n", from, to)
	fmt.Fprintf(&b, "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n", r.domain, r.submitter, r.ID)
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: <%s.%s>\r\n", now.Format(time.RFC1123Z), hex.EncodeToString(sum[:4]), r.ID)
	fmt.Fprintf(&b, "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\nTLS-Required: No\r\nAuto-Submitted: auto-generated\r\n", r.domain, r.submitter)
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"%s\"\r\n\r\n", boundary)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", boundary)
	fmt.Fprintf(&b, "This is an aggregate TLS report (RFC 8460) on mail from %s\r\nto %s, %s.\r\n", r.submitter, r.domain, r.Range.Start.Format(time.DateOnly))
	for _, p := range r.Policies {
		var policy TLSPolicy
		if json.Unmarshal(p.Policy, &policy) == nil {
			fmt.Fprintf(&b, "Policy %s of %s: %d sessions succeeded, %d failed.\r\n", clip(policy.Type), clip(policy.Domain), p.Summary.Succeeded, p.Summary.Failed)
		}
	}
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n", boundary)
	fmt.Fprintf(&b, "Content-Disposition: attachment;\r\n\tfilename=\"%s\"\r\n\r\n", r.name())
	for text := base64.StdEncoding.EncodeToString(file); text != ""; {
		n := min(len(text), 76)
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}
