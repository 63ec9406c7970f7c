//! Replays recordings of the kernel's driver, and compares the answers byte for byte.
//!
//! They are in `recordings/`; the environment variable `GOLDEN_DIR` names another folder, relative to the workspace.

mod fake;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use udco_netlink::{
    Answers, Api, Errno, FamilyIds, LinkRequest, LinkTarget, Requester, acknowledgement,
    link_request, notification, refusal, serve,
};

use fake::{Fake, Fd};

#[test]
fn answers_are_those_of_the_kernel() {
    // Past libtest's capture, which shows the output of failed tests only.
    let skip = |why: &str| {
        let _ = writeln!(std::io::stdout(), "SKIPPED: {why}");
    };
    if cfg!(target_endian = "big") {
        skip("the golden transcripts are from little-endian machines");
        return;
    }
    let folder = recorded();
    let mut count = Count::default();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let scenarios: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let before = count.compared;
        for scenario in scenarios.as_array().unwrap() {
            Replay::of(scenario).run(scenario, &mut count);
        }
        let compared = count.compared - before;
        assert!(compared > 0, "nothing to compare in {}", path.display());
    }
    println!(
        "compared {}, left out {}, different {}",
        count.compared, count.left_out, count.different
    );
    assert!(count.compared > 0, "no transcripts in it");
    assert_eq!(count.different, 0, "answers differ from the recording");
}

/// The folder of the recordings.
fn recorded() -> PathBuf {
    // Tests run in the folder of their crate.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("GOLDEN_DIR").unwrap_or_else(|| "recordings".into());
    let folder = root.join(named);
    assert!(folder.is_dir(), "{} is not a folder", folder.display());
    folder
}

#[derive(Default)]
struct Count {
    compared: usize,
    left_out: usize,
    different: usize,
}

/// A scenario being replayed.
struct Replay {
    families: FamilyIds,
    ports: BTreeMap<String, u32>,
    fake: Fake,
    admin: bool,
    joined: BTreeSet<String>,
    ext_ack: BTreeMap<String, bool>,
    cap_ack: BTreeMap<String, bool>,
    /// Sockets that have received: from then on the kernel knows how big a datagram may be.
    received: BTreeSet<String>,
    next_ifindex: u32,
    /// Whether packets have passed, which makes the fake's counters wrong.
    traffic: bool,
}

impl Replay {
    fn of(scenario: &Value) -> Self {
        let vars = &scenario["vars"];
        let ports = vars["nl_pid"].as_object().unwrap();
        Self {
            families: FamilyIds {
                ovpn: vars["family"].as_u64().unwrap() as u16,
                ovpn_peers: vars["group_peers"].as_u64().unwrap() as u32,
                dco_v2: 0,
                dco_v2_peers: 0,
            },
            ports: ports
                .iter()
                .map(|(name, port)| (name.clone(), port.as_u64().unwrap() as u32))
                .collect(),
            fake: Fake::default(),
            admin: true,
            // In this one the requesting socket itself listens.
            joined: BTreeSet::from([if scenario["name"] == "order_same_socket" {
                "g"
            } else {
                "n"
            }
            .to_owned()]),
            ext_ack: BTreeMap::new(),
            cap_ack: BTreeMap::new(),
            received: BTreeSet::new(),
            next_ifindex: 2,
            traffic: false,
        }
    }

    fn run(&mut self, scenario: &Value, count: &mut Count) {
        for (index, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let outcome = match step["op"].as_str().unwrap() {
                "nl" => self.request(step),
                _ => {
                    self.surroundings(step);
                    continue;
                }
            };
            match outcome {
                None => count.left_out += 1,
                Some(Ok(())) => count.compared += 1,
                Some(Err(difference)) => {
                    count.different += 1;
                    println!("{} {index} {}: {difference}", scenario["name"], step["d"]);
                }
            }
        }
    }

    /// The comparison of a request's answers; `None` where the fake can't know them.
    fn request(&mut self, step: &Value) -> Option<Result<(), String>> {
        let on = step["on"].as_str().unwrap();
        let request = bytes(&step["req"]);
        let requester = Requester {
            port: self.ports[on],
            ext_ack: self.ext_ack.get(on).copied().unwrap_or(true),
            cap_ack: self.cap_ack.get(on).copied().unwrap_or(false),
            admin: self.admin,
        };
        let answers = match on {
            "r" => vec![self.link(&requester, &request)?],
            _ => {
                let fresh = self.received.insert(on.to_owned());
                let mut answers = Answers::for_reader(if fresh { 0 } else { usize::MAX });
                serve(
                    &self.families,
                    &requester,
                    &request,
                    &mut self.fake,
                    &mut answers,
                );
                answers.into_datagrams()
            }
        };
        let notifications = std::mem::take(&mut self.fake.notifications);
        let notifications: Vec<_> = notifications
            .iter()
            .filter_map(|event| notification(Api::Ovpn, &self.families, event))
            .collect();
        let own = if self.joined.contains(on) {
            notifications.clone()
        } else {
            Vec::new()
        };
        let answers = [own, answers].concat();
        if self.traffic && request.get(16) == Some(&3) {
            return None;
        }
        let expected: Vec<_> = step["rx"].as_array().unwrap().iter().map(bytes).collect();
        let expected_notifications: Vec<_> = step["ntf"]
            .as_array()
            .into_iter()
            .flatten()
            .map(bytes)
            .collect();
        let listening = self.joined.contains("n");
        let result =
            compare(&answers, &expected, is_peer_dump(&request)).and_then(|()| match listening {
                true => compare(&notifications, &expected_notifications, true),
                false => Ok(()),
            });
        Some(result)
    }

