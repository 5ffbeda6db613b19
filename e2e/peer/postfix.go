package peer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"posthouse/e2e/child"
)

const postfixMain = `
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = HOST
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
transport_maps = texthash:DIR/conf/transport
local_transport = error:nobody lives here
alias_maps =
alias_database =
smtputf8_enable = yes
biff = no
maillog_file = DIR/postfix.log
maillog_file_prefixes = DIR
message_size_limit = 67108864
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
`

const postfixMaster = `
LISTEN inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// Postfix starts Debian's. It needs root.
func Postfix(o Options) (*Server, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("Postfix is %w: it needs root", ErrMissing)
	}
	if _, err := exec.LookPath("postfix"); err != nil {
		return nil, fmt.Errorf("Postfix is %w: `make test` as root installs it", ErrMissing)
	}
	main := postfixMain
	if o.Cert != nil {
		main += "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = DIR/key.pem, DIR/cert.pem\nsmtpd_tls_received_header = yes\n"
	}
	if o.Trust != nil {
		main += "smtp_tls_security_level = verify\nsmtp_tls_CAfile = DIR/trust.pem\nsmtp_tls_verify_cert_match = hostname\n"
	}
	main += strings.Join(o.Settings, "\n") + "\n"
	var routes strings.Builder
	for domain, to := range o.Routes {
		host, port, err := net.SplitHostPort(to)
		if err != nil {
			return nil, err
		}
		if domain == "" {
			domain = "*"
		}
		fmt.Fprintf(&routes, "%s smtp:[%s]:%s\n", domain, host, port)
	}
	files := o.certificates()
	files["conf/main.cf"] = strings.NewReplacer("DIR", o.Folder, "HOST", o.Hostname).Replace(main)
	files["conf/master.cf"] = strings.Replace(postfixMaster, "LISTEN", o.Listen, 1)
	files["conf/transport"] = routes.String()
	if err := o.write(files); err != nil {
		return nil, err
	}
	for _, f := range []string{"queue", "data"} {
		if err := os.Mkdir(filepath.Join(o.Folder, f), 0o755); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("chown", "postfix", filepath.Join(o.Folder, "data")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chown: %w: %s", err, out)
	}
	conf := filepath.Join(o.Folder, "conf")
	s := &Server{Address: o.Listen, folder: o.Folder, log: filepath.Join(o.Folder, "postfix.log")}
	// The check makes the folders of the queue. postfix start-fg would put a
	// shell between us and the master.
	check := exec.Command("postfix", "-c", conf, "check")
	if out, err := check.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("postfix check: %w\n%s", err, out)
	}
	var err error
	if s.process, err = child.Start(exec.Command("/usr/lib/postfix/sbin/master", "-c", conf, "-s")); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, fmt.Errorf("Postfix: %w", err)
	}
	return s, nil
}
