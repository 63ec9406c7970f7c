#!/bin/sh
# Run by a booted Debian's systemd as udco-test.service: installs the package, offloads the tunnel of stock units, upgrades,
# removes and purges. Prints PASS or FAIL for each step, and DONE.
#
# Beside it lie units.sh, the package, the same as a newer version (new.deb), and the keys.
here=$(dirname "$0")
cd "$here" || exit 1
export DEBIAN_FRONTEND=noninteractive

# step TEXT COMMAND...: what it prints is shown if it fails.
step() {
    what=$1
    shift
    if "$@" >"$here/said" 2>&1; then
        echo "PASS $what"
    else
        echo "FAIL $what ($(tail -n 3 "$here/said" | tr '\n' ' '))"
    fi
}

# Whether a command succeeds within a minute, asked five times a second.
eventually() {
    for _ in $(seq 300); do
        "$@" && return 0
        sleep 0.2
    done
    "$@"
}

pid_of() { systemctl show --property MainPID --value "$1"; }
property() { systemctl show --property "$2" --value "$1"; }
is_offloaded() { grep -q libudco_preload.so "/proc/$(pid_of "$1")/maps"; }
is_plain() { test "$(property "$1" ActiveState)" = active && ! is_offloaded "$1"; }
both_have_a_peer() { udco show --all | grep -c AES-256-GCM | grep -qx 2; }
ping_through() { ip netns exec client ping -q -c 20 -i 0.05 -W 5 "$1" | grep -q ' 0% packet loss'; }
answered() { eventually ip netns exec client ping -q -c 1 -W 1 10.8.0.1; }
every_unit_runs() { test -z "$(systemctl --failed --plain --no-legend)" || { systemctl --failed --plain --no-legend; return 1; }; }

doctor_says() { udco doctor "$1" >doctor; grep -q "$2" doctor || { cat doctor; return 1; }; }

metrics_say() {
    perl -MIO::Socket::INET -e '
        my $exporter = IO::Socket::INET->new("127.0.0.1:9176") or exit 1;
        print $exporter "GET /metrics HTTP/1.1\r\n\r\n";
        print <$exporter>;' >metrics
    grep -q "$1" metrics || { head -n 50 metrics; return 1; }
}
entry_about() { journalctl -q -t udco -o json UDCO_DEVICE="$1" | grep -q '"PRIORITY":"5"'; }

# An engine has a thread for each core.
has_room() {
    for limit in TasksMax LimitNPROC; do
        value=$(property "$1" $limit)
        test "$value" = infinity || test "$value" -ge 1024 || return 1
    done
}

network() {
    ip netns add client
    ip link add outside type veth peer name uplink netns client
    ip address add 192.0.2.1/24 dev outside
    ip link set outside up
    ip -n client address add 192.0.2.2/24 dev uplink
    ip -n client link set uplink up
    ip -n client link set lo up
}

# An administrator's drop-in beside the package's: the client is a host of its own.
configurations() {
    cp server.conf server.crt server.key ca.crt /etc/openvpn/server/
    cp client.conf client.crt client.key ca.crt /etc/openvpn/client/
    sed 's/10\.8\.0/10.9.0/; s/1194/1195/; s/tun0/tun1/' server.conf >/etc/openvpn/legacy.conf
    cp server.crt server.key ca.crt /etc/openvpn/
    mkdir -p /etc/systemd/system/openvpn-client@home.service.d
    printf '[Service]\nNetworkNamespacePath=/run/netns/client\n' \
        >/etc/systemd/system/openvpn-client@home.service.d/override.conf
    mv /etc/openvpn/server/server.conf /etc/openvpn/server/office.conf
    mv /etc/openvpn/client/client.conf /etc/openvpn/client/home.conf
    systemctl daemon-reload
}

snapshot() { find /etc /usr /var/lib/systemd /run/udco -not -path '*/dpkg/*' 2>/dev/null | sort; cat /etc/passwd /etc/group; }

tunnels="openvpn-server@office openvpn-client@home"

step "a booted systemd" eventually sh -c 'systemctl is-system-running | grep -q "running\|degraded\|starting"'
step "two hosts" network
configurations
snapshot >before
step "install" dpkg -i old.deb
step "the journal's catalog has our lines" sh -c 'journalctl --list-catalog | grep udco:'
for unit in udco udco-metrics; do
    step "$unit is not started" sh -c "! systemctl is-active -q $unit && ! systemctl is-enabled -q $unit"
done
step "units verify" systemd-analyze verify --man=no /usr/lib/systemd/system/udco.service udco-metrics.service \
    openvpn-server@office.service openvpn-client@home.service openvpn@legacy.service
