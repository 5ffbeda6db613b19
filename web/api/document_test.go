package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

var noTime time.Time

func init() { openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder) }

// document is openapi.json, as somebody else's program reads it.
type document struct {
	t      testing.TB
	spec   *openapi3.T
	router routers.Router
}

func openDocument(t testing.TB) *document {
	t.Helper()
	text, err := files.ReadFile("openapi.json")
	must(t, err)
	spec, err := openapi3.NewLoader().LoadFromData(text)
	must(t, err)
	must(t, spec.Validate(context.Background()))
	spec.Servers = nil
	router, err := legacy.NewRouter(spec)
	must(t, err)
	return &document{t: t, spec: spec, router: router}
}

// check holds an answer against the document. A path that it does not know must
// have been answered 404, a method 405.
func (d *document) check(req *http.Request, resp *http.Response, body []byte) error {
	plain := req.Clone(context.Background())
	plain.URL.Host, plain.URL.Scheme, plain.Host = "", "", ""
	route, params, err := d.router.FindRoute(plain)
	if err != nil {
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
			return d.problem(body, resp)
		}
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	in := &openapi3filter.RequestValidationInput{Request: plain, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body)), Options: in.Options,
	})
}

// problem holds an answer to no route of the document against its problems.
func (d *document) problem(body []byte, resp *http.Response) error {
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("content type %q", got)
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	return d.spec.Components.Schemas["Problem"].Value.VisitJSON(value)
}

// The check can fail: answers that are not of the document are found.
func TestDocumentFindsWrongAnswers(t *testing.T) {
	d := openDocument(t)
	req, err := http.NewRequest("POST", "http://mx.example.test/api/v1/messages", strings.NewReader("{}"))
	must(t, err)
	for what, x := range map[string]struct {
		status int
		media  string
		body   string
		ok     bool
	}{
		"right":                  {202, "application/json", `{"id":"a","recipients":[{"address":"a@example.test","status":"accepted"}]}`, true},
		"an unknown status":      {200, "application/json", `{}`, false},
		"a field is missing":     {202, "application/json", `{"id":"a"}`, false},
		"a field too many":       {202, "application/json", `{"id":"a","recipients":[],"color":"red"}`, false},
		"an unknown word":        {202, "application/json", `{"id":"a","recipients":[{"address":"a@example.test","status":"perhaps"}]}`, false},
		"a number":               {202, "application/json", `{"id":1,"recipients":[]}`, false},
		"another kind":           {202, "text/plain", `{"id":"a","recipients":[]}`, false},
		"a problem":              {422, "application/problem+json", `{"type":"/api/v1/#x","title":"x","status":422,"code":"invalid-message"}`, true},
		"a problem without code": {422, "application/problem+json", `{"type":"/api/v1/#x","title":"x","status":422}`, false},
		"an unknown code":        {422, "application/problem+json", `{"type":"/api/v1/#x","title":"x","status":422,"code":"x"}`, false},
	} {
		resp := &http.Response{StatusCode: x.status, Header: http.Header{"Content-Type": {x.media}, "X-Request-Id": {"id"}}}
		if err := d.check(req, resp, []byte(x.body)); (err == nil) != x.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Each code is in the document and on the page, and no other.
func TestCodesAreDocumented(t *testing.T) {
	d := openDocument(t)
	known := make(map[string]bool)
	for _, v := range d.spec.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		known[v.(string)] = true
	}
	for code := range kinds {
		if !known[code] {
			t.Errorf("%s is not in the document", code)
		}
		delete(known, code)
	}
	if len(known) > 0 {
		t.Errorf("never answered: %v", known)
	}
}
