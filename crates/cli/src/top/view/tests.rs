use std::collections::BTreeMap;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::super::controls::Step;
use super::super::model::tests::{at, device, nothing, peer, sample};
use super::*;

/// The page that shows screens.
const PAGE: &str = include_str!("../../../../../docs/top.md");

/// A server with three clients, and a client of another server, for 80 seconds.
fn model(begin: Instant) -> Model {
    let mut model = Model::default();
    let (mut busy, mut quiet) = (0, 0);
    for second in 0..80 {
        busy += 1_000_000 * (4 + second % 12);
        quiet += 10_000 * (1 + second % 5);
        let clients = vec![
            peer(1, busy, busy / 20),
            peer(2, quiet, 3 * quiet),
            peer(3, 0, 0),
        ];
        let mut server = device("tun0", 3, clients);
        server.drops = BTreeMap::from([
            ("rx_bad_tag".to_owned(), 12),
            ("tx_no_peer".to_owned(), 1_000 + 3 * second),
        ]);
        let mut client = device("tun-office", 4, vec![peer(9, 5 * quiet, quiet)]);
        client.kind = "p2p, ovpn".to_owned();
        for device in [&mut server, &mut client] {
            let (engine, second) = (device.engine.as_mut().unwrap(), second as f64);
            engine.cpu_seconds = 0.38 * second;
            engine.worker_cpu_seconds = vec![0.34 * second, 0.03 * second];
        }
        model.take(sample(at(begin, second), vec![server, client]));
    }
    model
}

fn buffer(model: &Model, controls: &mut Controls, width: u16, height: u16, style: Style) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let look = Look {
        style,
        every: Duration::from_secs(1),
        now: model.at.unwrap_or_else(Instant::now),
    };
    let drawn = terminal.draw(|frame| draw(frame, model, controls, &look));
    drawn.unwrap().buffer.clone()
}

fn screen(model: &Model, controls: &mut Controls, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(model, controls, width, height, Style::HUMAN);
    let lines = (0..height).map(|y| {
        let symbols = (0..width).map(|x| buffer[(x, y)].symbol());
        symbols.collect::<String>().trim_end().to_owned()
    });
    lines.collect()
}

/// A screen of the page, by its number.
fn shown(number: usize) -> Vec<&'static str> {
    let block = PAGE.split("```").nth(2 * number + 1).unwrap_or_default();
    block.trim_matches('\n').lines().skip(1).collect()
}

#[test]
fn a_client_with_a_name_is_listed_and_found_by_it() {
    let mut server = device("tun0", 3, vec![peer(1, 0, 0), peer(2, 0, 0)]);
    server.common_names = BTreeMap::from([(2, "alice".to_owned())]);
    let mut model = Model::default();
    model.take(sample(at(Instant::now(), 0), vec![server]));
    let mut controls = Controls::default();
    let wide = screen(&model, &mut controls, 120, 24).join("\n");
    assert!(wide.contains("NAME") && wide.contains("alice"), "{wide}");
    let narrow = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(!narrow.contains("alice"), "{narrow}");
    controls.filter = "ALI".to_owned();
    assert_eq!(controls.peers(&model).len(), 1);
    controls.choose(&model.peers[1]);
    controls.page = Page::Details;
    let details = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(details.contains("name       alice"), "{details}");
}

#[test]
fn the_page_shows_the_lists() {
    let begin = Instant::now();
    let mut controls = Controls::default();
    let model = model(begin);
    controls.step(Step::Down, &model);
    let screen = screen(&model, &mut controls, 80, 24);
    assert_eq!(screen, shown(0), "\n{}", screen.join("\n"));
}

