package captured

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/microcosm-cc/bluemonday"

	"posthouse/mailstore"
)

// messagePolicy is the content security policy of a message in HTML: no script,
// no form, nothing from the network but the message's own images.
const messagePolicy = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"

// html answers with a message's HTML for the page's frame: sanitised, and under
// a policy that would stop what the sanitiser missed.
func (h *handler) html(w http.ResponseWriter, r *http.Request) error {
	o, err := h.open(r)
	if err != nil {
		return err
	}
	text, _, err := o.text("text/html")
	if err != nil {
		return err
	}
	if text == "" {
		return notFound("Message %d has no HTML", o.m.UID)
	}
	w.Header().Set("Content-Security-Policy", messagePolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n%s", sanitise(text, o.m.UID))
	return nil
}

// sanitise keeps what a message needs to look like itself. Styles stay, though
// a sanitiser cannot judge them: the policy keeps them from loading anything.
func sanitise(text string, id mailstore.UID) string {
	p := bluemonday.UGCPolicy()
	p.AllowUnsafe(true) // the style element
	p.AllowElements("style", "center", "font", "u", "big")
	p.AllowAttrs("style", "class", "id", "align", "valign", "bgcolor", "width", "height", "border", "cellpadding", "cellspacing", "color", "face", "size", "background").Globally()
	p.AllowURLSchemes("http", "https", "mailto", "cid")
	p.AllowDataURIImages()
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true)
	p.RewriteSrc(func(u *url.URL) {
		if strings.EqualFold(u.Scheme, "cid") {
			*u = url.URL{Path: fmt.Sprintf("/api/v1/captured/%d/cid/%s", id, u.Opaque)}
		}
	})
	return p.Sanitize(text)
}