step "files are as packed" dpkg --verify udco
# Starting waits for READY=1, so OpenVPN's notifications arrive from behind `udco run`.
step "openvpn-server@ starts" systemctl start openvpn-server@office
step "openvpn-client@ starts" systemctl start openvpn-client@home
step "openvpn@ starts" systemctl start openvpn@legacy
for unit in $tunnels openvpn@legacy; do
    step "$unit is offloaded" is_offloaded "$unit"
    step "$unit has room for the engine" has_room "$unit"
    step "$unit logs as openvpn" sh -c "journalctl -q -u $unit -o json | grep -q 'SYSLOG_IDENTIFIER\":\"\\(ovpn-legacy\\|openvpn\\)\"'"
done
step "packets pass" answered
step "udco doctor finds offload on" doctor_says "openvpn-server@office" "offload is on"
step "udco show has a peer at both ends" eventually both_have_a_peer
step "20 pings in a row" ping_through 10.8.0.1
step "udco metrics starts" systemctl enable --now udco-metrics
step "udco metrics reports the tunnels" eventually metrics_say '^udco_device_peers{.*device="tun0".*} 1$'
step "an engine's log lines are entries with fields" entry_about tun0

before_upgrade=$(for unit in $tunnels; do pid_of $unit; done)
ip netns exec client ping -i 0.05 10.8.0.1 >during &
pinging=$!
step "upgrade" dpkg -i new.deb
kill -INT $pinging
wait $pinging
step "an upgrade restarts no tunnel" test "$before_upgrade" = "$(for unit in $tunnels; do pid_of $unit; done)"
step "an upgrade loses no packet" grep ' 0% packet loss' during
step "the tunnels go on with the library that they have" grep -q 'libudco_preload.so.* (deleted)' "/proc/$(pid_of openvpn-server@office)/maps"
step "20 pings after the upgrade" ping_through 10.8.0.1
step "a restarted tunnel has the new one" sh -c 'systemctl restart openvpn-client@home; ! grep -q "(deleted)" /proc/$(systemctl show --property MainPID --value openvpn-client@home)/maps'
step "packets pass again" answered

sed -i 's/^UDCO_DISABLE=.*/UDCO_DISABLE="openvpn-client@home"/' /etc/default/udco
systemctl restart openvpn-client@home
step "a tunnel turned off runs on OpenVPN's own data path" is_plain openvpn-client@home
step "the other is still offloaded" is_offloaded openvpn-server@office
step "packets pass between the two" answered
sed -i 's/^UDCO_DISABLE=.*/UDCO_DISABLE="all"/' /etc/default/udco
systemctl restart openvpn-server@office
step "udco doctor says so" doctor_says "openvpn-server@office" "take it out of UDCO_DISABLE"
step "all can be turned off" is_plain openvpn-server@office
step "packets pass without offload" answered
sed -i 's/^UDCO_DISABLE=.*/UDCO_DISABLE=""/' /etc/default/udco

# Starting waits for READY=1.
step "the daemon starts" systemctl enable --now udco
step "the daemon runs as its user" test "$(ps -o user= -p "$(pid_of udco)")" = udco
sed -i 's|^UDCO_RUN_OPTIONS=.*|UDCO_RUN_OPTIONS="--engine /run/udco/engine.sock"|' /etc/default/udco
for unit in $tunnels; do systemctl restart "$unit"; done
step "packets pass through the daemon" answered
step "the daemon has both devices" sh -c 'udco show --engine /run/udco/engine.sock --json | grep -c "\"ifindex\"" | grep -qx 2'
daemon=$(pid_of udco)
step "upgrade back" dpkg -i --force-downgrade old.deb
step "an upgrade does not restart the daemon" test "$daemon" = "$(pid_of udco)"
step "packets still pass" ping_through 10.8.0.1
sed -i 's|^UDCO_RUN_OPTIONS=.*|UDCO_RUN_OPTIONS=""|' /etc/default/udco
for unit in $tunnels; do systemctl restart "$unit"; done
step "the daemon stops in order" sh -c 'systemctl stop udco && test "$(systemctl show --property Result --value udco)" = success'
step "its socket is gone" eventually test ! -e /run/udco/engine.sock
step "packets pass with own engines" answered
. ./units.sh
step "no unit failed" every_unit_runs

step "remove" dpkg -r udco
step "a removal interrupts no tunnel" ping_through 10.8.0.1
step "what stays are the settings" sh -c 'test -e /etc/default/udco && test ! -e /usr/bin/udco'
for unit in $tunnels; do systemctl restart "$unit"; done
step "a restarted tunnel runs without udco" is_plain openvpn-server@office
step "packets pass without udco" answered
for unit in $tunnels openvpn@legacy; do systemctl stop "$unit"; done
step "the metrics have ended" sh -c '! pgrep -f "^/usr/bin/udco metrics"'
step "purge" dpkg -P udco
step "engines are gone" eventually sh -c '! pgrep -x udco'
step "no unit failed at the end" every_unit_runs
rmdir /run/udco 2>/dev/null
snapshot >after
step "nothing is left" diff before after
echo DONE
systemctl poweroff
