//! What is done about each command of the pages, in the order in which they are played.

use crate::command::Command;
use crate::command::How::{self, Elsewhere, Not, Runs, Stays, Unit, Writes};
use crate::command::On::{Client, Server, Shared};

const fn of(page: &'static str, words: &'static str, how: How) -> Command {
    Command { page, words, how }
}

const README: &str = "README.md";
const CONTRIBUTING: &str = "CONTRIBUTING.md";
const QUICK_START: &str = "docs/quick-start.md";
const OPERATING: &str = "docs/operating.md";
const CONTAINERS: &str = "docs/containers.md";
const DOCTOR: &str = "docs/doctor.md";
const METRICS: &str = "docs/metrics.md";
const CAPTURE: &str = "docs/capture.md";
const TOP: &str = "docs/top.md";
const KERNEL: &str = "docs/kernel-driver.md";
const PERFORMANCE: &str = "docs/performance.md";

/// Runs in a booted Debian, by `cargo xtask package --test`.
const BOOTED: &str = "xtask/src/package/guest.sh";
const RESTRICTED: &str = "xtask/src/package/units.sh";
/// Runs with a Debian's podman and docker, by `cargo xtask package --test-image`.
const CONTAINED: &str = "xtask/src/package/image.sh";
/// Runs in a qemu guest, by `cargo xtask kernel-driver`.
const GUEST: &str = "xtask/src/kernel_driver/steps.sh";
/// Follows that section of the README to the letter.
const BY_HAND: How = Elsewhere("crates/testbed/tests/readme.rs", "## Without OpenVPN");
const LONG: How = Not("a long run of its own, which builds a release");
const BUILD: How = Not("builds the source tree, as the run of this test did");

