//! What `udco doctor` says of a configuration, against what OpenVPN does with it (users C6).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::{Host, Lab, Pki, Version, skip, udco};

/// Long enough for any start.
const SOON: Duration = Duration::from_secs(10);

/// OpenVPN's decision, which it prints with all options before it connects or listens.
const DECISION: &str = "disable_dco = ";

const CLIENT: &str = "client\nremote 127.0.0.1 9\nnobind\ndev tun\n";
const SERVER: &str =
    "server 10.8.0.0 255.255.255.0\ntopology subnet\ndh none\nlocal 127.0.0.1\nport 0\ndev tun\n";
const P2P: &str = "ifconfig 10.1.0.1 10.1.0.2\nremote 127.0.0.1 9\nnobind\ndev tun\n";

/// What is added to a configuration, and the finding; an empty one if offload is on.
const CASES: [(&str, &str, &str); 45] = [
    (CLIENT, "", ""),
    (CLIENT, "compress migrate", ""),
    (CLIENT, "comp-lzo\ncompress migrate", ""),
    (CLIENT, "allow-compression asym\nallow-compression no", ""),
    (
        CLIENT,
        "data-ciphers AES-192-GCM:aes-128-gcm:CHACHA20-POLY1305",
        "",
    ),
    (CLIENT, "data-ciphers AES-256-GCM:?BF-CBC:?NO-SUCH", ""),
    (
        CLIENT,
        "data-ciphers AES-256-CBC\ndata-ciphers AES-256-GCM",
        "",
    ),
    (CLIENT, "data-ciphers-fallback AES-256-GCM", ""),
    (CLIENT, "cipher AES-256-CBC", ""),
    (CLIENT, "compat-mode 2.5.0\ncipher AES-256-CBC", ""),
    (CLIENT, "dev tap\ndev tun", ""),
    (CLIENT, "dev vpn0\ndev-type tun", ""),
    (CLIENT, "topology net30", ""),
    (
        CLIENT,
        "<connection>\nremote 127.0.0.1 9 udp\n</connection>\nfragment 1300",
        "",
    ),
    (
        CLIENT,
        "bind-dev lo\nmssfix 1300\nsndbuf 9999\nuser nobody",
        "",
    ),
    (SERVER, "", ""),
    (SERVER, "push \"topology subnet\"\nclient-to-client", ""),
    (CLIENT, "disable-dco", "disable-dco"),
    (CLIENT, "fragment 1300", "fragment"),
    (CLIENT, "setenv opt fragment 1300", "fragment"),
    (
        CLIENT,
        "fragment 1300\n<connection>\nremote 127.0.0.1 9 udp\n</connection>",
        "fragment",
    ),
    (
        CLIENT,
        "<connection>\nremote 127.0.0.1 9 udp\nfragment 1300\n</connection>",
        "fragment",
    ),
    (CLIENT, "proto tcp-client\nhttp-proxy 127.0.0.1 9", "proxy"),
    (CLIENT, "socks-proxy 127.0.0.1 9", "proxy"),
    (
        CLIENT,
        "management 127.0.0.1 0\nmanagement-query-proxy",
        "proxy",
    ),
    (CLIENT, "comp-lzo", "compression"),
    (CLIENT, "comp-lzo no", "compression"),
    (CLIENT, "allow-compression no\ncomp-lzo no", "compression"),
    (CLIENT, "compress", "compression"),
    (CLIENT, "compress stub-v2", "compression"),
    (
        CLIENT,
        "compress migrate\nallow-compression asym",
        "compression",
    ),
    (CLIENT, "allow-compression yes", "compression"),
    (CLIENT, "dev tap", "device-type"),
    (CLIENT, "dev vpn0\ndev-type tap", "device-type"),
    (CLIENT, "dev null", "device-type"),
    (CLIENT, "dev foreign0\ndev-type tun", "device-taken"),
    (CLIENT, "data-ciphers AES-256-GCM:AES-256-CBC", "cipher"),
    (CLIENT, "data-ciphers AES-256-GCM:?AES-256-CBC", "cipher"),
    (CLIENT, "data-ciphers-fallback AES-256-CBC", "cipher"),
    (
        CLIENT,
        "compat-mode 2.4.0\ncipher AES-256-CBC\ndata-ciphers AES-256-GCM",
        "cipher",
    ),
    (
        CLIENT,
        "providers legacy default\ndata-ciphers AES-256-GCM:?BF-CBC",
        "cipher",
    ),
    (SERVER, "topology net30", "topology"),
    (SERVER, "topology p2p", "topology"),
    (P2P, "secret static.key", "no-tls"),
    (P2P, "tls-server\ndh none", ""),
];

/// A program in the device's place.
const PROGRAM: &str = "dev-node unix:/bin/true";

/// A server without `topology`.
const NO_TOPOLOGY: &str =
    "server 10.8.0.0 255.255.255.0\ndh none\nlocal 127.0.0.1\nport 0\ndev tun\n";

/// A network namespace with certificates and an `openvpn` of some release.
struct Bench {
    _lab: Lab,
    host: Host,
    directory: PathBuf,
    credentials: String,
    search_path: String,
    version: Version,
}