#[test]
fn the_page_shows_the_details_of_a_peer() {
    let model = model(Instant::now());
    let mut controls = Controls::default();
    controls.open(&model);
    let screen = screen(&model, &mut controls, 80, 24);
    assert_eq!(screen, shown(1), "\n{}", screen.join("\n"));
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    let model = model(Instant::now());
    let small = screen(&model, &mut Controls::default(), 50, 10);
    let expected = [
        "udco top  1 engine, 4 peers  by traffic",
        "DEVICE         PEERS    RECEIVES       SENDS   CPU",
        "tun0               3 88.4 Mbit/s 5.60 Mbit/s   38%",
        "DEVICE       PEER    RECEIVES       SENDS",
        "tun0            1 88.0 Mbit/s 4.40 Mbit/s",
        "tun-office      9 2.00 Mbit/s  400 kbit/s",
        "tun0            2  400 kbit/s 1.20 Mbit/s",
        "dropped by tun0: tx_no_peer 1.24 k (3/s),",
        "rx_bad_tag 12",
        "q quit  arrows choose  Enter details  Tab device",
    ];
    assert_eq!(small, expected, "\n{}", small.join("\n"));
    let tiny = screen(&model, &mut Controls::default(), 31, 6);
    assert_eq!(tiny[0], "too small: 32x6 at least");
    for (width, height) in [(1, 1), (32, 6), (33, 7), (80, 8), (500, 200)] {
        for page in [Page::Peers, Page::Filter, Page::Details] {
            let mut controls = Controls::default();
            controls.step(Step::Last, &model);
            controls.page = page;
            screen(&model, &mut controls, width, height);
        }
    }
}

#[test]
fn a_wide_terminal_shows_more() {
    let model = model(Instant::now());
    let wide = screen(&model, &mut Controls::default(), 130, 40).join("\n");
    for words in [
        "KIND",
        "mp, ovpn-dco-v2; workers 34% 3% at /run/udco/engine.sock",
        "OUTSIDE",
        "LOSS\n",
        "11.6 k   0.10%",
    ] {
        assert!(wide.contains(words), "{words}:\n{wide}");
    }
    assert_eq!(wide.matches("PACKETS/S").count(), 2, "{wide}");
}

/// A cut number or address is another one.
#[test]
fn what_has_no_room_is_cut_visibly() {
    let mut far = peer(17, 0, 0);
    far.id = 16_000_017;
    far.remote = "[2001:db8:dead:beef:1111:2222:3333:3e8]:50999".parse().ok();
    far.vpn6 = "fd00:dead:beef:cafe:1234:5678:9abc:3e8".parse().ok();
    let mut server = device("tun-fifteen-chr", 3, vec![peer(1, 0, 0), far]);
    let name = "a client whose certificate has the longest name that it may ha64";
    server.common_names = BTreeMap::from([(16_000_017, name.to_owned())]);
    let other = device("tun0", 4, vec![]);
    let mut model = Model::default();
    model.take(sample(at(Instant::now(), 0), vec![server, other]));
    let mut controls = Controls::default();
    let mut of = |width| screen(&model, &mut controls, width, 24).join("\n");
    for (width, expected) in [
        (40, "tun-f… 16000017 "),
        (60, "tun-fifteen-chr 16000017 "),
        (80, "tun-fifteen-chr 16000017 10.8.0.17, …"),
        (100, "16000017 10.8.0.17, …    [2001:db8:de…3:3e8]:50999 "),
        (
            130,
            "a client whose… 10.8.0.17, …    [2001:db8:dead:…3333:3e8]:50999 ",
        ),
        (220, "3:3e8]:50999"),
        (
            220,
            "9abc:3e8 [2001:db8:dead:beef:1111:2222:3333:3e8]:50999 ",
        ),
        (100, " mp, ovpn-dco-v2; workers - … "),
        (32, "q quit  arrows choose"),
    ] {
        let seen = of(width);
        let lines = seen.lines().map(|line| format!("{line} "));
        let found = lines.filter(|line| line.contains(expected)).count();
        assert!(found > 0, "{width}: {expected}\n{seen}");
    }
    let tiny = screen(&model, &mut Controls::default(), 20, 5);
    assert_eq!(tiny[..2], ["too small: 32x6 at", "least"]);

    controls.choose(&model.peers[1]);
    controls.page = Page::Details;
    let details = screen(&model, &mut controls, 50, 24);
    let words = details.join(" ");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let inside = "10.8.0.17, fd00:dead:beef:cafe:1234:5678:9abc:3e8";
    for expected in [name, inside, "1111:2222:3333:3e8] :50999"] {
        assert!(words.contains(expected), "{expected}\n{details:#?}");
    }
    let mut lines = details.iter();
    let first = lines.position(|line| line.starts_with("name       a client whose "));
    let second = lines.next().map(String::as_str);
    assert!(first.is_some(), "{details:#?}");
    assert_eq!(second, Some("           longest name that it may ha64"));
}

