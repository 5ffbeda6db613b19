package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const unit = "../cmd/posthouse/posthouse.service"

// TestUnitFile lets systemd read the unit, and weigh what it leaves open.
func TestUnitFile(t *testing.T) {
	t.Parallel()
	tool(t, "systemd-analyze")
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, folder(t), "posthouse.service", []byte(strings.ReplaceAll(string(text), "/usr/bin/posthouse", binary)))
	command(t, "systemd-analyze", "verify", file)
	// In tenths: from 20 on it is worse than what was reached.
	command(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", file)
}

// TestUnit boots systemd in namespaces of its own and runs the unit: it is told
// when the server is ready, the private database works under the hardening, port
// 25 is bound by a user without rights, a reload is heard, the watchdog ends a
// server that hangs and mail is there afterwards, and a stop leaves nothing.
func TestUnit(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces and an overlay")
	}
	for _, name := range []string{"systemd-analyze", "unshare", "ip", "useradd", "curl", "swaks"} {
		tool(t, name)
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("no systemd here")
	}
	dir := folder(t)
	if err := os.Mkdir(filepath.Join(dir, "over"), 0o755); err != nil {
		t.Fatal(err)
	}
	probe := `mount -t tmpfs t "$0" && mkdir "$0"/u "$0"/w "$0"/m && mount -t overlay o -o "lowerdir=/,upperdir=$0/u,workdir=$0/w" "$0"/m && mkdir /sys/fs/cgroup/*/posthouse-probe-$$ && rmdir /sys/fs/cgroup/*/posthouse-probe-$$`
	probe = strings.ReplaceAll(probe, "/sys/fs/cgroup/*/", `"$([ -d /sys/fs/cgroup/unified ] && echo /sys/fs/cgroup/unified || echo /sys/fs/cgroup)"/`)
	if out, err := exec.Command("unshare", "--mount", "--propagation", "private", "bash", "-c", probe, filepath.Join(dir, "over")).CombinedOutput(); err != nil {
		t.Skipf("this machine does not let us boot another on top of it: %v: %s", err, out)
	}
	file, err := filepath.Abs(unit)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	console, err := exec.CommandContext(ctx, "testdata/systemd.sh", binary, file, dir).CombinedOutput()
	log, _ := os.ReadFile(filepath.Join(dir, "out", "check.log")) // missing: the comparison says so
	for _, want := range []string{
		"started: ActiveState=active NRestarts=0 Result=success StatusText=mx.example.test takes mail",
		"CapBnd: 0000000000000400", "CapEff: 0000000000000400", "NoNewPrivs: 1", "Seccomp: 2", // CAP_NET_BIND_SERVICE alone
		"database as posthouse: 1", "mail on port 25", `* STATUS "INBOX" (MESSAGES 1)`,
		"reloaded: ActiveState=active NRestarts=0 Result=success StatusText=mx.example.test takes mail",
		"refused: ActiveState=active NRestarts=0 Result=success StatusText=the configuration is refused",
		"after the watchdog: ActiveState=active NRestarts=1",
		"stopped: ActiveState=inactive NRestarts=1 Result=success", "databases left: 0",
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("%q is not in what was seen", want)
		}
	}
	if strings.Count(string(log), "MESSAGES 1)") != 2 {
		t.Error("the message is not there before and after")
	}
	if t.Failed() {
		server, _ := os.ReadFile(filepath.Join(dir, "out", "server.log"))
		t.Logf("%v\nseen:\n%s\nconsole:\n%s\nserver:\n%s", err, log, tail(console), tail(server))
	}
}
