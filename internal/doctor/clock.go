package doctor

import (
	"context"
	"net/http"
	"time"

	"posthouse/internal/dns"
)

const (
	badClock   = 5 * time.Minute // DKIM, TLS and TOTP begin to fail
	wrongClock = 30 * time.Second
)

// clock compares the machine's with the database's and with a web server's out
// there. Nobody's answer is no finding against the machine.
func (p *Patient) clock(ctx context.Context, f *findings) {
	if p.Database != nil {
		if theirs, err := p.Database.Now(ctx); err == nil {
			judgeClock(f, "the database", time.Since(theirs))
		}
	}
	if !p.Clock {
		return
	}
	dialer := &dns.Dialer{Resolver: p.Resolver, Timeout: dialPatience}
	client := &http.Client{Timeout: 2 * dialPatience, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// Plain HTTP: with a clock that is wrong by years no certificate is valid.
	for _, url := range []string{"http://www.debian.org/", "http://www.google.com/"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
		if err != nil {
			continue
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			judgeClock(f, req.URL.Host, time.Since(theirs))
			return
		}
	}
	f.add(Note, "clock", "", "nobody out there could be asked for the time")
}

func judgeClock(f *findings, whose string, ahead time.Duration) {
	const mend = "timedatectl set-ntp true"
	off := ahead.Abs().Round(time.Second)
	switch {
	case off > badClock:
		f.add(Error, "clock", mend, "it differs by %s from that of %s: signatures and certificates fail", off, whose)
	case off > wrongClock:
		f.add(Warning, "clock", mend, "it differs by %s from that of %s", off, whose)
	default:
		f.ok("clock", "agrees with that of %s", whose)
	}
}
