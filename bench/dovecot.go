package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"posthouse/e2e/child"
)

var errNoComparison = errors.New("no Postfix and Dovecot here to compare with")

// startDovecot runs Debian's Postfix and Dovecot with a configuration of their
// own in a temporary folder: SMTP into Postfix, LMTP into Dovecot, sdbox (its
// fastest common format), default durability.
func startDovecot() (*server, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: they need root", errNoComparison)
	}
	for _, tool := range []string{"postfix", "dovecot", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: no %s (apt-get install postfix dovecot-imapd dovecot-lmtpd)", errNoComparison, tool)
		}
	}
	dir, err := os.MkdirTemp("", "dovecot-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	d := &comparison{dir: dir, smtp: ports[0], imap: ports[1], imaps: ports[2]}
	for _, step := range []func() error{d.writeDovecot, d.writePostfix, d.run} {
		if err := step(); err != nil {
			d.stop()
			return nil, err
		}
	}
	return &server{name: "dovecot", smtp: loopback(d.smtp), imap: loopback(d.imap), imaps: loopback(d.imaps),
		root: d.postfix.PID(), more: []int{d.dovecot.PID()}, imports: d.importMaildir, stop: atEnd(d.stop)}, nil
}

type comparison struct {
	dir               string
	smtp, imap, imaps int
	postfix, dovecot  *child.Process
}

func (d *comparison) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

const dovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = sdbox:DIR/mail/%u
mail_uid = dovecotbench
mail_gid = nogroup
first_valid_uid = 1
mail_max_userip_connections = 0
default_client_limit = 4000
default_process_limit = 4000
passdb {
  driver = passwd-file
  args = DIR/passwd
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR/mail/%u
}
service imap-login {
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = IMAPS
    ssl = yes
  }
}
service lmtp {
  unix_listener DIR/lmtp {
    mode = 0666
  }
}
service imap {
  process_limit = 4000
}
namespace inbox {
  inbox = yes
}
`

func (d *comparison) writeDovecot() error {
	var users strings.Builder
	for i := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", address(i), password)
	}
	conf := strings.NewReplacer("DIR", d.dir, "IMAPS", strconv.Itoa(d.imaps), "IMAP", strconv.Itoa(d.imap),
		"dovecotbench", "nobody").Replace(dovecotConf)
	for _, f := range []string{"run", "state", "mail"} {
		if err := os.Mkdir(d.path(f), 0o755); err != nil {
			return err
		}
	}
	if err := exec.Command("chown", "nobody:nogroup", d.path("mail")).Run(); err != nil {
		return err
	}
	if err := os.WriteFile(d.path("passwd"), []byte(users.String()), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", d.path("key.pem"), "-out", d.path("cert.pem"), "-days", "2", "-subj", "/CN=localhost").CombinedOutput(); err != nil {
		return fmt.Errorf("openssl: %w: %s", err, out)
	}
	return os.WriteFile(d.path("dovecot.conf"), []byte(conf), 0o644)
}

const postfixMain = `
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/postfix-data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.test
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:DIR/lmtp
alias_maps =
alias_database =
smtputf8_enable = yes
biff = no
maillog_file = DIR/postfix.log
maillog_file_prefixes = DIR
message_size_limit = 67108864
`

const postfixMaster = `
SMTP inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
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

func (d *comparison) writePostfix() error {
	for _, f := range []string{"postfix", "queue", "postfix-data"} {
		if err := os.Mkdir(d.path(f), 0o755); err != nil {
			return err
		}
	}
	if err := exec.Command("chown", "postfix", d.path("postfix-data")).Run(); err != nil {
		return err
	}
	replace := strings.NewReplacer("DIR", d.dir)
	if err := os.WriteFile(d.path("postfix", "main.cf"), []byte(replace.Replace(postfixMain)), 0o644); err != nil {
		return err
	}
	master := strings.Replace(postfixMaster, "SMTP", loopback(d.smtp), 1)
	return os.WriteFile(d.path("postfix", "master.cf"), []byte(master), 0o644)
}

func (d *comparison) run() (err error) {
	// The check makes the folders of the queue.
	if err := exec.Command("postfix", "-c", d.path("postfix"), "check").Run(); err != nil {
		return fmt.Errorf("postfix check: %w (its log is in %s)", err, d.dir)
	}
	if d.dovecot, err = child.Start(exec.Command("dovecot", "-F", "-c", d.path("dovecot.conf"))); err != nil {
		return fmt.Errorf("start Dovecot: %w", err)
	}
	if d.postfix, err = child.Start(exec.Command("/usr/lib/postfix/sbin/master", "-c", d.path("postfix"), "-s")); err != nil {
		return fmt.Errorf("start Postfix: %w", err)
	}
	for _, port := range []int{d.smtp, d.imap, d.imaps} {
		if err := waitFor(loopback(port)); err != nil {
			return fmt.Errorf("%w (the logs are in %s)", err, d.dir)
		}
	}
	return nil
}

func (d *comparison) stop() {
	for _, p := range []*child.Process{d.postfix, d.dovecot} {
		if p != nil {
			p.Stop()
		}
	}
	os.RemoveAll(d.dir)
}
