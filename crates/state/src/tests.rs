use serde::de::IgnoredAny;

use super::*;

/// Engine output, with a member unknown here.
const STATE: &str = r#"{"format":1,"version":"0.1.0","pid":7,"netns":4026531840,"workers":2,"started":1700000000,"cpu_seconds":0.5,"worker_cpu_seconds":[0.25,0.125],"shoe_size":44,"devices":[
    {"name":"tun0","ifindex":3,"netns":9,"mode":"mp","api":"ovpn-dco-v2","owner":0,"offloads":{"device-tcp":true,
    "device-udp":false,"merge":true,"merge-udp":false,"segment":true,"coalesce":null,"queues":1},"routes":2,
    "fragmented":0,"drops":{"rx_bad_tag":1},"totals":{"ended":{"expired":1},"link":{"rx_bytes":5000000001,
    "rx_packets":2,"tx_bytes":3,"tx_packets":4},"vpn":{"rx_bytes":0,"rx_packets":0,"tx_bytes":0,"tx_packets":0},
    "loss":{"expected":9,"lost":2}},"peers":[{"id":1,"tx_id":2,"remote":"192.0.2.77:4000","local":null,
    "path_mtu":1500,"mss":{"ipv4":1400,"ipv6":1380},"vpn4":"10.8.0.2","vpn6":null,"keepalive":{"interval":10,
    "timeout":60},"keys":{"primary":{"key_id":3,"cipher":"AES-256-GCM","age":40},"secondary":null},"link":{"rx_bytes":5000000000,
    "rx_packets":1,"tx_bytes":2,"tx_packets":3},"vpn":{"rx_bytes":0,"rx_packets":0,"tx_bytes":0,"tx_packets":0},
    "loss":{"expected":5,"lost":1}}]}]}"#;

#[test]
fn a_state_comes_back_as_it_went_and_unknown_members_are_passed_over() {
    let state: EngineState = serde_json::from_str(STATE).unwrap();
    let again = serde_json::to_value(&state).unwrap();
    let mut expected: serde_json::Value = serde_json::from_str(STATE).unwrap();
    expected.as_object_mut().unwrap().remove("shoe_size");
    assert_eq!(again, expected);
    let device = &state.devices[0];
    let in_use: Vec<_> = device.offloads.in_use().collect();
    assert_eq!(in_use, ["device-tcp", "merge", "segment"]);
    assert_eq!(device.peers[0].link.rx_bytes, 5_000_000_000);
}

#[test]
fn names_are_those_of_the_json() {
    for mode in [Mode::P2p, Mode::Mp] {
        assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
    }
    for api in [Api::Ovpn, Api::DcoV2] {
        assert_eq!(serde_json::to_value(api).unwrap(), api.name());
    }
}

#[test]
fn a_device_is_read_without_its_peers() {
    let state: EngineState<Device<IgnoredAny>> = serde_json::from_str(STATE).unwrap();
    let (engine, devices) = state.into_parts();
    assert_eq!((engine.pid, devices[0].ifindex), (7, 3));
}

#[test]
fn a_state_of_an_older_engine_has_no_totals() {
    let device = r#"{"name":"tun0","ifindex":3,"netns":9,"mode":"mp","api":"ovpn","owner":0,"offloads":{"device-tcp":true,
        "device-udp":true,"merge":true,"merge-udp":true,"segment":null,"coalesce":null,"queues":1},"routes":0,
        "fragmented":0,"drops":{},"peers":[]}"#;
    let text = format!(
        r#"{{"format":1,"version":"0.1.0","pid":7,"netns":9,"workers":2,"devices":[{device}]}}"#
    );
    let state: EngineState = serde_json::from_str(&text).unwrap();
    assert_eq!((state.started, &state.devices[0].totals), (0, &None));
}

#[test]
fn traffic_adds_up() {
    let mut sum = Traffic::default();
    let one = Traffic {
        rx_bytes: 1,
        rx_packets: 2,
        tx_bytes: 3,
        tx_packets: 4,
    };
    sum += one;
    sum += one;
    assert_eq!((sum.rx_bytes, sum.rx_packets), (2, 4));
    assert_eq!((sum.tx_bytes, sum.tx_packets), (6, 8));
}
