# What must hold of the service, asked from within; the first command that fails ends it.

# `!` would make a command that must fail one that may do either.
not() { if "$@"; then return 1; fi; }
until_true() { until "$@"; do sleep 0.02; done; }
field() { sed -n "s/^$2:\t//p" "/proc/$1/status"; }
agent() { systemctl show --value --property "$1" shunt; }
# Whether a connect to the service reaches a server, which tells back what it is told.
is_served() {
  local answer
  exec 4<>"/dev/tcp/$1/80" || return 1
  echo hello >&4
  read -r answer <&4
  exec 4>&-
  [ "$answer" = hello ]
}
is_closed() { shunt status -o json | tr -d ' \n' | grep -q '"closed":{"udp":0,"tcp":1}'; }

systemctl start shunt
AGENT=$(agent MainPID)
[ "$(agent ActiveState)" = active ]

# It may do what it needs, and nothing else.
for thread in /proc/"$AGENT"/task/*; do
  thread=$AGENT/task/${thread##*/}
  for set in CapPrm CapEff CapBnd; do [ "$(field "$thread" $set)" = 000000c000001000 ]; done
  for set in CapInh CapAmb; do [ "$(field "$thread" $set)" = 0000000000000000 ]; done
  [ "$(field "$thread" NoNewPrivs)" = 1 ]
  [ "$(field "$thread" Seccomp)" = 2 ]
done
has_restarted() { [ "$(agent NRestarts)" -ge 1 ]; }
calls() { agent SystemCallFilter | tr ' ' '\n' | grep -qx "$1"; }
calls bpf
for call in chown mount ptrace init_module reboot setuid; do not calls $call; done
in_agent() { nsenter --target "$AGENT" --mount --root -- "$@"; }
for file in /etc/shunt/new /sys/kernel/new /usr/local/new /var/lib/new; do not in_agent touch "$file"; done
not in_agent sh -c 'echo 1 >/proc/sys/kernel/randomize_va_space'

# What it keeps is its own; the group may ask.
[ "$(stat -c '%a %U %G' /run/shunt)" = '750 root shunt' ]
[ "$(stat -c '%a %U %G' /run/shunt/shunt.sock)" = '660 root shunt' ]
[ "$(stat -c '%a' /var/lib/shunt)" = 700 ]
[ "$(stat -c '%a' /sys/fs/bpf/shunt)" = 700 ]
setpriv --reuid 65534 --regid 65534 --groups 54321 shunt status
not setpriv --reuid 65534 --regid 65534 --clear-groups shunt status

# It works: connects, also of the workload that this is, names, other files, and sockets that are closed.
is_served 240.0.0.1
is_served 240.0.0.2
shunt dns lookup a.test | grep -q 240.0.0.1
shunt check
exec 3<>/dev/tcp/240.0.0.1/80
sed -i 's/127.0.0.2/127.0.0.3/' /etc/shunt/a.yaml
until_true is_closed
not read -r _ <&3
exec 3>&-
is_served 240.0.0.1
sed -i 's/240.0.0.1/240.0.0.9/' /etc/shunt/a.yaml
systemctl reload shunt
until_true is_served 240.0.0.9
[ "$(agent MainPID)" = "$AGENT" ]

# With the lines that the unit gives for it, sockets in other network namespaces are closed as well.
{ echo '[Service]' && sed -n 's/^#   //p' /etc/systemd/system/shunt.service; } >/etc/systemd/system/shunt.service.d/namespaces.conf
systemctl daemon-reload
systemctl restart shunt
[ "$(field "$(agent MainPID)" CapEff)" = 000000c000281000 ]
unshare --net bash -c 'ip link set lo up && exec 3<>/dev/udp/240.0.0.9/53000 && touch /tmp/connected && read -r _ <&3' &
until_true [ -e /tmp/connected ]
sed -i 's/127.0.0.3/127.0.0.2/' /etc/shunt/a.yaml
not wait $!

# One that hangs is ended and started again, and connects go on meanwhile.
cat >/etc/systemd/system/shunt.service.d/watchdog.conf <<'UNIT'
[Service]
WatchdogSec=6
UNIT
systemctl daemon-reload
systemctl restart shunt
AGENT=$(agent MainPID)
kill -STOP "$AGENT"
is_served 240.0.0.9
until_true not [ -d /proc/"$AGENT" ]
is_served 240.0.0.9
until_true has_restarted
until_true systemctl --quiet is-active shunt
is_served 240.0.0.9

# It ends in good order, and leaves its programs alone, for the next to go on from.
systemctl stop shunt
[ "$(agent Result)" = success ]
not [ -e /run/shunt ]
is_served 240.0.0.9
shunt status 2>&1 | grep -q 'programs of one that has ended'
shunt cleanup
not [ -e /sys/fs/bpf/shunt ]
not is_served 240.0.0.9
