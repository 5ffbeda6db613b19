package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
)

// report is a delivery status notification (RFC 3464).
type report struct {
	header  mail.Header
	text    string                 // for people
	message textproto.MIMEHeader   // the fields for the message
	rcpts   []textproto.MIMEHeader // and for each recipient
	third   string                 // the media type of what is returned
	back    []byte
}

// parseReport fails the test unless the message is a report.
func parseReport(t *testing.T, raw []byte) *report {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("no report: %q, %v\n%s", m.Header.Get("Content-Type"), err, raw)
	}
	r := &report{header: m.Header}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i := 0; ; i++ {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		switch i {
		case 0:
			r.text = string(body)
		case 1:
			if !strings.HasSuffix(kind, "delivery-status") {
				t.Errorf("the second part is %s", kind)
			}
			fields := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(body, "\r\n\r\n"...))))
			for {
				group, err := fields.ReadMIMEHeader()
				if err != nil || len(group) == 0 {
					break
				}
				if r.message == nil {
					r.message = group
				} else {
					r.rcpts = append(r.rcpts, group)
				}
			}
		case 2:
			r.third, r.back = kind, body
		}
	}
	if r.message.Get("Reporting-Mta") == "" || len(r.rcpts) == 0 {
		t.Errorf("a report without its fields:\n%s", raw)
	}
	if auto := m.Header.Get("Auto-Submitted"); !strings.HasPrefix(auto, "auto-replied") {
		t.Errorf("Auto-Submitted is %q", auto)
	}
	return r
}

// about is what the report says of one recipient, or fails the test.
func (r *report) about(t *testing.T, address string) textproto.MIMEHeader {
	t.Helper()
	for _, fields := range r.rcpts {
		if strings.HasSuffix(fields.Get("Final-Recipient"), ";"+address) || strings.HasSuffix(fields.Get("Final-Recipient"), "; "+address) {
			return fields
		}
	}
	t.Fatalf("the report says nothing of %s: %v", address, r.rcpts)
	return nil
}

// says that the one recipient of a report, action and status are as given, and
// that the words stand in its text.
func (r *report) says(t *testing.T, address, action, status string, words ...string) {
	t.Helper()
	f := r.about(t, address)
	if f.Get("Action") != action || f.Get("Status") != status || len(r.rcpts) != 1 {
		t.Errorf("the report says %s %s of %s (of %d recipients), want %s %s: %s", f.Get("Action"), f.Get("Status"), address, len(r.rcpts), action, status, f)
	}
	for _, w := range words {
		if !strings.Contains(strings.Join(strings.Fields(r.text), " "), w) {
			t.Errorf("the text does not say %q:\n%s", w, r.text)
		}
	}
}
