#!/bin/sh
# Builds the image and runs the commands of docs/containers.md, with podman and docker, in a Debian that has both. Prints PASS,
# FAIL or SKIPPED for each step, and DONE.
#
# Started in mount and pid namespaces of its own, with the directory of that Debian. Beside it lie the page, the part of a
# source tree that the page's commands read, a base image, and configurations with their keys.
here=$(dirname "$0")
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

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

not() { ! "$@"; }

# The page's commands, and the one that begins with these words.
commands() { sed -n 's/^    //p' "$here/containers.md"; }
page() { commands | grep "^$1" | tee -a "$here/played"; }

# Whether each of them was run; the source tree is packed beforehand.
played() { commands | grep -v '^cargo xtask package$' | sort | diff - "$here/played"; }

# Makes the directory this namespace's root: containers leave a mere chroot when they enter their own mount namespace. podman
# refuses two kinds of control groups beside each other.
enter() {
    mount --bind "$1" "$1" && cd "$1" || exit 1
    mount -t proc none proc
    mount -t sysfs none sys
    mount --rbind /dev dev
    mount -t tmpfs none run
    mount -t tmpfs none tmp
    controllers=$(sed -n 's/^[1-9][0-9]*:\([^:]*\):.*/\1/p' /proc/self/cgroup)
    if [ "$controllers" ]; then mount -t tmpfs none sys/fs/cgroup; else mount -t cgroup2 none sys/fs/cgroup; fi
    for list in $controllers; do
        mkdir "sys/fs/cgroup/$list"
        mount -t cgroup -o "$(echo "$list" | sed 's/^name=/none,&/')" none "sys/fs/cgroup/$list"
    done
    pivot_root . mnt && exec sh /opt/udco-test/image.sh all
}

# The control groups that the engines make, inner ones first.
groups() { find /sys/fs/cgroup -depth -type d \( -path '*/docker*' -o -path '*/libpod*' -o -path '*/buildah*' \); }

start_docker() {
    dockerd "$@" >"$here/dockerd.log" 2>&1 &
    daemon=$!
    step "dockerd starts" eventually docker info
}
end_docker() { kill $daemon && wait $daemon; }

# The only part with a network to the outside: the recipe fetches packages.
build() {
    cd "$here/source" || exit 1
    # By default podman raises limits, which root may not do everywhere.
    limit() { prlimit --noheadings --output HARD "--$1" | sed "s/unlimited/-1/; s/^ */\"$1=/; s/\$/\"/"; }
    printf '[containers]\ndefault_ulimits = [%s, %s]\n' "$(limit nofile)" "$(limit nproc)" >/etc/containers/containers.conf
    sed '$anetns = "host"' /etc/containers/containers.conf >build.conf
    from=$(sed -n 's/^FROM //p' packaging/container/Containerfile)
    step "podman imports $from" podman import -q ../base.tar "docker.io/library/$from"
    build=$(page 'podman build')
    step "podman builds the image" env CONTAINERS_CONF="$PWD/build.conf" sh -c "$build"
    start_docker --bridge=none --iptables=false --ip6tables=false --ip-forward=false
    step "docker imports $from" docker import ../base.tar "$from"
    step "docker builds the image" sh -c "docker build --network host ${build#podman build}"
    # In place of curl, which could not reach anything.
    printf 'FROM udco\nENTRYPOINT ["sh", "-c", "exec sleep 900"]\n' >app
    step "docker builds an application" docker build --tag curlimages/curl --file app .
    end_docker
}

# A host with an address, and a name for it.
host() {
    cd "$here" || exit 1
    ip link set lo up
    ip link add outside type bridge
    ip address add 192.0.2.1/24 dev outside
    ip address add 198.51.100.1/24 dev outside
    ip link set outside up
}

# Nobody reaps orphans here: the dead do not count.
nothing_is_left() { ! ps -C udco,openvpn -o pid=,stat=,args= | grep -v ' Z' && ! ip -o link | grep 'veth\|tun'; }

# status PID NAME VALUE: in /proc/PID/status.
status() { grep -qx "$2:[[:space:]]*$3" "/proc/$1/status" || { grep "^$2" "/proc/$1/status"; return 1; }; }

