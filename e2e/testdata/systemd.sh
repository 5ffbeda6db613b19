#!/bin/bash
# systemd.sh BINARY UNIT DIR: boots systemd in namespaces of its own, on an
# overlay of this machine with nothing of it reachable, runs the unit with the
# binary, and leaves what was seen in DIR/out. Needs root.
set -euo pipefail
binary=$1 unit=$2 dir=$3

if [ "${4-}" != inside ]; then
	top=/sys/fs/cgroup
	[ -d $top/unified ] && top=$top/unified
	group=$top/posthouse-test-$$
	mkdir "$group"
	trap 'find "$group" -depth -type d -exec rmdir {} +' EXIT
	bash -c 'echo $$ > "$0"/cgroup.procs && exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --propagation private "$@"' \
		"$group" "$0" "$binary" "$unit" "$dir" inside && true
	exit $(($? == 130 ? 0 : $?)) # a power-off looks like an interrupt
fi

mkdir -p "$dir/out"
mount -t tmpfs upper "$dir/over"
root=$dir/over/root
mkdir "$dir/over/upper" "$dir/over/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/over/upper,workdir=$dir/over/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs run "$root/run"
mkdir "$root/seen"
mount --bind "$dir/out" "$root/seen"
install -m 0755 "$binary" "$root/usr/bin/posthouse"
mount -t tmpfs tmp "$root/tmp"
ip link set lo up
chroot "$root" useradd --system --user-group --home-dir /var/lib/posthouse --no-create-home --shell /usr/sbin/nologin posthouse 2>/dev/null || true
etc=$root/etc/systemd/system
rm -rf "$etc"/*.wants "$root/etc/posthouse" "$root/var/lib/posthouse"
mkdir -p "$root/etc/posthouse" "$etc/posthouse.service.d"
printf 'hostname = "mx.example.test"\n[acme]\ndirectory = "off"\n' > "$root/etc/posthouse/posthouse.toml"
cp "$unit" "$etc/posthouse.service"
# Nothing of this machine is started beside it, there is no journal, and its
# watchdog barks sooner.
printf '[Unit]\nDefaultDependencies=no\n[Service]\nWatchdogSec=4\nStandardOutput=append:/seen/server.log\nStandardError=append:/seen/server.log\n' > "$etc/posthouse.service.d/test.conf"
printf '[Unit]\nDefaultDependencies=no\nWants=posthouse.service check.service\n' > "$etc/test.target"
printf '[Unit]\nDefaultDependencies=no\nAfter=posthouse.service\n[Service]\nType=oneshot\nExecStart=/check.sh\nStandardOutput=append:/seen/check.log\nStandardError=append:/seen/check.log\n' > "$etc/check.service"
cat > "$root/check.sh" <<'CHECK'
#!/bin/bash
show() { echo "$1: $(systemctl show posthouse -p ActiveState -p Result -p NRestarts -p StatusText | sort | tr '\n' ' ')"; }
active() { for _ in $(seq 150); do systemctl -q is-active posthouse && return; sleep .2; done; }
messages() { curl -sS -k --user alice@example.test:secretsecret imaps://127.0.0.1/INBOX -X 'STATUS INBOX (MESSAGES)'; }
status() { for _ in $(seq 50); do systemctl show posthouse -p StatusText --value | grep -q "$1" && break; sleep .2; done; }
active
show started
pid=$(systemctl show posthouse -p MainPID --value)
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr '\t\n' ' ;'
echo
ps -eo user:20,args | grep -c '^posthouse .*[b]in/postgres -D' | sed 's/^/database as posthouse: /'
posthouse domain add example.test
echo secretsecret | posthouse account add alice@example.test --password-stdin
swaks --server 127.0.0.1:25 --from bob@example.org --to alice@example.test --hide-all && echo 'mail on port 25'
messages
systemctl reload posthouse
status 'takes mail'
show reloaded
echo 'hostname =' > /etc/posthouse/posthouse.toml
systemctl reload posthouse
status refused
show refused
printf 'hostname = "mx.example.test"\n[acme]\ndirectory = "off"\n' > /etc/posthouse/posthouse.toml
kill -STOP "$pid"
for _ in $(seq 100); do [ "$(systemctl show posthouse -p NRestarts --value)" -ge 1 ] && break; sleep .2; done
active
show 'after the watchdog'
messages
systemctl stop posthouse
show stopped
ps -eo args | grep -c '[b]in/postgres -D' | sed 's/^/databases left: /'
systemctl --force --force poweroff
CHECK
chmod +x "$root/check.sh"
export container=other
exec chroot "$root" /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
