# The steps of units that limit udco, and of ways to end it: guest.sh runs this part once both tunnels are up, each on an
# engine of its own.

server=openvpn-server@office client=openvpn-client@home

# limit LINE...: an administrator's drop-in for the server, with these lines.
dropped=/etc/systemd/system/$server.service.d
limit() {
    mkdir -p $dropped
    printf '%s\n' '[Service]' "$@" >$dropped/restricted.conf
    systemctl daemon-reload
}

unlimit() {
    rm -r $dropped
    systemctl daemon-reload
}

options() { sed -i "s|^UDCO_RUN_OPTIONS=.*|UDCO_RUN_OPTIONS=\"$1\"|" /etc/default/udco; }

# Restarts both: a client would notice its server's only after a minute. They start more often than systemd likes.
restart() {
    systemctl reset-failed $server $client 2>/dev/null
    systemctl restart $server && systemctl restart $client
}

# Whether a line since the server's last start has these words.
said() {
    journalctl --sync
    journalctl -q -o cat _SYSTEMD_INVOCATION_ID="$(property $server InvocationID)" >lines
    grep -q -- "$1" lines || { tail -n 5 lines; return 1; }
}

# explained SUBJECT WORDS: whether `journalctl -x` explains a line of this kind in these words.
explained() {
    journalctl --sync
    id=$(journalctl --list-catalog | grep -m 1 "udco: .*$1" | cut -d' ' -f1)
    test -n "$id" && journalctl -q -x MESSAGE_ID="$id" >lines
    grep -q -- "$2" lines || { echo "$id"; tail -n 20 lines; return 1; }
}

group_of() { property "$1" ControlGroup; }
# As control groups of either version, or of both, are mounted.
processes_in() { cat "/sys/fs/cgroup$1/cgroup.procs" "/sys/fs/cgroup/unified$1/cgroup.procs" "/sys/fs/cgroup/systemd$1/cgroup.procs" 2>/dev/null; }
is_empty() { test -z "$(processes_in "$1")"; }
device() { if test "$1" = $client; then ip -n client link show tun0; else ip link show tun0; fi; }

# Whether a tunnel ends in order, at once, and leaves neither a process nor its device.
ends() {
    group=$(group_of "$1")
    device "$1" || test "$2" = plain || return 1
    if is_empty "$group"; then echo "nothing in $group"; return 1; fi
    begun=$(date +%s)
    systemctl stop "$1"
    took=$(($(date +%s) - begun))
    echo "$took s, $(property "$1" Result)"
    test $took -le 5 && test "$(property "$1" Result)" = success && eventually is_empty "$group" && ! device "$1"
}

# An engine has a process that removes its socket; killed together, they leave it to whoever looks for engines next.
no_dead_socket() {
    udco show --all
    test "$(ls /run/udco | wc -l)" = "$(pgrep -fc '^/usr/bin/udco engine ')" || { ls /run/udco; pgrep -fa udco; return 1; }
}

flood() { ip netns exec client ping -q -f -W 1 10.8.0.1 >/dev/null 2>&1 & }

# nspawn lets no container write to the controllers of version 1, so systemd would ignore TasksMax=.
enforces() { ! systemd-run -q --collect --wait -p TasksMax=1 sh -c '/bin/true; exit 0'; }
enforce() {
    enforces && return
    umount /sys/fs/cgroup/pids && mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids && systemctl daemon-reexec && enforces
}

step "journalctl -x explains a line" explained 'is offloaded' 'Subject: tun0 is offloaded'

# Faults B6.
step "systemd enforces TasksMax=" enforce
printf '#!/bin/sh\ndate >/run/client-connected\n' >/etc/openvpn/server/connected
chmod +x /etc/openvpn/server/connected
cp /etc/openvpn/server/office.conf plain.conf
printf 'script-security 2\nclient-connect /etc/openvpn/server/connected\n' >>/etc/openvpn/server/office.conf
options "--workers 16"
limit TasksMax=10
step "TasksMax=10: the server starts" restart
step "TasksMax=10: packets pass" answered
step "TasksMax=10: it is offloaded" said 'data channel offload active'
step "TasksMax=10: a line names the limit" said 'workers instead of 16: the thread limit (TasksMax='
step "TasksMax=10: journalctl -x says what to do" explained 'A limit allows' 'Raise TasksMax='
step "TasksMax=10: a script runs beside the engine" test -s /run/client-connected
step "TasksMax=10: it stops in order" ends $server
mv plain.conf /etc/openvpn/server/office.conf
rm -f /run/client-connected /etc/openvpn/server/connected
for tasks in 3 7; do
    limit TasksMax=$tasks
    step "TasksMax=$tasks: the server starts" restart
    step "TasksMax=$tasks: packets pass without offload" answered
    step "TasksMax=$tasks: a line names the limit" said 'the thread limit (TasksMax=.*: OpenVPN uses its own data path'
    step "TasksMax=$tasks: no engine is left" test "$(processes_in "$(group_of $server)" | sort -u | wc -l)" = 1
    step "TasksMax=$tasks: it stops in order" ends $server plain