    /// The answer to a link request, if it's one of ours.
    fn link(&mut self, requester: &Requester, request: &[u8]) -> Option<Vec<u8>> {
        let found = |fake: &Fake, target: LinkTarget<'_>| {
            let mut devices = fake.devices.iter();
            let wanted = |(index, device): &(&u32, &fake::Device)| match target.ifindex {
                Some(ifindex) => **index == ifindex,
                None => target.name == Some(device.name.as_str()),
            };
            devices.find(wanted).map(|(index, _)| *index)
        };
        match link_request(requester, request) {
            LinkRequest::NotOurs => None,
            LinkRequest::Refused(answer) => Some(answer),
            LinkRequest::New(new) => {
                let refuse = |errno| Some(refusal(requester, request, errno, None));
                if new.api == Api::DcoV2 {
                    // The recorded kernel doesn't know the kind.
                    let text = Some("Unknown device type");
                    return Some(refusal(requester, request, Errno::EOPNOTSUPP, text));
                }
                match found(&self.fake, new.target) {
                    Some(_) if new.exclusive => return refuse(Errno::EEXIST),
                    Some(_) if new.replace || new.has_data => return refuse(Errno::EOPNOTSUPP),
                    Some(_) => {
                        let text = new.api.mtu_refusal(new.mtu?)?;
                        return Some(refusal(requester, request, Errno::EINVAL, Some(text)));
                    }
                    None if !new.create => return refuse(Errno::ENODEV),
                    None => {}
                }
                let ifindex = self.next_ifindex;
                self.next_ifindex += 1;
                self.fake.add_device(
                    ifindex,
                    new.api,
                    new.target.name.unwrap_or("ovpn0"),
                    new.mode,
                );
                Some(acknowledgement(requester, request))
            }
            LinkRequest::SetMtu(target, mtu) => {
                let device = self.fake.devices.get(&found(&self.fake, target)?)?;
                let text = device.api.mtu_refusal(mtu)?;
                Some(refusal(requester, request, Errno::EINVAL, Some(text)))
            }
            LinkRequest::Delete(target) => Some(match found(&self.fake, target) {
                Some(ifindex) => {
                    self.fake.remove_device(ifindex);
                    acknowledgement(requester, request)
                }
                None => refusal(requester, request, Errno::ENODEV, None),
            }),
            LinkRequest::Show(target) => match found(&self.fake, target) {
                Some(_) => None,
                None => Some(refusal(requester, request, Errno::ENODEV, None)),
            },
        }
    }

    fn surroundings(&mut self, step: &Value) {
        let number = |name: &str| step[name].as_u64().unwrap_or_default() as u32;
        let port = |name: &str| step[name][1].as_u64().unwrap_or_default() as u16;
        let on = || step["on"].as_str().unwrap_or("g").to_owned();
        match step["op"].as_str().unwrap() {
            "udp" => {
                self.fake
                    .fds
                    .insert(number("fd"), Fd::Udp(port("bind"), false));
            }
            "tcp_pair" => {
                self.fake
                    .fds
                    .insert(number("fd_accepted"), Fd::Tcp(Some(port("listen"))));
                self.fake
                    .fds
                    .insert(number("fd_connected"), Fd::Tcp(Some(port("client"))));
            }
            "open" => {
                let kind = step["kind"].as_str().unwrap();
                let fd = match kind.split(' ').next() {
                    Some("file") => Fd::NoSocket,
                    Some("udp") => Fd::Udp(0, false),
                    Some("tcp" | "tcp-listen") => Fd::Tcp(None),
                    _ => Fd::OtherSocket,
                };
                self.fake.fds.insert(number("fd"), fd);
            }
            "setsockopt" => {
                if let Some(Fd::Udp(_, foreign)) = self.fake.fds.get_mut(&number("fd")) {
                    *foreign = true;
                }
            }
            "setsockopt-netlink" => {
                let value = step["value"].as_u64().unwrap_or_default() != 0;
                // By number or by name.
                let option = &step["name"];
                let ext_ack =
                    option == 11 || option.as_str().is_some_and(|name| name.contains("EXT_ACK"));
                match ext_ack {
                    true => self.ext_ack.insert(on(), value),
                    false => self.cap_ack.insert(on(), value),
                };
            }
            "join" => {
                self.joined.remove("n");
                self.joined.insert(on());
            }
            "seteuid" => self.admin = false,
            "close" => {
                self.fake.close(number("fd"));
                self.fake.notifications.clear();
            }
            "send" | "inject" | "wait" => self.traffic = true,
            _ => {}
        }
    }
}

fn is_peer_dump(request: &[u8]) -> bool {
    request.get(6..8) == Some(&[5, 3]) && request.get(16) == Some(&3)
}

/// Compares messages one by one, or as sets where the kernel's order comes from a hash table.
fn compare(ours: &[Vec<u8>], expected: &[Vec<u8>], unordered: bool) -> Result<(), String> {
    let (mut left, mut right) = (ours.to_vec(), expected.to_vec());
    if unordered {
        left = left
            .iter()
            .flat_map(|datagram| udco_netlink::Messages::of(datagram))
            .map(<[u8]>::to_vec)
            .collect();
        right = right
            .iter()
            .flat_map(|datagram| udco_netlink::Messages::of(datagram))
            .map(<[u8]>::to_vec)
            .collect();
        left.sort();
        right.sort();
    }
    if left == right {
        return Ok(());
    }
    let hex = |list: &[Vec<u8>]| {
        let lines = list.iter().map(|bytes| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        });
        lines.collect::<Vec<_>>().join("\n    ")
    };
    Err(format!(
        "\n  ours\n    {}\n  kernel\n    {}",
        hex(&left),
        hex(&right)
    ))
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
