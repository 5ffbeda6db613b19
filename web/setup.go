package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"posthouse/internal/clientsetup"
	"posthouse/internal/mail"
)

// Setup is how mail programs set themselves up from an address alone, and how
// other servers learn the policy of a domain.
type Setup struct {
	Hostname string
	Services []clientsetup.Service
	// Local reports whether a domain is served here; nil: nothing is answered.
	Local func(ctx context.Context, domain string) (bool, error)
	// Sign makes a signed message (CMS) of a profile; nil: they go unsigned.
	Sign func(profile []byte) ([]byte, error)
	// STSPolicy is the MTA-STS policy of a domain (RFC 8461 §3.2).
	STSPolicy func(ctx context.Context, domain string) (string, error)
}

// maxSetupRequest is more than any request for set-up has, in octets.
const maxSetupRequest = 64 << 10

// setupPages are the paths, in lower case: programs spell them as they like.
func (s *Server) setupPages() map[string]func(http.ResponseWriter, *http.Request) error {
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"/mail/config-v1.1.xml":                        s.thunderbird,
		"/.well-known/autoconfig/mail/config-v1.1.xml": s.thunderbird,
		"/autodiscover/autodiscover.xml":               s.outlook,
		"/autodiscover/autodiscover.json":              s.outlookJSON,
		"/autodiscover/autodiscover.json/v1.0/":        s.outlookJSON, // an address follows
		"/.well-known/mta-sts.txt":                     s.policy,
		"/apple.mobileconfig":                          s.apple,
		"/.well-known/apple.mobileconfig":              s.apple,
	}
}

// fault is an error with its status; its text is for the one who asked.
type fault struct {
	status int
	text   string
}

func (f *fault) Error() string { return f.text }

// setup answers the paths of setupPages, whatever their case, and passes every
// other request on.
func (s *Server) setup(next http.Handler) http.Handler {
	if s.config.Setup.Local == nil {
		return next
	}
	pages := s.setupPages()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.ToLower(r.URL.Path)
		page := pages[path]
		if v1 := "/autodiscover/autodiscover.json/v1.0/"; strings.HasPrefix(path, v1) {
			page = pages[v1]
		}
		if page == nil {
			next.ServeHTTP(w, r)
			return
		}
		err := page(w, r)
		if err == nil {
			return
		}
		if r.Context().Err() != nil {
			return // Thunderbird asks in several places and drops what it no longer needs
		}
		f, ok := errors.AsType[*fault](err)
		if !ok {
			s.config.Log.Warn("set-up cannot be answered", "event", "http", "path", r.URL.Path, "err", err)
			f = &fault{http.StatusServiceUnavailable, "Try again later"}
		}
		http.Error(w, f.text, f.status)
	})
}

// domain checks that a domain is served here.
func (s *Server) domain(ctx context.Context, name string) (string, error) {
	domain, err := mail.ParseDomain(strings.TrimSuffix(name, "."))
	if err != nil {
		return "", &fault{http.StatusBadRequest, "That is not the name of a domain"}
	}
	local, err := s.config.Setup.Local(ctx, domain)
	if err != nil {
		return "", err
	}
	if !local {
		return "", &fault{http.StatusNotFound, domain + " is not served here"}
	}
	return domain, nil
}

// address checks that an address is of a domain served here. Whether there is
// such an account is nobody's business.
func (s *Server) address(ctx context.Context, text string) (mail.Address, error) {
	a, err := mail.ParseAddress(strings.TrimSpace(text))
	if err != nil {
		return a, &fault{http.StatusBadRequest, "That is not a mail address"}
	}
	_, err = s.domain(ctx, a.Domain)
	return a, err
}

