# The steps of `cargo xtask kernel-driver`, after begin.sh: prints PASS or FAIL and its name for each.

pass() { echo "PASS $*"; }
fail() { echo "FAIL $*"; }

# step NAME COMMAND...: the command succeeds. Its output is shown if it does not.
step() {
    name=$1
    shift
    if "$@" >/tmp/step 2>&1; then pass "$name"; else fail "$name ($*: $(tail -n 3 /tmp/step | tr '\n' ' '))"; fi
}

# says NAME TEXT COMMAND...: its output contains the text, however it ends.
says() {
    name=$1 text=$2
    shift 2
    "$@" >/tmp/says 2>&1
    if grep -qF -- "$text" /tmp/says; then pass "$name"; else fail "$name ($*: no '$text' in: $(tr '\n' ' ' </tmp/says | cut -c1-400))"; fi
}

# appears NAME TEXT FILE: within 10 seconds.
appears() {
    tries=0
    while [ $tries -lt 100 ]; do
        if grep -qF -- "$2" "$3" 2>/dev/null; then
            pass "$1"
            return
        fi
        usleep 100000
        tries=$((tries + 1))
    done
    fail "$1 (no '$2' in: $(tr '\n' ' ' <"$3" | cut -c1-400))"
}

# ends NAME PID: within 10 seconds.
ends() {
    tries=0
    while kill -0 "$2" 2>/dev/null && [ $tries -lt 100 ]; do
        usleep 100000
        tries=$((tries + 1))
    done
    if kill -0 "$2" 2>/dev/null; then fail "$1"; else pass "$1"; fi
}

# keys NAME SLOT KEY_ID CIPHER: fresh ones, installed at both ends.
keys() {
    rm -f /tmp/key.txt
    udco key generate /tmp/key.txt
    arguments="tun0 --peer 1 --slot $2 --key-id $3 --cipher $4 --file /tmp/key.txt"
    step "$1: key new at one end" $A udco key new $arguments --direction 0
    step "$1: key new at the other end" $B udco key new $arguments --direction 1
}

# pings NAME: both ways, small and large.
pings() {
    step "$1: ping" $B ping -c 3 -W 3 10.8.0.1
    step "$1: ping back" $A ping -c 3 -W 3 10.8.0.2
    step "$1: ping of 1,300 bytes" $B ping -c 3 -W 3 -s 1300 10.8.0.1
}

# Without the module.
echo >/proc/sys/kernel/modprobe
says "without the module, link add names the cure" "modprobe ovpn" $A udco link add tun0 --driver kernel
says "without the module, show finds nothing" "no engine is running" $A udco show
echo /sbin/modprobe >/proc/sys/kernel/modprobe
step "modprobe ovpn" modprobe ovpn
modprobe tun

# The kernel's driver at both ends, over UDP.
step "UDP: link add, many peers" $A udco link add tun0 --driver kernel --mode mp --mtu 1400
says "UDP: link add, one peer, first free number" tun0 $B udco link add tun%d --driver kernel
says "a name that is taken is refused" "there is an interface of this name" $B udco link add tun0 --driver kernel
says "an engine is refused" "omit --engine" $B udco peer get tun0 --engine /run/udco/none
addresses
says "the link has the requested MTU" "mtu 1400" $A ip link show tun0
$A udco monitor tun0 --json >/tmp/monitor 2>&1 &
monitor=$!
appears "monitor listens" '"driver":"kernel"' /tmp/monitor
$A udco peer new tun0 --id 1 --remote 192.0.2.2:1194 --local 0.0.0.0:1194 --vpn4 10.8.0.2 --print-control >/tmp/a 2>&1 &
a=$!
$B udco peer new tun0 --id 1 --remote 192.0.2.1:1194 --local 0.0.0.0:1194 >/tmp/b 2>&1 &
b=$!
appears "UDP: peer new" "holding its socket" /tmp/a
appears "UDP: peer new at the other end" "holding its socket" /tmp/b
keys UDP primary 0 aes-gcm
pings UDP
says "show --json: the driver" '"driver": "kernel"' $A udco show --json
says "show --json: the mode" '"mode": "mp"' $A udco show --json
says "show --json: the key" '"cipher": "aes-gcm"' $A udco show --json
says "show, for people" "tun0 (mp, ovpn, driver: kernel), 1 peer" $A udco show
says "link show --json" '"kind": "ovpn"' $A udco link show tun0 --json
says "peer get --json" '"remote": "192.0.2.2:1194"' $A udco peer get tun0 --id 1 --json
says "peer get: the counters" "received" $A udco peer get tun0
says "key get" "primary key 0 (aes-gcm)" $A udco key get tun0 --peer 1 --slot primary
step "peer set" $A udco peer set tun0 --id 1 --keepalive 10:60
says "peer get after peer set" "keepalive every 10 s, timeout 60 s" $A udco peer get tun0 --id 1
says "a peer that does not exist is refused in the kernel's words" "cannot find peer with id 7" $A udco peer get tun0 --id 7
keys "second key" secondary 1 aes-gcm
step "key swap" $A udco key swap tun0 --peer 1
step "key swap at the other end" $B udco key swap tun0 --peer 1
says "key get after key swap" "primary key 1" $A udco key get tun0 --peer 1 --slot primary
pings "second key"
step "key del" $A udco key del tun0 --peer 1 --slot secondary
# Another address: the other end follows with the next packet that it can open.
ip -n b address add 192.0.2.3/24 dev vb
step "peer set, local address" $B udco peer set tun0 --id 1 --remote 192.0.2.1:1194 --local-address 192.0.2.3
step "ping from another address" $B ping -c 3 -W 3 10.8.0.1
says "the peer has floated" '"remote": "192.0.2.3:1194"' $A udco peer get tun0 --id 1 --json