pub(super) const COMMANDS: &[Command] = &[
    // Keys and a tunnel, as a newcomer makes them.
    of(
        QUICK_START,
        "apt install ./udco_*_amd64.deb openvpn",
        Elsewhere(BOOTED, "dpkg -i old.deb"),
    ),
    of(
        QUICK_START,
        "cd /etc/openvpn/server",
        Runs(Server, &[0], ""),
    ),
    of(
        QUICK_START,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=server -keyout server.key -out server.crt",
        Runs(Server, &[0], ""),
    ),
    of(
        QUICK_START,
        "openssl x509 -fingerprint -sha256 -noout -in server.crt",
        Runs(Server, &[0], "Fingerprint="),
    ),
    of(
        QUICK_START,
        "cd /etc/openvpn/client",
        Runs(Client, &[0], ""),
    ),
    of(
        QUICK_START,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=client -keyout client.key -out client.crt",
        Runs(Client, &[0], ""),
    ),
    of(
        QUICK_START,
        "openssl x509 -fingerprint -sha256 -noout -in client.crt",
        Runs(Client, &[0], "Fingerprint="),
    ),
    of(
        QUICK_START,
        "systemctl enable --now openvpn-server@office",
        Unit(Server, "/etc/openvpn/server", "office.conf"),
    ),
    of(
        QUICK_START,
        "systemctl enable --now openvpn-client@home",
        Unit(Client, "/etc/openvpn/client", "home.conf"),
    ),
    of(
        QUICK_START,
        "ping -c 3 10.8.0.1",
        Runs(Client, &[0], " 0% packet loss"),
    ),
    of(QUICK_START, "udco show", Runs(Server, &[0], "AES-256-GCM")),
    of(QUICK_START, "udco show tun0 --watch", Stays(Client, "tun0")),
    of(
        QUICK_START,
        "udco doctor openvpn-server@office",
        Elsewhere(BOOTED, "doctor_says \"openvpn-server@office\""),
    ),
    of(
        QUICK_START,
        "journalctl -u openvpn-server@office -t udco",
        Elsewhere(BOOTED, "journalctl -q -t udco"),
    ),
    of(
        QUICK_START,
        "systemctl enable --now udco-metrics",
        Elsewhere(BOOTED, "systemctl enable --now udco-metrics"),
    ),
    of(QUICK_START, "cargo build --release", BUILD),
    of(
        QUICK_START,
        "target/release/udco run -- openvpn --config client.conf",
        Not("as the README's, with the path of a build"),
    ),
    // Beside that tunnel: another one, as the README starts it.
    of(
        README,
        "udco run -- openvpn --config /etc/openvpn/server.conf",
        Stays(Server, "data channel offload active"),
    ),
    of(
        README,
        "udco run -- openvpn --config client.conf",
        Stays(Client, "data channel offload active"),
    ),
    of(README, "udco show", Runs(Client, &[0], "tun1")),
    of(OPERATING, "udco show", Runs(Server, &[0], "tun1")),
    of(
        DOCTOR,
        "udco doctor",
        Runs(Server, &[0, 8, 9, 10], "offload"),
    ),
    of(
        DOCTOR,
        "udco doctor --config /etc/openvpn/client.conf",
        Runs(Client, &[0, 8, 9, 10], "offload would be on"),
    ),
    of(
        DOCTOR,
        "udco doctor openvpn-server@office",
        Elsewhere(BOOTED, "doctor_says \"openvpn-server@office\""),
    ),
    of(
        METRICS,
        "udco metrics",
        Runs(Server, &[0], "udco_device_peers{device=\"tun0\""),
    ),
    of(
        METRICS,
        "udco metrics --textfile /var/lib/prometheus/node-exporter/udco.prom --every 15s",
        Writes(Server, "/var/lib/prometheus/node-exporter/udco.prom"),
    ),
    of(
        METRICS,
        "udco metrics --listen 127.0.0.1:9176",
        Stays(Server, "metrics at"),
    ),
    of(
        METRICS,
        "systemctl enable --now udco-metrics",
        Elsewhere(BOOTED, "systemctl enable --now udco-metrics"),
    ),
    of(
        CAPTURE,
        "udco capture tun0 --write tunnel.pcapng",
        Writes(Server, "/etc/openvpn/server/tunnel.pcapng"),
    ),
    of(
        OPERATING,
        "udco capture tun0 --drops -w drops.pcapng",
        Writes(Client, "/etc/openvpn/client/drops.pcapng"),
    ),
    of(
        CAPTURE,
        "udco capture tun0 --peer 3 --inner --write peer3.pcapng",
        Not("as the first one, with a filter: one capture of a device at a time"),
    ),
    of(
        CAPTURE,
        "udco capture tun0 --drops --write - | tshark -i - -T fields -e frame.comment -e ip.src -e ip.dst",
        Elsewhere("crates/testbed/tests/capture.rs", "frame.comment"),
    ),
    of(
        OPERATING,
        "udco ping tun0 --id 1",
        Elsewhere("crates/testbed/tests/ping.rs", "tun0 -c 2"),
    ),
    of(
        TOP,
        "udco top",
        Elsewhere("crates/testbed/tests/top.rs", "top; echo"),
    ),
    of(
        TOP,
        "udco top --every 5",
        Not("as the one before it, slower"),
    ),
    // A daemon.
    of(README, "udco daemon &", Stays(Shared, "listening at")),
    of(
        README,
        "udco run --engine /run/udco/engine.sock -- openvpn --config one.conf",
        Stays(Shared, "Initialization Sequence Completed"),
    ),
    // Followed elsewhere.
    of(README, "udco daemon &", BY_HAND),
    of(README, "udco link add tun0 --up", BY_HAND),
    of(README, "ip address add 10.8.0.1/24 dev tun0", BY_HAND),
    of(
        README,
        "udco peer new tun0 --id 1 --remote 192.0.2.2:1194 --local 0.0.0.0:1194 --keepalive 10:60 &",
        BY_HAND,
    ),
    of(README, "udco key generate key.txt", BY_HAND),
    of(
        README,
        "udco key new tun0 --peer 1 --slot primary --key-id 0 --cipher aes-gcm --file key.txt --direction 0",
        BY_HAND,
    ),
    of(README, "udco peer get tun0", BY_HAND),
    of(README, "udco link show tun0 --json", BY_HAND),
    of(README, "udco monitor tun0", BY_HAND),
    of(
        README,
        "apt install ./target/package/amd64/udco_*_amd64.deb",
        Elsewhere(BOOTED, "dpkg -i old.deb"),
    ),
    of(
        OPERATING,
        "apt install ./target/package/amd64/udco_*_amd64.deb",
        Elsewhere(BOOTED, "dpkg -i old.deb"),
    ),
    of(
        OPERATING,
        "systemctl restart openvpn-server@office",
        Elsewhere(BOOTED, "systemctl restart openvpn-server@office"),
    ),
    of(
        OPERATING,
        "systemctl enable --now udco",
        Elsewhere(BOOTED, "systemctl enable --now udco\n"),
    ),
    of(
        OPERATING,
        "sed -i 's|^UDCO_RUN_OPTIONS=.*|UDCO_RUN_OPTIONS=\"--engine /run/udco/engine.sock\"|' /etc/default/udco",
        Elsewhere(
            BOOTED,
            "s|^UDCO_RUN_OPTIONS=.*|UDCO_RUN_OPTIONS=\"--engine /run/udco/engine.sock\"|",
        ),
    ),
    of(
        OPERATING,
        "journalctl -t udco -p warning",
        Elsewhere(BOOTED, "journalctl -q -t udco"),
    ),
    of(
        OPERATING,
        "journalctl -t udco UDCO_DEVICE=tun0 UDCO_PEER=3",
        Elsewhere(BOOTED, "UDCO_DEVICE="),
    ),
    of(
        OPERATING,
        "journalctl -u openvpn-server@office -o json",
        Elsewhere(BOOTED, "journalctl -q -u $unit -o json"),
    ),
    of(
        OPERATING,
        "journalctl -t udco -x",
        Elsewhere(RESTRICTED, "journalctl -q -x MESSAGE_ID="),
    ),
    of(
        OPERATING,
        "journalctl --list-catalog | grep udco:",
        Elsewhere(BOOTED, "journalctl --list-catalog | grep"),
    ),
    of(
        OPERATING,
        "journalctl MESSAGE_ID=293241a81ada424ab1ae2882a04077f9",
        Elsewhere(RESTRICTED, "journalctl -q -x MESSAGE_ID="),
    ),
    of(KERNEL, "modprobe ovpn", Elsewhere(GUEST, "modprobe ovpn")),
    of(
        KERNEL,
        "udco link add tun0 --driver kernel --up",
        Elsewhere(GUEST, "udco link add tun0 --driver kernel"),
    ),
    of(
        KERNEL,
        "udco peer new tun0 --id 1 --remote 192.0.2.2:1194 --local 0.0.0.0:1194 --keepalive 10:60 &",
        Elsewhere(GUEST, "udco peer new tun0"),
    ),
    of(
        KERNEL,
        "udco key new tun0 --peer 1 --slot primary --key-id 0 --cipher aes-gcm --file key.txt --direction 0",
        Elsewhere(GUEST, "udco key new"),
    ),
    of(KERNEL, "udco show", Elsewhere(GUEST, "udco show")),
    of(
        CONTAINERS,
        "podman build --file packaging/container/Containerfile --tag udco target/package/amd64",
        Elsewhere(CONTAINED, "page 'podman build'"),
    ),
    of(
        CONTAINERS,
        "podman run --cap-drop all --cap-add net_admin --device /dev/net/tun --volume ./client:/etc/openvpn:ro udco client.conf",
        Elsewhere(CONTAINED, "page 'podman run'"),
    ),
    of(
        CONTAINERS,
        "docker compose up server",
        Elsewhere(CONTAINED, "page 'docker compose up server'"),
    ),
    of(
        CONTAINERS,
        "docker compose up app",
        Elsewhere(CONTAINED, "page 'docker compose up app'"),
    ),
    of(
        CONTAINERS,
        "docker compose exec client udco show",
        Elsewhere(CONTAINED, "page 'docker compose exec'"),
    ),
    // Not run.
    of(
        OPERATING,
        "tar -C / -xzf udco_*_amd64.tar.gz",
        Not("installs the files of the package into `/`, without its scripts"),
    ),
    of(
        OPERATING,
        "systemd-sysusers udco.conf && systemd-tmpfiles --create udco.conf && systemctl daemon-reload",
        Not("as the package's postinst does, which a booted Debian runs"),
    ),
    of(
        OPERATING,
        "journalctl --update-catalog",
        Not("as systemd's package does when ours brings a catalog, in a booted Debian"),
    ),
    of(
        OPERATING,
        "echo 'include <abstractions/udco>' >> /etc/apparmor.d/local/openvpn",
        Not("needs a profile of OpenVPN, which Debian does not have"),
    ),
    of(
        OPERATING,
        "systemctl reload apparmor",
        Not("needs AppArmor in the kernel"),
    ),
    of(
        README,
        "rustup target add x86_64-unknown-linux-musl",
        Not("fetches from the network"),
    ),
    of(README, "cargo xtask demo", LONG),
    of(README, "cargo xtask check", LONG),
    of(README, "cargo xtask package", LONG),
    of(OPERATING, "cargo xtask package", LONG),
    of(CONTAINERS, "cargo xtask package", LONG),
    of(KERNEL, "cargo xtask kernel-driver", LONG),
    of(CONTRIBUTING, "cargo xtask check", LONG),
    of(
        CONTRIBUTING,
        "cargo build --release && cargo test -p udco-testbed --test float -- --nocapture",
        BUILD,
    ),
    of(
        CONTRIBUTING,
        "cargo run --release -p udco-sim --example replay -- 0 10000",
        LONG,
    ),
    of(CONTRIBUTING, "SIM_SEED=1234 cargo test -p udco-sim", BUILD),
    of(PERFORMANCE, "cargo xtask bench", LONG),
    of(PERFORMANCE, "cargo xtask bench --only one-end", LONG),
    of(PERFORMANCE, "cargo xtask bench --scale", LONG),
    of(PERFORMANCE, "cargo xtask instructions", LONG),
    of(
        PERFORMANCE,
        "cargo xtask bench --subjects udco --links veth --only tcp --rounds 1",
        LONG,
    ),
    of(
        PERFORMANCE,
        "cargo xtask bench --subjects udco,udco-tcp,udco-tcp-cubic,udco-tcp-bbr --links veth",
        LONG,
    ),
    of(
        PERFORMANCE,
        "cargo bench -p udco-engine --bench packet_path",
        LONG,
    ),
];