engines() { ps -C udco -o pid=,nlwp= | awk '$2 > 1 { print $1 }'; }

# Its capabilities and its system calls: a filter of its own besides the container's.
confined() {
    for pid in $(engines); do
        status "$pid" CapPrm '0*' && status "$pid" NoNewPrivs 1 && status "$pid" Seccomp_filters '[2-9]' || return 1
    done
    test "$(engines | wc -l)" = "$1"
}

ping_through() { nsenter --net="/proc/$1/ns/net" ping -q -c 20 -i 0.05 -W 5 10.8.0.1 | grep ' 0% packet loss'; }

# contains PATTERN COMMAND...: what it prints does.
contains() {
    pattern=$1
    shift
    "$@" >"$here/printed" 2>&1
    grep -q "$pattern" "$here/printed" || { cat "$here/printed"; return 1; }
}

with_podman() {
    host
    # podman's containers get this host's names.
    echo "192.0.2.1 server" >>/etc/hosts
    run=$(page 'podman run')
    server=$(echo "$run" | sed 's/^podman run/& --detach --publish 1194:1194\/udp/; s/client/server/g')
    step "podman runs a server" sh -c "$server"
    sh -c "$run" >client.log 2>&1 &
    step "podman runs the client of the page" eventually contains 'data channel offload active' cat client.log
    client=$(podman ps --latest --quiet)
    pid=$(podman inspect --format '{{.State.Pid}}' "$client")
    step "podman: udco show has the peer" eventually contains AES-256-GCM podman exec "$client" udco show
    step "podman: 20 pings in a row" ping_through "$pid"
    step "podman: OpenVPN has CAP_NET_ADMIN, and nothing else" status "$pid" CapPrm "0*1000"
    step "podman: engines are confined, and have no capability" eventually confined 2
    step "podman: no layer of the confinement is refused" not grep 'udco: warning' client.log
    step "podman stops the client in order" podman stop "$client"
    chown 1000 client/client.key
    step "podman: another user's key cannot be read" contains "client.key" sh -c "timeout 20 $run"
    chown 0 client/client.key
    printf 'user nobody\ngroup nogroup\n' | cat client/client.conf - >client/nobody.conf
    user() { echo "$run" | sed "s/^podman run/timeout 20 &/; s/net_admin/net_admin$1/; s/client.conf/nobody.conf/"; }
    all=,setuid,setgid,setpcap
    sh -c "$(user $all)" >user.log 2>&1 &
    step "user and group with their three capabilities" eventually contains 'data channel offload active' cat user.log
    for caps in "" ,setuid,setpcap ,setgid,setpcap; do
        step "user and group end OpenVPN with net_admin$caps" not sh -c "$(user $caps)"
    done
    sh -c "$(user ,setuid,setgid)" >user.log 2>&1 &
    step "user and group turn offload off without setpcap" eventually contains 'offload is NOT active' cat user.log
    podman rm --all --force --time 2 >/dev/null
    step "podman: nothing is left" eventually nothing_is_left
}

