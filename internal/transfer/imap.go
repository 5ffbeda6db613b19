package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/mailstore"
)

// IMAPServer says which mailboxes to read, and how to get at them.
type IMAPServer struct {
	Address  string // host:port
	TLS      bool   // from the first octet; else STARTTLS
	Plain    bool   // without TLS: for servers on this machine
	User     string
	Password string
	Folder   string // only this one and those below it; empty: all
	Config   *tls.Config
}

// ParseIMAP reads imap://user@host[:port][/folder], or imaps: for TLS from the
// first octet. The user's @ may be written as it is.
func ParseIMAP(s string) (IMAPServer, error) {
	bad := func(why string) (IMAPServer, error) {
		return IMAPServer{}, fmt.Errorf("%q is no address of an IMAP server: %s; write imaps://user@host or imap://user@host:port/folder", s, why)
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "imap" && scheme != "imaps" {
		return bad("it begins with neither imap:// nor imaps://")
	}
	host, folder, _ := strings.Cut(rest, "/")
	i := strings.LastIndexByte(host, '@')
	if i < 1 {
		return bad("it names no user")
	}
	user, err := url.PathUnescape(host[:i])
	if err != nil {
		return bad(err.Error())
	}
	if strings.Contains(user, ":") {
		return IMAPServer{}, errors.New("the address of the IMAP server holds a password, which others can see in the list of processes: leave it out, and give it when asked or with --password-stdin")
	}
	if folder, err = url.PathUnescape(strings.TrimSuffix(folder, "/")); err != nil {
		return bad(err.Error())
	}
	port := "143"
	if scheme == "imaps" {
		port = "993"
	}
	name := host[i+1:]
	if h, p, err := net.SplitHostPort(name); err == nil {
		name, port = h, p
	}
	name = strings.Trim(name, "[]")
	if name == "" {
		return bad("it names no host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return bad("its port is none")
	}
	return IMAPServer{Address: net.JoinHostPort(name, port), TLS: scheme == "imaps", User: user, Folder: folder}, nil
}

// IMAP reads the mailboxes of an IMAP server. A connection that breaks is made
// again; nothing is changed there.
type IMAP struct {
	server IMAPServer
	client *imapclient.Client
}

// OpenIMAP connects and logs in.
func OpenIMAP(ctx context.Context, server IMAPServer) (*IMAP, error) {
	m := &IMAP{server: server}
	return m, m.connect(ctx)
}

// Close logs out.
func (m *IMAP) Close() error {
	if m.client == nil {
		return nil
	}
	err := m.client.Logout().Wait()
	return errors.Join(err, m.client.Close())
}

// silence is how long a server may take for its next octets.
const silence = 3 * time.Minute

func (m *IMAP) connect(ctx context.Context) error {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	raw, err := dialer.DialContext(ctx, "tcp", m.server.Address)
	if err != nil {
		return fmt.Errorf("connect to the IMAP server: %w", err)
	}
	conn := net.Conn(&patientConn{raw})
	host, _, err := net.SplitHostPort(m.server.Address)
	if err != nil {
		return err
	}
	config := &tls.Config{}
	if m.server.Config != nil {
		config = m.server.Config.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	opt := &imapclient.Options{TLSConfig: config}
	var c *imapclient.Client
	switch {
	case m.server.TLS:
		t := tls.Client(conn, config)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return fmt.Errorf("TLS with the IMAP server %s: %w", m.server.Address, err)
		}
		c = imapclient.New(t, opt)
	case m.server.Plain:
		c = imapclient.New(conn, opt)
	default:
		if c, err = imapclient.NewStartTLS(conn, opt); err != nil {
			conn.Close()
			return fmt.Errorf("STARTTLS with the IMAP server %s: %w", m.server.Address, err)
		}
	}
	if err := c.WaitGreeting(); err != nil {
		c.Close()
		return fmt.Errorf("the IMAP server %s: %w", m.server.Address, err)
	}
	if err := c.Login(m.server.User, m.server.Password).Wait(); err != nil {
		c.Close()
		return &LoginError{m.server.User, m.server.Address, err}
	}
	m.client = c
	return nil
}

// LoginError says that the IMAP server refused the login.
type LoginError struct {
	User, Address string
	Err           error
}

func (e *LoginError) Error() string {
	return fmt.Sprintf("the IMAP server %s refuses the login of %s: %v", e.Address, e.User, e.Err)
}

func (e *LoginError) Unwrap() error { return e.Err }

// patientConn ends a connection on which nothing comes for too long.
type patientConn struct{ net.Conn }

func (c *patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *patientConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Folders lists the mailboxes of the user himself, not those that others share
// with him (RFC 2342), with their special use and subscription.
func (m *IMAP) Folders(ctx context.Context) ([]Folder, error) {
	caps := m.client.Caps()
	var personal imap.NamespaceDescriptor
	var others []string
	if caps.Has(imap.CapNamespace) || caps.Has(imap.CapIMAP4rev2) {
		ns, err := m.client.Namespace().Wait()
		if err != nil {
			return nil, fmt.Errorf("ask the IMAP server for its namespaces: %w", err)
		}
		if len(ns.Personal) > 0 {
			personal = ns.Personal[0]
		}
		for _, n := range append(ns.Other, ns.Shared...) {
			if n.Prefix != "" && n.Prefix != personal.Prefix {
				others = append(others, n.Prefix)
			}
		}
	}
	list, err := m.list(caps)
	if err != nil {
		return nil, fmt.Errorf("list the folders of the IMAP server: %w", err)
	}
	var folders []Folder

	for _, d := range list {
		foreign := slices.ContainsFunc(others, func(p string) bool { return strings.HasPrefix(d.Mailbox+string(d.Delim), p) })
		if foreign || slices.Contains(d.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(d.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		f := imapFolder(d, personal.Prefix)
		if f.Use == mailstore.All || f.Use == mailstore.Flagged || f.Use == mailstore.Important {
			continue // Gmail's views of mail that stands elsewhere too
		}
		if m.server.Folder != "" && !within(d, m.server.Folder, f.Path) {
			continue
		}
		folders = append(folders, f)
	}
	if m.server.Folder != "" && len(folders) == 0 {
		return nil, fmt.Errorf("the IMAP server has no folder %q", m.server.Folder)
	}
	return folders, nil
}

// list asks with RETURN where the server knows it, else with LSUB's modern form
// left out: everything counts as subscribed then.
func (m *IMAP) list(caps imap.CapSet) ([]*imap.ListData, error) {
	extended := caps.Has(imap.CapListExtended) || caps.Has(imap.CapIMAP4rev2)
	var opt *imap.ListOptions
	if extended {
		opt = &imap.ListOptions{ReturnSubscribed: true, ReturnSpecialUse: caps.Has(imap.CapSpecialUse) || caps.Has(imap.CapIMAP4rev2)}
	}
	list, err := m.client.List("", "*", opt).Collect()
	if err != nil || extended {
		return list, err
	}
	for _, d := range list {
		d.Attrs = append(d.Attrs, imap.MailboxAttrSubscribed)
	}
	return list, nil
}

// imapFolder is a folder as LIST gives it, without the personal prefix.
func imapFolder(d *imap.ListData, prefix string) Folder {
	f := Folder{ID: d.Mailbox, Subscribed: slices.Contains(d.Attrs, imap.MailboxAttrSubscribed)}
	name := d.Mailbox
	if prefix != "" && !strings.EqualFold(name, "INBOX") {
		name = strings.TrimPrefix(name, prefix)
	}
	if strings.EqualFold(name, "INBOX") {
		f.Subscribed = true
	}
	if d.Delim == 0 {
		f.Path = []string{name}
	} else {
		f.Path = strings.Split(name, string(d.Delim))
	}
	for attr, use := range map[imap.MailboxAttr]mailstore.SpecialUse{
		imap.MailboxAttrSent: mailstore.Sent, imap.MailboxAttrDrafts: mailstore.Drafts, imap.MailboxAttrTrash: mailstore.Trash,
		imap.MailboxAttrJunk: mailstore.Junk, imap.MailboxAttrArchive: mailstore.Archive, imap.MailboxAttrAll: mailstore.All,
		imap.MailboxAttrFlagged: mailstore.Flagged, imap.MailboxAttrImportant: mailstore.Important,
	} {
		if slices.ContainsFunc(d.Attrs, func(a imap.MailboxAttr) bool { return strings.EqualFold(string(a), string(attr)) }) {
			f.Use = use
		}
	}
	return f
}

// within reports whether a folder is the wanted one or below it; the wanted one
// may be written with the server's delimiter or with ours.
func within(d *imap.ListData, wanted string, path []string) bool {
	for _, name := range []string{d.Mailbox, strings.Join(path, string(d.Delim)), strings.Join(path, "/")} {
		if name == wanted || strings.EqualFold(wanted, "INBOX") && strings.EqualFold(name, wanted) ||
			strings.HasPrefix(name, wanted+string(d.Delim)) || strings.HasPrefix(name, wanted+"/") {
			return true
		}
	}
	return false
}

// Read gives the messages of a mailbox by rising UID. When the connection breaks
// it goes on on a new one, as long as each brings something.
func (m *IMAP) Read(ctx context.Context, f Folder, sink *Sink) error {
	r := &imapReader{m: m, folder: f, sink: sink}
	failed := 0
	for {
		before := r.progress
		err := r.read(ctx)
		if err == nil || r.fatal || ctx.Err() != nil {
			return err
		}
		if r.progress > before {
			failed = 0
		}
		if failed++; failed > 5 {
			return err
		}
		sink.im.note("the connection to the IMAP server broke (%v); connecting again", err)
		m.client.Close() // broken already
		for wait := time.Second; ; wait *= 2 {
			if err = m.connect(ctx); err == nil {
				break
			}
			if _, refused := errors.AsType[*LoginError](err); refused || wait > time.Minute {
				return err
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// errTorn says that the connection ended within a message. The client gives the
// end of the connection out as the end of the message.
var errTorn = errors.New("the connection ended within a message")

func spoolLiteral(sink *Sink, r imap.LiteralReader) (Message, error) {
	body := sink.Spool()
	n, err := io.Copy(body, r)
	if err == nil && n != r.Size() {
		err = errTorn
	}
	if err != nil {
		body.Close()
		return Message{}, err
	}
	return Message{Body: body}, nil
}