impl Bench {
    fn new(version: Version) -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("doctor")?;
        let directory = lab.directory().to_owned();
        let files = Pki::new(&directory)?.client("doctor")?;
        let credentials = format!(
            "ca {}\ncert {}\nkey {}\n",
            files.authority.display(),
            files.certificate.display(),
            files.key.display()
        );
        // By this name, whatever starts it.
        let words = version.command()?;
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let bin = directory.join("bin");
        std::fs::create_dir(&bin)?;
        let openvpn = bin.join("openvpn");
        let path = std::env::var("PATH")?;
        let script = format!(
            "#!/bin/sh\nPATH='{path}:/usr/sbin' exec {} \"$@\"\n",
            words.join(" ")
        );
        std::fs::write(&openvpn, script)?;
        std::fs::set_permissions(&openvpn, PermissionsExt::from_mode(0o755))?;
        let search_path = format!("PATH={}:{path}:/usr/sbin", bin.display());
        host.run(&["ip", "tuntap", "add", "foreign0", "mode", "tun"])?;
        host.run(&[
            "openvpn",
            "--genkey",
            "secret",
            &directory.join("static.key").to_string_lossy(),
        ])?;
        Ok(Self {
            _lab: lab,
            host,
            directory,
            credentials,
            search_path,
            version,
        })
    }

    /// Under a name of its own: the OpenVPN of the case before may still be ending.
    fn write(&self, number: usize, base: &str, lines: &str) -> Result<PathBuf> {
        let path = self.directory.join(format!("case{number}.conf"));
        let is_static = lines.contains("secret ");
        let credentials = if is_static { "" } else { &self.credentials };
        let mut more = String::new();
        if is_static && self.version == Version::V27 {
            more.push_str("allow-deprecated-insecure-static-crypto\n");
        }
        let directory = self.directory.display();
        std::fs::write(
            &path,
            format!("cd {directory}\n{base}{credentials}{lines}\n{more}"),
        )?;
        Ok(path)
    }

    /// Whether OpenVPN keeps offload on.
    fn openvpn_keeps_it(&self, config: &Path) -> Result<bool> {
        let binary = udco::binary()?;
        let words = [
            "env",
            &self.search_path,
            &binary.to_string_lossy(),
            "run",
            "--",
            "openvpn",
            "--config",
            &config.to_string_lossy(),
            "--verb",
            "4",
        ];
        let mut process = self.host.spawn("case", &words)?;
        process.wait_for_log(DECISION, SOON)?;
        let log = process.log();
        let decided = log.split_once(DECISION).context("no decision")?.1;
        // It may not have set up its signal handlers yet, so it is killed.
        drop(process);
        Ok(decided.starts_with("DISABLED"))
    }

    fn doctor_says(&self, config: &Path) -> Result<(bool, Vec<String>)> {
        let binary = udco::binary()?;
        let output = self.host.output(&[
            "env",
            &self.search_path,
            &binary.to_string_lossy(),
            "doctor",
            "--json",
            "--config",
            &config.to_string_lossy(),
        ])?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let is_on = said["offload"] == "would-be-on";
        ensure!(is_on || said["offload"] == "would-be-off", "{said:#}");
        let code = if is_on { [0, 8] } else { [9, 9] };
        ensure!(
            output.status.code().is_some_and(|it| code.contains(&it)),
            "{said:#}"
        );
        let findings = said["findings"].as_array().context("no findings")?;
        let causes = findings.iter().filter(|it| it["rules_out_offload"] == true);
        let causes = causes.filter_map(|it| Some(it["name"].as_str()?.to_owned()));
        Ok((is_on, causes.collect()))
    }

    /// Neither takes this for a configuration.
    fn refuses(&self, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join("none.conf");
        std::fs::write(&path, bytes)?;
        let path = path.to_string_lossy();
        let words = ["env", &self.search_path, "openvpn", "--config", &path];
        ensure!(!self.host.output(&words)?.status.success(), "{bytes:?}");
        let binary = udco::binary()?;
        let words = [
            "env",
            &self.search_path,
            &binary.to_string_lossy(),
            "doctor",
            "--config",
            &path,
        ];
        let said = String::from_utf8(self.host.output(&words)?.stdout)?;
        ensure!(
            said.starts_with("offload cannot be judged: "),
            "{bytes:?}: {said}"
        );
        Ok(())
    }

    fn agrees(&self, number: usize, base: &str, lines: &str, name: &str) -> Result<()> {
        let config = self.write(number, base, lines)?;
        let (is_on, causes) = self.doctor_says(&config)?;
        let wanted = Some(name).filter(|name| !name.is_empty());
        ensure!(
            causes.iter().map(String::as_str).eq(wanted),
            "{lines:?}: {causes:?}"
        );
        let keeps = self
            .openvpn_keeps_it(&config)
            .with_context(|| format!("{lines:?}"))?;
        ensure!(
            keeps == is_on,
            "{lines:?}: doctor says {is_on}, {:?} {keeps}",
            self.version
        );
        Ok(())
    }
}

#[test]
fn doctor_and_openvpn_2_6_agree() -> Result<()> {
    // Of what only 2.7 knows, or has another default for.
    agree(
        Version::V26,
        &[(NO_TOPOLOGY, "", "topology"), (CLIENT, PROGRAM, "")],
    )
}

#[test]
fn doctor_and_openvpn_2_7_agree() -> Result<()> {
    agree(
        Version::V27,
        &[(NO_TOPOLOGY, "", ""), (CLIENT, PROGRAM, "device-type")],
    )
}

fn agree(version: Version, more: &[(&str, &str, &str)]) -> Result<()> {
    if udco::harness_only() {
        skip("nothing of udco to look at");
        return Ok(());
    }
    if !version.is_here_or_skip() {
        return Ok(());
    }
    let bench = Bench::new(version)?;
    let all = CASES.iter().chain(more);
    for (number, (base, lines, name)) in all.enumerate() {
        bench.agrees(number, base, lines, name)?;
    }
    let wide: Vec<u8> = CLIENT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe".as_slice(), &wide].concat();
    for bytes in [b"".as_slice(), b"# dev tun\n", &[0; 500], &wide, &marked] {
        bench.refuses(bytes)?;
    }
    Ok(())
}
