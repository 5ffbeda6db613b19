package api

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed openapi.json page.html unsubscribe.html
var files embed.FS

var pages = template.Must(template.ParseFS(files, "page.html", "unsubscribe.html"))

// page is what people find at /api/v1/.
func (s *server) page(r *request) error {
	var list []*problem
	for code := range kinds {
		list = append(list, fault(code, ""))
	}
	slices.SortFunc(list, func(a, b *problem) int {
		if a.Status != b.Status {
			return a.Status - b.Status
		}
		return strings.Compare(a.Code, b.Code)
	})
	return r.html(http.StatusOK, "page.html", struct {
		Hostname, URL string
		Problems      []*problem
	}{s.Hostname, s.URL, list})
}

// html answers with a page.
func (r *request) html(status int, name string, data any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return fault("internal", "The page cannot be made").because(err)
	}
	r.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	r.w.WriteHeader(status)
	_, err := r.w.Write(b.Bytes())
	return err
}

// openapi serves the document.
func (s *server) openapi(r *request) error {
	text, err := files.ReadFile("openapi.json")
	if err != nil {
		return fault("internal", "The document is missing").because(err)
	}
	return r.replyJSON(http.StatusOK, bytes.TrimSuffix(text, []byte("\n")))
}