done
step "journalctl -x says what to do without offload" explained 'udco cannot serve' 'TasksMax=1024'
options ""

# Faults B8. Without Unix sockets, OpenVPN cannot notify systemd either.
limit Type=exec 'RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK'
step "without AF_UNIX: the server starts" restart
step "without AF_UNIX: packets pass" answered
step "without AF_UNIX: it is offloaded" said 'data channel offload active'
step "without AF_UNIX: udco show says why it does not see the engine" sh -c 'udco show 2>&1 | grep RestrictAddressFamilies='
step "without AF_UNIX: it stops in order" ends $server
systemctl start udco
options "--engine /run/udco/engine.sock"
step "without AF_UNIX: the server starts beside a shared engine" restart
step "without AF_UNIX: packets pass without offload" answered
step "without AF_UNIX: a line says why" said 'RestrictAddressFamilies=): OpenVPN uses its own data path'
unlimit

# Faults B11.
restart
step "packets pass through a shared engine" answered
daemon=$(pid_of udco) group=$(group_of udco)
systemctl kill -s HUP udco
step "SIGHUP does not end the daemon" ping_through 10.8.0.1
step "it is still the same one" test "$daemon" = "$(pid_of udco)"
flood
begun=$(date +%s)
step "the daemon stops under traffic" sh -c 'systemctl stop udco && test "$(systemctl show --property Result --value udco)" = success'
step "it stops at once" test $(($(date +%s) - begun)) -le 5
step "nothing of it is left" eventually is_empty "$group"
step "its socket is gone at once" test ! -e /run/udco/engine.sock
step "journalctl -x explains its last line" explained 'several tunnels' 'Start udco.service, then the tunnels'
step "the client's device stays, and drops all packets" device $client
kill $!
options ""
restart
step "packets pass after the daemon's end" answered

# Ends of tunnels.
flood
step "a client stops in order under traffic" ends $client
step "a server stops in order under traffic" ends $server
kill $!
restart
step "packets pass after the stops" answered
group=$(group_of $client)
systemctl kill -s KILL $client
step "killed with its engine: the device stays" device $client
step "killed with its engine: no process is left" eventually is_empty "$group"
step "killed with its engine: udco show removes its socket" eventually no_dead_socket
restart
step "killed with its engine: packets pass after the next start" answered
systemctl kill --kill-who=main -s KILL $client
step "openvpn killed: the device stays" device $client
step "openvpn killed: the engine ends" eventually is_empty "$group"
step "openvpn killed: journalctl -x says what to do" explained 'stays without an OpenVPN' 'ip link del tun0'
restart
step "openvpn killed: packets pass after the next start" answered

# Faults C2.
limit Type=exec ExecStart= 'ExecStart=/usr/lib/udco/run-openvpn %n /usr/bin/env -i /usr/sbin/openvpn --config %i.conf'
step "env -i: the server starts" restart
step "env -i: packets pass without offload" answered
step "env -i: a line names cause and cure" said '`env -i` drops the preload library: put `udco run --` right before'
limit Type=exec ExecStart= 'ExecStart=/usr/lib/udco/run-openvpn %n /bin/sh -c "unset LD_PRELOAD; exec /usr/sbin/openvpn --config office.conf"'
step "a lost library: the server starts" restart
step "a lost library: packets pass without offload" answered
step "a lost library: the engine says so" eventually said 'no program has requested offload'
step "a lost library: journalctl -x says what to do" explained 'No program has requested' 'udco doctor'
step "a lost library: it stops in order" ends $server plain
unlimit
restart
step "packets pass as before" answered
