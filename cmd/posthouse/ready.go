package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"posthouse/internal/config"
)

// ready is the line that --json-ready prints, once, when every listener
// accepts. Scripts rely on its shape.
type ready struct {
	Ready    bool              `json:"ready"`
	PID      int               `json:"pid"`
	Hostname string            `json:"hostname"`
	Listen   map[string]string `json:"listen"`
	Accounts []login           `json:"accounts"`
	Captured *login            `json:"captured,omitempty"`
	CA       string            `json:"ca"`
	Database string            `json:"database"`
	Postgres *postgres         `json:"postgres,omitempty"`
	Data     string            `json:"data"`

	Outside *outside `json:"outside,omitempty"` // in the note of a node alone
}

type postgres struct {
	PID int `json:"pid"`
}

// line prints it as exactly one line.
func (r ready) line(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// page prints it for people.
func (r ready) page(out io.Writer, local bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\nPosthouse is ready on %s.\n\n", r.Hostname)
	for _, name := range config.ListenerNames {
		if addr := r.Listen[name]; addr != "" {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", name, addr, listenerNotes[name])
		}
	}
	fmt.Fprintln(w)
	for _, l := range r.Accounts {
		fmt.Fprintf(w, "  %s\tpassword %s\n", l.Address, or(l.Password, "(changed since; `posthouse account passwd` sets it)"))
	}
	if r.Captured != nil {
		fmt.Fprintf(w, "  %s\tpassword %s\tholds all mail to other domains\n", r.Captured.Address, or(r.Captured.Password, "(changed since)"))
	}
	fmt.Fprintf(w, "\n  CA\t%s\n  data\t%s\n  database\t%s\n", r.CA, r.Data, r.Database)
	if local && r.Listen[config.SMTP] != "" && r.Listen[config.IMAPS] != "" && len(r.Accounts) > 0 {
		to := r.Accounts[0]
		_, port, _ := strings.Cut(r.Listen[config.IMAPS], ":")
		fmt.Fprintf(w, "\nSend one:  swaks --server %s --to %s\n", r.Listen[config.SMTP], to.Address)
		fmt.Fprintf(w, "Read it:   curl --cacert %s -u %s:%s 'imaps://localhost:%s/INBOX;UID=1'\n", r.CA, to.Address, or(to.Password, "PASSWORD"), port)
	}
	fmt.Fprintf(w, "\nCtrl-C stops it.\n\n")
	return w.Flush()
}

// listenerNotes say what a listener is for.
var listenerNotes = map[string]string{
	"smtp": "incoming mail", "submission": "sending, STARTTLS", "submissions": "sending, TLS",
	"imap": "reading, STARTTLS", "imaps": "reading, TLS", "pop3": "fetching, STLS", "pop3s": "fetching, TLS",
	"lmtp": "delivery from another MTA", "http": "health, metrics", "https": "health, metrics",
}
