//! The format of the transcripts, as their README describes it.

use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

/// A scenario: what was done in a fresh network namespace, and what the kernel answered.
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Message type of `ovpn` in the recording.
    pub(crate) family: u16,
    /// Group `peers` in the recording.
    pub(crate) group: u32,
    /// Netlink ports by socket.
    pub(crate) ports: Vec<(String, u32)>,
    pub(crate) steps: Vec<Step>,
}

/// A step.
pub(crate) struct Step {
    pub(crate) about: String,
    pub(crate) op: String,
    /// Notifications seen after it, one a datagram.
    pub(crate) notifications: Vec<Vec<u8>>,
    /// Its other members.
    value: Value,
}

/// Reads a file of scenarios. One that would compare nothing is an error: a scenario without a step, a file without a
/// scenario (faults F4).
pub(crate) fn read(path: &Path) -> Vec<Scenario> {
    let text = std::fs::read_to_string(path).expect("a readable file");
    let name = path.display();
    let scenarios: Vec<Value> = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{name} is no list of scenarios: {error}"));
    let scenarios: Vec<_> = scenarios.iter().map(Scenario::of).collect();
    assert!(!scenarios.is_empty(), "{name} holds no scenario");
    for scenario in &scenarios {
        let compares = scenario.steps.iter().any(Step::expects);
        assert!(compares, "{name}: {} expects nothing", scenario.name);
    }
    scenarios
}

impl Scenario {
    fn of(value: &Value) -> Self {
        let vars = &value["vars"];
        let ports = vars["nl_pid"].as_object().expect("ports").iter();
        let steps = value["steps"].as_array().expect("steps").iter();
        Self {
            name: value["name"].as_str().expect("a name").to_owned(),
            family: number(&vars["family"]) as u16,
            group: number(&vars["group_peers"]) as u32,
            ports: ports
                .map(|(name, port)| (name.clone(), number(port) as u32))
                .collect(),
            steps: steps.map(Step::of).collect(),
        }
    }

    /// The Netlink port of a socket.
    pub(crate) fn port(&self, socket: &str) -> u32 {
        let found = self.ports.iter().find(|(name, _)| name == socket);
        found.expect("a port").1
    }
}

impl Step {
    fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self {
            about: text("d"),
            op: text("op"),
            notifications: list(&value["ntf"]),
            value: value.clone(),
        }
    }

    /// Whether anything was recorded that a replay can differ from: an answer, a packet, a notification, or that none
    /// came.
    pub(crate) fn expects(&self) -> bool {
        matches!(
            self.op.as_str(),
            "nl" | "recv" | "sniffed" | "send" | "inject"
        ) || !self.notifications.is_empty()
    }

    /// When what a `wait` waits for arrived first in the recordings, in seconds.
    pub(crate) fn arrived(&self) -> Option<f64> {
        let times = &self.value["arrived_s"];
        let times = times.as_array().into_iter().flatten().chain(Some(times));
        times.filter_map(Value::as_f64).reduce(f64::min)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.value[name].is_null()
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        number(&self.value[name])
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.value[name] == true
    }

    pub(crate) fn seconds(&self, name: &str) -> f64 {
        self.value[name].as_f64().unwrap_or_default()
    }

    /// A name, given as its number or verbatim.
    pub(crate) fn is_named(&self, member: &str, number: i32, name: &str) -> bool {
        let value = &self.value[member];
        value == number || value.as_str().is_some_and(|given| given.ends_with(name))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(&self.value[name])
    }

    pub(crate) fn list(&self, name: &str) -> Vec<Vec<u8>> {
        list(&self.value[name])
    }

    /// An address that is given as a pair of address and port.
    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        let [ip, port] = self.value[name].as_array()?.get(..2)? else {
            return None;
        };
        let ip = ip.as_str()?.parse().expect("an address");
        Some(SocketAddr::new(ip, number(port) as u16))
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().into_iter().flatten().map(bytes).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(value.as_str().unwrap_or_default())
}

/// The bytes that are written as pairs of hex digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits = digits.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