with_docker() {
    host
    start_docker
    cp source/packaging/container/compose.yaml .
    sh -c "$(page 'docker compose up app')" >app.log 2>&1 &
    # Longer than a health check tries without a start period.
    sleep 20
    sh -c "$(page 'docker compose up server')" >server.log 2>&1 &
    running() { docker compose ps --status running --services; }
    step "compose starts the application, even if the server is late" eventually contains app running
    pid_of() { docker inspect --format '{{.State.Pid}}' "$(docker compose ps --quiet "$1")"; }
    client=$(pid_of client) app=$(pid_of app)
    step "compose: udco show has the peer" eventually contains AES-256-GCM sh -c "$(page 'docker compose exec')"
    step "compose: 20 pings in a row from the application" ping_through "$app"
    step "compose: the application has the client's network" test /proc/"$app"/ns/net -ef /proc/"$client"/ns/net
    step "compose: OpenVPN has CAP_NET_ADMIN, and nothing else" status "$client" CapPrm "0*1000"
    step "compose: OpenVPN has no new privileges" status "$client" NoNewPrivs 1
    step "compose: the root is read-only" contains 'Read-only' docker compose exec -T client touch /new
    step "compose: engines are confined, and have no capability" confined 2
    step "compose: no layer of the confinement is refused" not grep 'udco: warning' server.log app.log
    tar -C / -xzf source/target/package/*/udco_*.tar.gz usr
    step "udco show --all reports them on the host" contains 'in a container' udco show --all
    # With redirect-gateway, what the application sends elsewhere comes here from the tunnel's address.
    for source in "" !; do iptables -t raw -A PREROUTING $source -s 10.8.0.2 -d 198.51.100.1; done
    step "nothing leaves in the clear while OpenVPN reconnects" leaks_nothing kill -USR1 "$client"
    step "nothing leaves in the clear when OpenVPN is killed" leaks_nothing kill -KILL "$client"
    step "the application's network stays the dead one" not ping_through "$app"
    docker compose restart app
    app=$(pid_of app)
    step "once restarted, it has the side-car's" eventually ping_through "$app"
    step "nothing leaves in the clear when the side-car is restarted" leaks_nothing docker compose restart client
    docker compose stop
    # Without compose. The page says that docker takes podman's arguments.
    run=$(page 'podman run' | sed 's/^podman run/docker run --detach --rm --network udco-test_default/')
    as_server() { sed "s/--detach/& --network-alias server/; s/client/server/g"; }
    step "docker runs a server" sh -c "$(echo "$run" | as_server)"
    read_only=$(echo "$run" | sed 's|--detach|& --name client --read-only --tmpfs /tmp|')
    step "docker runs a client without a writable /run" sh -c "$read_only"
    step "its tunnel works" eventually ping_through "$(docker inspect --format '{{.State.Pid}}' client)"
    step "udco show does not find its engine" contains 'is /run writable' docker exec client udco show
    docker stop client
    step "docker runs one with the host's /run/udco" sh -c "$(echo "$run" | sed 's|--detach|& --volume /run/udco:/run/udco|')"
    step "udco show --all reaches that engine" eventually contains AES-256-GCM udco show --all
    docker stop $(docker ps --quiet)
    udco daemon >daemon.log 2>&1 &
    of_daemon() { sed 's|--detach|& --volume /run/udco/engine.sock:/run/udco/engine.sock --entrypoint udco|
        s|udco \([a-z]*.conf\)|udco run --engine /run/udco/engine.sock -- openvpn --config \1|'; }
    step "a daemon's server" eventually sh -c "$(echo "$run" | of_daemon | as_server)"
    step "a daemon's client" sh -c "$(echo "$run" | of_daemon)"
    step "the daemon has both devices" eventually contains '^2$' sh -c 'udco show --all | grep -c AES-256-GCM'
    docker stop $(docker ps --quiet)
    kill $!
    docker compose down
    step "docker: nothing is left" eventually nothing_is_left
    end_docker
}

# leaks_nothing EVENT...: not a packet of the application leaves but through the tunnel.
leaks_nothing() {
    seen() { iptables -t raw -nvxL PREROUTING | awk -v rule="$1" 'NR == rule + 2 { print $1 }'; }
    iptables -t raw -Z
    nsenter --net=/proc/"$app"/ns/net ping -i 0.01 198.51.100.1 &
    pinging=$!
    sleep 1
    "$@"
    sleep 3
    kill $pinging
    echo "$(seen 1) took the tunnel, and $(seen 2) did not"
    test "$(seen 1)" -gt 20 && test "$(seen 2)" = 0
}

case $1 in
all)
    umount -l /mnt
    groups >"$here/groups"
    build
    unshare --net --mount sh "$0" with_podman
    unshare --net --mount sh "$0" with_docker
    sort -u -o "$here/played" "$here/played"
    step "every command of the page was run" played
    groups | grep -vxFf "$here/groups" | xargs -r rmdir
    echo "SKIPPED an image of Alpine's: it comes from a registry"
    echo DONE
    ;;
with_*) "$1" ;;
*) enter "$1" ;;
esac