#[test]
fn a_killed_engine_is_told() {
    let begin = Instant::now();
    let mut model = model(begin);
    let mut left = nothing(at(begin, 81));
    left.remarks.push(
        "tun0: its engine or OpenVPN was killed, and no packet leaves through it; start OpenVPN again, or, to go on \
         without the tunnel, in the clear, run `ip link del tun0`"
            .to_owned(),
    );
    model.take(left);
    let mut controls = Controls::default();
    let told = screen(&model, &mut controls, 80, 24).join("\n");
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("no engine is running: start OpenVPN"),
        "{told}"
    );
    assert!(words.contains("run `ip link del tun0`"), "{told}");
    controls.page = Page::Details;
    let told = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(
        told.contains("this peer is gone") && told.contains("was killed"),
        "{told}"
    );
}

/// Its id is used again: the page does not become another's, and nor does the cursor.
#[test]
fn the_details_of_a_peer_that_is_gone_are_not_those_of_the_next() {
    let begin = Instant::now();
    let mut model = model(begin);
    let mut controls = Controls::default();
    controls.choose(&model.peers[1]);
    controls.page = Page::Details;
    let told = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(told.contains("peer 2 of tun0"), "{told}");
    let mut next = peer(3, 1000, 0);
    next.id = 2;
    let peers = vec![peer(1, 9_000_000, 0), next];
    model.take(sample(at(begin, 9), vec![device("tun0", 3, peers)]));
    let told = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(
        told.contains("this peer is gone, and its id now belongs to another connection"),
        "{told}"
    );
    assert!(!told.contains("192.0.2.3"), "{told}");
    assert_eq!(controls.position(&controls.peers(&model)), None);
    controls.page = Page::Peers;
    controls.open(&model);
    let told = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(told.contains("peer 1 of tun0"), "{told}");
}

#[test]
fn a_filter_and_a_device_leave_out_the_others() {
    let model = model(Instant::now());
    let mut controls = Controls::default();
    controls.filter.push_str("10.8.0.2");
    controls.page = Page::Filter;
    let filtered = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(filtered.contains("filter: 10.8.0.2_"), "{filtered}");
    assert!(!filtered.contains("10.8.0.1 "), "{filtered}");
    controls.filter = "nobody".to_owned();
    let none = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(none.contains("no peer matches"), "{none}");
    controls.filter.clear();
    controls.next_device(&model);
    let first = screen(&model, &mut controls, 80, 24).join("\n");
    assert!(
        first.contains("tun0") && !first.contains("tun-office"),
        "{first}"
    );
}

#[test]
fn an_old_sample_is_told() {
    let begin = Instant::now();
    let model = model(begin);
    let look = |seconds| Look {
        style: Style::HUMAN,
        every: Duration::from_secs(1),
        now: at(begin, seconds),
    };
    let theme = Theme::of(Style::HUMAN);
    let told = |seconds| title(&model, &Controls::default(), &look(seconds), theme).to_string();
    assert!(told(90).ends_with("  11 s old"), "{}", told(90));
    assert!(!told(82).contains("old"), "{}", told(82));
}

#[test]
fn colours_are_left_out_if_nobody_wants_them() {
    let model = model(Instant::now());
    let coloured = |no_colour: Option<&str>| {
        let style = Style::of(true, no_colour.map(str::as_ref), Some("xterm".as_ref()));
        let buffer = buffer(&model, &mut Controls::default(), 80, 24, style);
        let mut cells = buffer.content().iter();
        cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(None));
    assert!(!coloured(Some("1")));
}