// asked is the domain of a request for set-up: of the address that it names, or
// of the host that it went to.
func (s *Server) asked(r *http.Request, prefix string) (string, error) {
	for key, values := range r.URL.Query() {
		if strings.EqualFold(key, "emailaddress") && values[0] != "" && !strings.Contains(values[0], "%EMAILADDRESS%") {
			a, err := s.address(r.Context(), values[0])
			return a.Domain, err
		}
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	if domain, cut := strings.CutPrefix(host, prefix); cut {
		return s.domain(r.Context(), domain)
	}
	return s.domain(r.Context(), host)
}

// thunderbird answers autoconfig, by GET.
func (s *Server) thunderbird(w http.ResponseWriter, r *http.Request) error {
	if err := methods(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	domain, err := s.asked(r, "autoconfig.")
	if err != nil {
		return err
	}
	text, err := clientsetup.Thunderbird(domain, s.config.Setup.Services)
	return send(w, "text/xml; charset=utf-8", text, err)
}

// outlook answers autodiscover: by POST with an address, and by GET for who
// looks whether it is there. Errors have a form of their own, at status 200.
func (s *Server) outlook(w http.ResponseWriter, r *http.Request) error {
	if err := methods(w, r, http.MethodPost, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	const contentType = "text/xml; charset=utf-8"
	var a mail.Address
	var err error
	if r.Method == http.MethodPost {
		body, rerr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSetupRequest))
		if rerr != nil {
			return &fault{http.StatusRequestEntityTooLarge, "The request is too large, or did not come whole"}
		}
		a, err = clientsetup.OutlookRequest(body)
	} else {
		a, err = mail.ParseAddress(first(r.URL.Query(), "email", "emailaddress"))
	}
	if err == nil {
		_, err = s.address(r.Context(), a.String())
	}
	f, refused := errors.AsType[*fault](err)
	switch {
	case err == nil:
		text, err := clientsetup.Outlook(a, s.config.Setup.Services)
		return send(w, contentType, text, err)
	case errors.Is(err, clientsetup.ErrSchema):
		text, err := clientsetup.OutlookError(601, "The requested schema is not served: take the outlook response schema")
		return send(w, contentType, text, err)
	case refused && f.status == http.StatusNotFound:
		text, err := clientsetup.OutlookError(500, "The address is not served here")
		return send(w, contentType, text, err)
	case refused || !errors.Is(err, context.DeadlineExceeded) && a.IsZero():
		text, err := clientsetup.OutlookError(600, "Send a POST with an EMailAddress")
		return send(w, contentType, text, err)
	}
	return err
}

// outlookJSON answers the newer form, which only says where the XML is.
func (s *Server) outlookJSON(w http.ResponseWriter, r *http.Request) error {
	if err := methods(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	text := first(r.URL.Query(), "email")
	if i := strings.LastIndex(strings.ToLower(r.URL.Path), "/v1.0/"); text == "" && i >= 0 {
		text = r.URL.Path[i+len("/v1.0/"):]
	}
	a, err := s.address(r.Context(), text)
	if err != nil {
		return err
	}
	if p := first(r.URL.Query(), "protocol"); !strings.EqualFold(p, "autodiscoverv1") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"ErrorCode":"ProtocolNotSupported","ErrorMessage":"Supported protocols: AutodiscoverV1"}`+"\n")
		return nil
	}
	url := "https://" + r.Host + "/autodiscover/autodiscover.xml"
	if !strings.HasPrefix(strings.ToLower(r.Host), "autodiscover.") && !strings.EqualFold(r.Host, s.config.Setup.Hostname) {
		url = "https://autodiscover." + a.Domain + "/autodiscover/autodiscover.xml"
	}
	return send(w, "application/json", fmt.Appendf(nil, `{"Protocol":"AutodiscoverV1","Url":%q}`+"\n", url), nil)
}

// apple answers with a configuration profile for ?emailaddress=.
func (s *Server) apple(w http.ResponseWriter, r *http.Request) error {
	if err := methods(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	a, err := s.address(r.Context(), first(r.URL.Query(), "emailaddress", "email"))
	if err != nil {
		return err
	}
	profile, err := clientsetup.Apple(a, s.config.Setup.Hostname, s.config.Setup.Services)
	if err == nil && s.config.Setup.Sign != nil {
		profile, err = s.config.Setup.Sign(profile)
	}
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.Domain + ".mobileconfig"}))
	return send(w, "application/x-apple-aspen-config", profile, err)
}

// policy answers for the MTA-STS policy, for mta-sts.DOMAIN.
func (s *Server) policy(w http.ResponseWriter, r *http.Request) error {
	if err := methods(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	domain, err := s.asked(r, "mta-sts.")
	if err != nil {
		return err
	}
	text, err := s.config.Setup.STSPolicy(r.Context(), domain)
	return send(w, "text/plain; charset=utf-8", []byte(text), err)
}

// first is the first value of a query's key, whatever the case of the key.
func first(q url.Values, keys ...string) string {
	for _, want := range keys {
		for key, values := range q {
			if strings.EqualFold(key, want) && values[0] != "" {
				return values[0]
			}
		}
	}
	return ""
}

func methods(w http.ResponseWriter, r *http.Request, allowed ...string) error {
	for _, m := range allowed {
		if r.Method == m {
			return nil
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &fault{http.StatusMethodNotAllowed, "Use " + strings.Join(allowed, " or ")}
}

func send(w http.ResponseWriter, contentType string, text []byte, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Write(text) // who hung up hears nothing
	return nil
}