# Anything but a data packet is one for OpenVPN. A TFTP request begins with 0.
$B timeout 2 tftp -g -l /tmp/none -r none 192.0.2.1 1194 2>/dev/null
appears "control packets reach the holder of the socket" "the first is 0x00" /tmp/a
step "peer set, to expire" $A udco peer set tun0 --id 1 --keepalive 1:3
appears "monitor: the peer has expired" '"reason":"expired"' /tmp/monitor
ends "peer new ends with its peer" $a
step "peer del" $B udco peer del tun0 --id 1
ends "peer new ends with its peer, at the other end" $b
step "link del" $A udco link del tun0
step "link del at the other end" $B udco link del tun0
ends "monitor ends with the last device" $monitor
says "the links are gone" "does not exist" $A ip link show tun0

# The same over IPv6, with several peers on one socket.
step "IPv6: link add" $A udco link add tun0 --driver kernel --mode mp
step "IPv6: link add at the other end" $B udco link add tun0 --driver kernel
addresses
printf '1 - [fd00:2::2]:1194 10.8.0.2\n2 - [fd00:2::9]:1194 10.8.0.9\n' >/tmp/peers
$A udco peer new tun0 --peers /tmp/peers --local [::]:1194 --keepalive 0:0 >/tmp/a 2>&1 &
a=$!
$B udco peer new tun0 --id 1 --remote [fd00:2::1]:1194 --local [::]:1194 >/tmp/b 2>&1 &
b=$!
appears "IPv6: peer new, a file of peers" "peers 1 2 on tun0" /tmp/a
appears "IPv6: peer new at the other end" "holding its socket" /tmp/b
keys IPv6 primary 0 chacha20-poly1305
pings IPv6
says "IPv6: show has both peers" "peer 2 at [fd00:2::9]:1194 10.8.0.9" $A udco show
kill $a $b
ends "IPv6: peer new ends on SIGTERM" $a
says "the driver forgets the peers of a closed socket" "no peers" $A udco peer get tun0
$A udco link del tun0
$B udco link del tun0

# The same over TCP.
step "TCP: link add" $A udco link add tun0 --driver kernel
step "TCP: link add at the other end" $B udco link add tun0 --driver kernel
addresses
$A udco peer new tun0 --id 1 --tcp-listen 192.0.2.1:1195 >/tmp/a 2>&1 &
a=$!
usleep 500000
$B udco peer new tun0 --id 1 --tcp-connect 192.0.2.1:1195 >/tmp/b 2>&1 &
b=$!
appears "TCP: peer new" "holding its socket" /tmp/a
appears "TCP: peer new at the other end" "holding its socket" /tmp/b
keys TCP primary 0 aes-gcm
pings TCP
kill $b
appears "TCP: the end of the connection is reported" "transport-disconnect" /tmp/a
ends "TCP: peer new ends with its connection" $a
$A udco link del tun0
$B udco link del tun0

# The kernel's driver at one end, an engine at the other.
$B udco daemon >/tmp/daemon 2>&1 &
daemon=$!
appears "udco daemon" "listening at" /tmp/daemon
step "mixed: link add, driver kernel" $A udco link add tun0 --driver kernel --mode mp
step "mixed: link add, driver udco" $B udco link add tun0 --driver udco
step "both drivers in one namespace" $B udco link add tun9 --driver kernel
says "show --json: the engine's device" '"name": "tun0"' $B udco show --json
says "show --json: the kernel's device beside it" '"name": "tun9"' $B udco show --json
addresses
$A udco peer new tun0 --id 1 --remote 192.0.2.2:1194 --local 0.0.0.0:1194 --vpn4 10.8.0.2 >/tmp/a 2>&1 &
a=$!
$B udco peer new tun0 --id 1 --remote 192.0.2.1:1194 --local 0.0.0.0:1194 >/tmp/b 2>&1 &
b=$!
appears "mixed: peer new, driver kernel" "holding its socket" /tmp/a
appears "mixed: peer new, driver udco" "holding its socket" /tmp/b
keys "mixed, AES-256-GCM" primary 0 aes-gcm
pings "mixed, AES-256-GCM"
keys "mixed, CHACHA20-POLY1305" primary 1 chacha20-poly1305
pings "mixed, CHACHA20-POLY1305"
kill $a $b
ends "mixed: peer new ends on SIGTERM" $a
ends "mixed: peer new ends on SIGTERM, driver udco" $b

printf '1 - - 10.8.0.2\n' >/tmp/peers
$A udco peer new tun0 --peers /tmp/peers --tcp-listen 192.0.2.1:1195 >/tmp/a 2>&1 &
a=$!
usleep 500000
$B udco peer new tun0 --id 1 --tcp-connect 192.0.2.1:1195 >/tmp/b 2>&1 &
b=$!
appears "mixed, TCP: peer new, driver kernel" "holding its socket" /tmp/a
appears "mixed, TCP: peer new, driver udco" "holding its socket" /tmp/b
keys "mixed, TCP" primary 2 aes-gcm
pings "mixed, TCP"
kill $a $b
step "mixed: link del, driver kernel" $A udco link del tun0
step "mixed: link del, driver udco" $B udco link del tun0
step "an engine's namespace keeps the kernel's device" $B udco link del tun9
kill $daemon

if dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace'; then fail "the kernel complains"; else pass "the kernel does not complain"; fi
echo DONE
poweroff -f
