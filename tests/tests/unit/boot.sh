# Boots systemd as the first process of namespaces of its own, on a root that is made here, with the unit as it is in the tree.
# Arguments: the top of the tree, the binary, and a folder for what is written.
set -eu
TREE=$1 SHUNT=$2 OUT=$3

mount --make-rprivate /
ip link set lo up 2>/dev/null || true
ROOT=$OUT/root
mkdir "$ROOT"
mount -t tmpfs -o mode=755 tmpfs "$ROOT"
cd "$ROOT"
mkdir -p before dev etc/shunt etc/default etc/systemd/system out proc root run sys tmp usr var/lib
for link in bin lib lib64 sbin; do ln -s "usr/$link" "$link"; done
mount --bind -o ro /usr usr
mount -t tmpfs tmpfs usr/local
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --bind "$OUT" out
cp /etc/passwd /etc/group etc/
echo nameserver 127.0.0.9 >etc/resolv.conf
echo 0123456789abcdef0123456789abcdef >etc/machine-id

# What README says to install.
install -D "$SHUNT" usr/local/bin/shunt
install -D -m 644 "$TREE/dist/shunt.service" etc/systemd/system/shunt.service
echo shunt:x:54321: >>etc/group
cp out/a.yaml etc/shunt/
echo SHUNT_CLOSE_REMOVED=all >etc/default/shunt

unit() { mkdir -p "$(dirname "etc/systemd/system/$1")" && cat >"etc/systemd/system/$1"; }

# A call that the unit does not list ends the agent here, so that none can hide.
unit shunt.service.d/test.conf <<'UNIT'
[Unit]
DefaultDependencies=no
After=
[Service]
StandardError=append:/out/agent.log
SystemCallErrorNumber=kill
UNIT
unit server.socket <<'UNIT'
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=127.0.0.2:8080
ListenStream=127.0.0.3:8080
Accept=yes
UNIT
unit server@.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/cat
StandardInput=socket
UNIT
unit probe.service <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=server.socket
After=server.socket
SuccessAction=exit-force
SuccessActionExitStatus=0
FailureAction=exit-force
FailureActionExitStatus=1
[Service]
Type=oneshot
TimeoutStartSec=60
ExecStart=/bin/bash -eux /out/probe.sh
StandardOutput=append:/out/probe.log
StandardError=append:/out/probe.log
UNIT

# Nothing of the machine is left to be seen but what was bound above.
pivot_root . before
cd /
umount --lazy /before
exec env -i container=other PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=probe.service --show-status=0
