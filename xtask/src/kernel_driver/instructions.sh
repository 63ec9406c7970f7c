# The loads of `cargo xtask instructions`, after begin.sh: prints COUNT, the data channel, the load, its
# instructions, and the bytes or packets that were delivered.
#
# qemu's clock counts instructions: each takes a nanosecond, and idle time passes at once. `rounds` and `mib` come with the
# kernel's command line.

# executed: instructions of all tasks so far, and of interrupts that came while they ran. There is one processor. The
# kernel's figures of idle time are samples.
executed() { awk '/^cpu0 / { print $8 }' /proc/schedstat; }

# count LOAD COMMAND...
count() {
    load=$1
    shift
    before=$(executed)
    if $B "$@" >/tmp/load 2>&1; then
        echo "COUNT $subject $load $(($(executed) - before)) $(delivered)"
    else
        echo "FAIL $subject, $load: $(tail -n 2 /tmp/load | tr '\n' ' ')"
    fi
}

# delivered: what iperf3's JSON says last.
delivered() {
    case $load in
        stream) sed -n '/"sum_received"/,/}/s/.*"bytes":[^0-9]*\([0-9]*\).*/\1/p' /tmp/load ;;
        *) awk '/"lost_packets"/ { lost = $2 } /"packets"/ { all = $2 } END { print all - lost }' /tmp/load ;;
    esac
}

# loads TO: all of them, to this address, once it answers.
loads() {
    tries=0
    until $B ping -c 1 -W 1 "$1" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries = 30 ]; then
            echo "FAIL $subject: no answer ($(tail -n 3 /tmp/a /tmp/b | tr '\n' ' '))"
            return
        fi
        usleep 200000
    done
    count stream iperf3 -c "$1" -J -i 0 -C cubic -n "${mib}M"
    count datagrams iperf3 -c "$1" -J -i 0 -u -l 1350 -b 100M -k 20000
    count small iperf3 -c "$1" -J -i 0 -u -l 64 -b 5M -k 20000
}

# peers: of the devices tun0 at both ends, with keys.
peers() {
    addresses
    $A udco peer new tun0 --id 1 --remote 192.0.2.2:1194 --local 192.0.2.1:1194 >/tmp/a 2>&1 &
    a=$!
    $B udco peer new tun0 --id 1 --remote 192.0.2.1:1194 --local 192.0.2.2:1194 >/tmp/b 2>&1 &
    b=$!
    rm -f /tmp/key.txt
    udco key generate /tmp/key.txt
    key="tun0 --peer 1 --slot primary --key-id 0 --cipher aes-gcm --file /tmp/key.txt"
    until $A udco key new $key --direction 0 >/dev/null 2>&1; do usleep 100000; done
    until $B udco key new $key --direction 1 >/dev/null 2>&1; do usleep 100000; done
}

over_bare() { loads 192.0.2.1; }

over_kernel() {
    for end in "$A" "$B"; do $end udco link add tun0 --driver kernel --mtu 1416; done
    peers
    loads 10.8.0.1
    kill $a $b
    for end in "$A" "$B"; do $end udco link del tun0; done
}

# daemon END SOCKET: an engine at one end, with a device.
daemon() {
    $1 udco daemon --socket "$2" >/dev/null 2>&1 &
    daemons="$daemons $!"
    until [ -e "$2" ]; do usleep 100000; done
    $1 udco link add tun0 --engine "$2" --mtu 1416
}

over_udco() {
    daemons=
    daemon "$A" /run/udco/a.sock
    daemon "$B" /run/udco/b.sock
    peers
    loads 10.8.0.1
    kill $a $b
    for end in "$A" "$B"; do $end udco link del tun0; done
    kill $daemons
    wait $daemons
}

over_openvpn() {
    $A openvpn --config /etc/openvpn/a >/tmp/a 2>&1 &
    a=$!
    $B openvpn --config /etc/openvpn/b >/tmp/b 2>&1 &
    b=$!
    loads 10.8.0.1
    kill $a $b
    wait $a $b
}

# On a booted system, udev loads it: without it, the kernel would use ciphers in C.
modprobe aesni_intel
modprobe ovpn
modprobe tun
modprobe tcp_cubic
$A iperf3 -s >/dev/null 2>&1 &
# What the kernel still does after its start would count as the first load's.
sleep 20
round=0
while [ $round -lt "${rounds:-1}" ]; do
    for subject in bare kernel udco openvpn; do
        "over_$subject"
    done
    round=$((round + 1))
done
echo DONE
poweroff -f
