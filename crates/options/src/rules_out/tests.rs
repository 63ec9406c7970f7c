use std::path::Path;

use super::*;
use crate::read;

fn of(file: &str, series: Option<Series>) -> Vec<Cause> {
    let open = |_: &Path| Ok(file.as_bytes().to_vec());
    let settings = read(&["c.conf".into()], Path::new(""), open).settings;
    let found = rules_out(&settings, series).into_iter();
    found.map(|it| it.cause).collect()
}

#[test]
fn each_cause_is_found() {
    let cbc = || "AES-256-CBC".to_owned();
    for (file, wanted) in [
        ("disable-dco", Cause::Disabled),
        ("fragment 1300", Cause::Fragment),
        ("http-proxy a 1", Cause::Proxy),
        ("socks-proxy a 1", Cause::Proxy),
        (
            "<connection>\nremote a\nfragment 9\n</connection>",
            Cause::Fragment,
        ),
        (
            "fragment 9\n<connection>\nremote a\n</connection>",
            Cause::Fragment,
        ),
        ("management-query-proxy", Cause::QueryProxy),
        ("comp-lzo no", Cause::Compression),
        ("allow-compression no\ncomp-lzo no", Cause::Compression),
        (
            "compress migrate\nallow-compression asym",
            Cause::Compression,
        ),
        ("compress migrate\ncompress lz4", Cause::Compression),
        ("compress", Cause::Compression),
        ("dev tap0", Cause::DeviceType),
        ("dev x\ndev-type tap", Cause::DeviceType),
        ("dev null", Cause::DeviceType),
        ("dev x", Cause::DeviceType),
        ("secret key", Cause::NoTls),
        ("<secret>\nkey\n</secret>", Cause::NoTls),
        ("data-ciphers AES-256-GCM:AES-256-CBC", Cause::Cipher(cbc())),
        (
            "data-ciphers AES-256-GCM\ncipher AES-256-CBC\ncompat-mode 2.4.9",
            Cause::Compatible(cbc()),
        ),
        ("data-ciphers-fallback AES-256-CBC", Cause::Fallback(cbc())),
        (
            "server 10.8.0.0 255.255.255.0\ntopology net30",
            Cause::Topology,
        ),
    ] {
        for series in [None, Some(Series::V26), Some(Series::V27)] {
            let whole = match wanted {
                Cause::NoTls => format!("dev tun\n{file}"),
                Cause::DeviceType => format!("client\n{file}"),
                _ => format!("client\ndev tun\n{file}"),
            };
            assert_eq!(of(&whole, series), vec![wanted.clone()], "{whole}");
        }
    }
}

#[test]
fn an_optional_cipher_counts_if_the_library_has_it() {
    let found = |more: &str| {
        let file = format!("client\ndev tun\ndata-ciphers AES-256-GCM:?BF-CBC\n{more}");
        of(&file, Some(Series::V26))
    };
    assert_eq!(found(""), []);
    assert_eq!(
        found("providers legacy default"),
        [Cause::Cipher("?BF-CBC".into())]
    );
}

#[test]
fn what_leaves_offload_on_is_no_cause() {
    for fine in [
        "dev tun",
        "dev tap\ndev tun",
        "dev x\ndev-type tun",
        "compress migrate",
        "comp-lzo\ncompress migrate",
        "allow-compression asym\nallow-compression no",
        "data-ciphers AES-256-GCM:?CHACHA20-POLY1305:DEFAULT:?BF-CBC:?NOSUCH",
        "data-ciphers AES-256-CBC\ndata-ciphers aes-128-gcm",
        "data-ciphers-fallback AES-256-GCM",
        "cipher AES-256-CBC",
        "cipher AES-256-CBC\ncompat-mode 2.5.0",
        "push \"comp-lzo no\"",
        "topology net30",
        "<connection>\nremote a\n</connection>\nfragment 1300",
    ] {
        let whole = format!("client\ndev tun\n{fine}");
        assert_eq!(of(&whole, Some(Series::V26)), [], "{fine}");
    }
}

#[test]
fn what_is_not_given_counts_where_the_release_is_known() {
    let server = "dev tun\nserver 10.8.0.0 255.255.255.0";
    assert_eq!(of(server, Some(Series::V26)), [Cause::Topology]);
    assert_eq!(of(server, Some(Series::V27)), []);
    assert_eq!(of(server, None), []);
    let program = "client\ndev tun\ndev-node unix:/bin/program";
    assert_eq!(of(program, Some(Series::V26)), []);
    assert_eq!(of(program, Some(Series::V27)), [Cause::DeviceType]);
    let clear = "dev tun\nremote a";
    assert_eq!(of(clear, Some(Series::V27)), [Cause::NoTls]);
    assert_eq!(of(clear, None), []);
}
