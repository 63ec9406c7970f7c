use std::collections::BTreeSet;

use crate::metrics::format::Format;
use crate::metrics::sample::tests::example;

/// The name and labels of each series.
fn series(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[test]
fn names_and_values_are_those_of_the_state() {
    let text = Format::Text.write(example(1, true));
    let device = "netns=\"1152921504606846976\"";
    for line in [
        "# TYPE udco_up gauge",
        "udco_up{engine=\"/run/udco/silent.sock\"} 0",
        "udco_up{engine=\"/run/udco/engine.sock\"} 1",
        "udco_engine_info{engine=\"/run/udco/engine.sock\",version=\"0.1.0\"} 1",
        "udco_engine_start_time_seconds{engine=\"/run/udco/engine.sock\"} 1700000000",
        "udco_engine_cpu_seconds_total{engine=\"/run/udco/engine.sock\"} 0.5",
        "udco_worker_cpu_seconds_total{engine=\"/run/udco/engine.sock\",worker=\"1\"} 0.25",
        "udco_device_left{device=\"tun9\"} 1",
        &format!("udco_device_peers{{device=\"tun0\",{device}}} 1"),
        "# TYPE udco_device_receive_bytes_total counter",
        &format!("udco_device_receive_bytes_total{{device=\"tun0\",{device}}} 5000000000"),
        &format!(
            "udco_device_dropped_packets_total{{device=\"tun0\",{device},reason=\"rx_bad_tag\"}} 8"
        ),
        &format!(
            "udco_device_dropped_packets_total{{device=\"tun0\",{device},reason=\"rx_replay\"}} 0"
        ),
        &format!("udco_device_ended_peers_total{{device=\"tun0\",{device},reason=\"expired\"}} 6"),
        &format!("udco_device_offload{{device=\"tun0\",{device},offload=\"merge\"}} 1"),
        &format!("udco_peer_receive_bytes_total{{device=\"tun0\",{device},peer=\"0\"}} 5000000000"),
        &format!("udco_peer_link_transmit_packets_total{{device=\"tun0\",{device},peer=\"0\"}} 4"),
        &format!("udco_peer_path_mtu_bytes{{device=\"tun0\",{device},peer=\"0\"}} 1500"),
        "# TYPE udco_device_lost_packets gauge",
        &format!("udco_device_lost_packets{{device=\"tun0\",{device}}} 7"),
        &format!("udco_peer_lost_packets{{device=\"tun0\",{device},peer=\"0\"}} 2"),
        "# TYPE udco_device_expected_packets_total counter",
        &format!("udco_device_expected_packets_total{{device=\"tun0\",{device}}} 90"),
        &format!("udco_peer_expected_packets_total{{device=\"tun0\",{device},peer=\"0\"}} 9"),
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
    }
    assert!(text.contains("device=\"tun\\\"0\""), "a quote is escaped");
    assert!(!text.contains("192.0.2.77"), "no address");
}

#[test]
fn no_series_is_there_twice_in_either_format() {
    for format in [Format::Text, Format::OpenMetrics] {
        let text = format.write(example(5, true));
        let series = series(&text);
        let unique: BTreeSet<_> = series.iter().collect();
        assert_eq!(series.len(), unique.len());
    }
    let open = Format::OpenMetrics.write(example(1, false));
    assert!(open.ends_with("# EOF\n"));
    assert!(
        open.contains("# UNIT udco_device_receive_bytes bytes\n"),
        "{open}"
    );
    assert!(!open.contains("udco_peer_"));
}

/// The names of all metrics.
fn names(text: &str) -> BTreeSet<&str> {
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    names.map(|line| line.split(' ').next().unwrap()).collect()
}

#[test]
fn the_page_lists_each_metric() {
    let page = include_str!("../../../../../docs/metrics.md");
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed = listed.filter(|line| line.starts_with("udco_"));
    let listed: BTreeSet<_> = listed.map(|line| line.split('`').next().unwrap()).collect();
    let text = Format::Text.write(example(1, true));
    assert_eq!(listed, names(&text));
}

#[test]
fn rules_and_dashboard_use_metrics_that_there_are() {
    let text = Format::Text.write(example(1, true));
    let dashboard = include_str!("../../../../../packaging/prometheus/dashboard.json");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    let rules = include_str!("../../../../../packaging/prometheus/udco.rules.yml");
    for page in [dashboard, rules] {
        let words = page.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        let used: BTreeSet<_> = words.filter(|word| word.starts_with("udco_")).collect();
        assert!(used.len() > 2);
        let unknown: Vec<_> = used.difference(&names(&text)).copied().collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn each_peer_has_eleven_series() {
    let text = Format::Text.write(example(1000, true));
    let peers = series(&text);
    let peers = peers.iter().filter(|it| it.starts_with("udco_peer_"));
    assert_eq!(peers.count(), 2 * 11 * 1000);
}
