#!/bin/busybox sh
# How each script of the guest begins, which is its first process.

/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/udco /run/netns
export PATH=/usr/local/bin:/sbin:/bin

# iproute2's. This shell prefers its own, which knows neither namespaces nor veth.
ip() { /usr/local/bin/ip "$@"; }

# Without the function, so that `$!` is the program's id.
A="/usr/local/bin/ip netns exec a"
B="/usr/local/bin/ip netns exec b"

# addresses: those inside the tunnel, tun0 at both ends.
addresses() {
    $A ip address add 10.8.0.1/24 dev tun0
    $B ip address add 10.8.0.2/24 dev tun0
    $A ip link set tun0 up
    $B ip link set tun0 up
}

# The firmware leaves the cursor behind its own words.
echo
echo "KERNEL $(uname -r)"
ip link set lo up
ip netns add a
ip netns add b
ip link add va netns a type veth peer name vb netns b
for end in a b; do ip -n $end link set lo up; done
ip -n a address add 192.0.2.1/24 dev va
ip -n b address add 192.0.2.2/24 dev vb
ip -n a address add fd00:2::1/64 dev va nodad
ip -n b address add fd00:2::2/64 dev vb nodad
ip -n a link set va up
ip -n b link set vb up
