package api

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"posthouse/internal/events"
	"posthouse/internal/mail"
)

// unsubscribePath is where the links of List-Unsubscribe lead.
const unsubscribePath = "/api/v1/unsubscribe/"

// unsubscribeLink takes to off the list of the account, with one click.
func (s *server) unsubscribeLink(account int64, list string, to mail.Address) (string, error) {
	token, err := s.Unsubscriber.Token(events.Unsubscribe{Account: account, Address: to, List: list})
	return s.URL + unsubscribePath + token, err
}

// unsubscribeView is what the page shows.
type unsubscribeView struct {
	Hostname, Address, List string
	Done                    bool
}

// showUnsubscribe is what who follows the link sees. It changes nothing:
// programs follow links, too (RFC 8058 §3.2).
func (s *server) showUnsubscribe(r *request) error {
	un, err := s.Unsubscriber.Open(r.PathValue("token"))
	if err != nil {
		return r.html(http.StatusNotFound, "unsubscribe.html", unsubscribeView{})
	}
	r.w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	return r.html(http.StatusOK, "unsubscribe.html", unsubscribeView{s.Hostname, un.Address.String(), un.List, false})
}

// maxClick is more than any mail program sends, in octets.
const maxClick = 4 << 10

// unsubscribe is what a mail program posts (RFC 8058 §3.1), as a form of either
// kind, without cookies or a key: the token is enough.
func (s *server) unsubscribe(r *request) error {
	un, err := s.Unsubscriber.Open(r.PathValue("token"))
	if err != nil {
		return r.html(http.StatusNotFound, "unsubscribe.html", unsubscribeView{})
	}
	body, err := io.ReadAll(http.MaxBytesReader(r.w, r.Body, maxClick))
	if err != nil {
		return fault("broken-off", "The body did not come, or is too large").because(err)
	}
	if !isClick(r, string(body)) {
		return fault("invalid-value", "Send List-Unsubscribe=One-Click (RFC 8058)")
	}
	_, err = s.Suppressions.Add(r.Context(), un.Address, un.Suppression())
	if errors.Is(err, events.ErrInvalid) {
		return fault("invalid-value", "%s cannot stand on the list", un.Address)
	}
	if err != nil {
		return unavailable(err)
	}
	r.log.Info("unsubscribed", "event", "api.unsubscribed", "account", un.Account)
	return r.html(http.StatusOK, "unsubscribe.html", unsubscribeView{s.Hostname, un.Address.String(), un.List, true})
}

// isClick reads the one field that there is, of a form in either encoding.
func isClick(r *request, body string) bool {
	const name, value = "List-Unsubscribe", "One-Click"
	if r.media() == "multipart/form-data" {
		return strings.Contains(body, `name="`+name+`"`) && strings.Contains(body, value) ||
			strings.Contains(body, `name=`+name) && strings.Contains(body, value)
	}
	form, err := url.ParseQuery(strings.TrimSpace(body))
	return err == nil && form.Get(name) == value
}
