package peer

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"posthouse/e2e/child"
)

// eximUser is nobody's. nss_wrapper gives it the name that Debian's Exim was
// built to look for, and so no account has to be made.
const eximUser = 65533

const eximConf = `
exim_user = USER
exim_group = USER
exim_path = DIR/exim4
keep_environment = ^LD_PRELOAD : ^NSS_WRAPPER
deliver_drop_privilege = true
primary_hostname = HOST
spool_directory = DIR/spool
log_file_path = DIR/log/%slog
local_interfaces = ADDRESS
daemon_smtp_ports = PORT
host_lookup =
dns_dnssec_ok = 0
acl_smtp_rcpt = accept
dsn_advertise_hosts = *
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
message_size_limit = 64M
RECEIVING
begin routers
ROUTERS
begin transports
smtp:
  driver = smtp
  allow_localhost
  dnssec_request_domains =
SENDING
begin retry
* * F,1h,1s
`

// Exim starts Debian's, unpacked by scripts/need under root, the folder of the
// project. It needs root to become a user of its own.
func Exim(root string, o Options) (*Server, error) {
	unpacked := filepath.Join(root, ".cache", "peers", "usr")
	program := filepath.Join(unpacked, "sbin", "exim4")
	wrappers, err := filepath.Glob(filepath.Join(unpacked, "lib", "*", "libnss_wrapper.so"))
	if _, missing := os.Stat(program); missing != nil || err != nil || len(wrappers) == 0 {
		return nil, fmt.Errorf("Exim is %w: `make test` as root fetches it", ErrMissing)
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("Exim is %w: it needs root", ErrMissing)
	}
	files, err := o.eximFiles()
	if err != nil {
		return nil, err
	}
	// The project may lie where Exim's user cannot go.
	for name, from := range map[string]string{"exim4": program, "nss_wrapper.so": wrappers[0]} {
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		files[name] = string(text)
	}
	if err := o.write(files); err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(o.Folder, name) }
	if err := errors.Join(os.Mkdir(path("spool"), 0o755), os.Chown(path("spool"), eximUser, eximUser),
		os.Mkdir(path("log"), 0o755), os.Chown(path("log"), eximUser, eximUser), os.Chmod(path("exim4"), 0o755)); err != nil {
		return nil, err
	}
	cmd := exec.Command(path("exim4"), "-C", path("conf"), "-bdf", "-q1s")
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+path("nss_wrapper.so"), "NSS_WRAPPER_PASSWD="+path("passwd"), "NSS_WRAPPER_GROUP="+path("group"))
	s := &Server{Address: o.Listen, folder: o.Folder, log: path("log/mainlog")}
	if s.process, err = child.Start(cmd); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, fmt.Errorf("Exim: %w", err)
	}
	return s, nil
}

// eximFiles are its configuration and what that refers to.
func (o *Options) eximFiles() (map[string]string, error) {
	address, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, err
	}
	receiving, sending := "tls_advertise_hosts =\n", "  hosts_avoid_tls = *\n"
	files := o.certificates()
	if o.Cert != nil {
		receiving = "tls_advertise_hosts = *\ntls_certificate = DIR/cert.pem\ntls_privatekey = DIR/key.pem\n"
	}
	if o.Trust != nil {
		sending = "  hosts_require_tls = *\n  tls_verify_hosts = *\n  tls_verify_certificates = DIR/trust.pem\n  tls_verify_cert_hostnames = *\n"
	}
	var routers strings.Builder
	domains := slices.Sorted(maps.Keys(o.Routes))
	slices.Reverse(domains) // "", all others, comes last
	for i, domain := range domains {
		host, port, err := net.SplitHostPort(o.Routes[domain])
		if err != nil {
			return nil, err
		}
		if domain == "" {
			domain = "*"
		}
		fmt.Fprintf(&routers, "next%d:\n  driver = manualroute\n  domains = %s\n  transport = smtp\n  route_list = * %s::%s\n  self = send\n", i, domain, host, port)
	}
	conf := strings.NewReplacer("RECEIVING", receiving+strings.Join(o.Settings, "\n"), "SENDING", sending, "ROUTERS", routers.String()).Replace(eximConf)
	files["conf"] = strings.NewReplacer("DIR", o.Folder, "HOST", o.Hostname, "USER", fmt.Sprint(eximUser), "ADDRESS", address, "PORT", port).Replace(conf)
	files["passwd"] = fmt.Sprintf("root:x:0:0::/root:/bin/sh\nDebian-exim:x:%d:%d::/:/usr/sbin/nologin\n", eximUser, eximUser)
	files["group"] = fmt.Sprintf("root:x:0:\nDebian-exim:x:%d:\n", eximUser)
	return files, nil
}
