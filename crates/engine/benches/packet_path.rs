//! What the steps of a packet's way cost without the kernel: `cargo bench -p udco-engine --bench packet_path`.
//!
//! A whole tunnel is measured by `cargo xtask bench`; this is for changes to one step. Compare two builds in turns, by
//! ratio (`--save-baseline`, `--baseline`): machines are shared and noisy.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use udco_core::inbound::{self, Inbound, Origin, Payload};
use udco_core::offload::{Header, Merger, Splitter, Transport, checksum, virtio};
use udco_core::outbound::{Sealer, select};
use udco_core::peer::Keepalive;
use udco_core::wire::OVERHEAD;
use udco_core::{
    Cipher, Device, Endpoint, Key, KeyId, KeyMaterial, Mode, NewPeer, PeerId, Routes, Slot, Time,
    View,
};
use udco_crypto::DirectionKey;

const NOW: Time = Time::from_millis(1);

/// What the default `tun-mtu` and a path MTU of 1,500 leave of a full TCP segment, and how many a super-packet has.
const SEGMENT: usize = 1408;
const SEGMENTS: usize = 45;

/// IPv4 and TCP with timestamps.
const HEADERS: usize = 20 + 32;

/// Lengths of inner packets, and how many in a batch.
const BATCHES: [(usize, usize); 2] = [(HEADERS + SEGMENT, SEGMENTS), (92, 64)];

fn peer_id(id: u32) -> PeerId {
    PeerId::new(id).expect("24 bits")
}

fn address_of(id: u32) -> Ipv4Addr {
    (0x0a00_0000 + id).into()
}

fn remote_of(id: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0xc612_0000 + id), 1194))
}

fn key(cipher: Cipher) -> Key<DirectionKey> {
    let direction = || DirectionKey::new(cipher, &[7; 32]).expect("ciphers of 256 bits");
    Key::new(KeyMaterial {
        id: KeyId::ALL[0],
        cipher,
        encrypt: direction(),
        decrypt: direction(),
        encrypt_nonce_tail: [1; 8],
        decrypt_nonce_tail: [1; 8],
    })
}

/// A device whose first peer has a key; the others are only there.
fn device(peers: u32, cipher: Cipher) -> Device<DirectionKey, ()> {
    let mut device = Device::new(Mode::Mp, 99);
    for id in 1..=peers {
        let new = NewPeer {
            id: peer_id(id),
            tx_id: peer_id(id),
            vpn4: Some(address_of(id)),
            vpn6: None,
            endpoint: Some(Endpoint {
                remote: remote_of(id),
                local: None,
            }),
            keepalive: Keepalive::default(),
            transport: (),
        };
        assert!(device.add_peer(new, NOW).is_ok());
    }
    assert!(
        device
            .install_key(PeerId::from(1), Slot::Primary, key(cipher))
            .is_ok()
    );
    device
}

/// An inner packet from the first peer that nothing is wrong with, but for its checksums, which splitting completes.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[6] = 0x40;
    packet[8] = 64;
    packet[9] = 6;
    packet[12..16].copy_from_slice(&address_of(1).octets());
    packet[16..20].copy_from_slice(&address_of(2).octets());
    // Data offset and ACK; timestamps, and two bytes of padding before them.
    packet[32..34].copy_from_slice(&[0x80, 0x10]);
    packet[40..44].copy_from_slice(&[1, 1, 8, 10]);
    packet
}

/// A TCP super-packet, and its header.
fn super_packet() -> (Header, Vec<u8>) {
    let header = Header {
        flags: virtio::NEEDS_CSUM,
        gso_type: virtio::GSO_TCPV4,
        hdr_len: HEADERS as u16,
        gso_size: SEGMENT as u16,
        csum_start: 20,
        csum_offset: 16,
    };
    let mut packet = packet(HEADERS + SEGMENTS * SEGMENT);
    // As the kernel leaves it to whoever cuts: the sum of the pseudo-header.
    let pseudo = checksum::pseudo_header(&packet, Transport::Tcp, packet.len() - 20);
    let partial = checksum::fold(pseudo.expect("an IP packet"));
    packet[36..38].copy_from_slice(&partial.to_be_bytes());
    (header, packet)
}

/// The packets of a super-packet in one buffer, and where each lies.
fn segments() -> (Vec<u8>, Vec<Range<usize>>) {
    let (header, packet) = super_packet();
    let mut splitter = Splitter::new(&header, &packet).expect("a sound super-packet");
    let mut buffer = vec![0; splitter.total()];
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Some(len) = splitter.next(&mut buffer[at..]) {
        ranges.push(at..at + len);
        at += len;
    }
    assert_eq!(ranges.len(), SEGMENTS);
    (buffer, ranges)
}

/// Seals a batch, each record in its place.
fn seal_batch(view: &View<'_, DirectionKey, ()>, batch: &mut [Vec<u8>], len: usize) {
    let peer = view.by_id(PeerId::from(1)).expect("the first peer");
    let mut sealer = Sealer::new(peer, batch.len(), batch.len() * len, NOW).expect("a key");
    for record in batch {
        assert!(sealer.seal(record).is_ok());
    }
}

fn records(len: usize, count: usize) -> Vec<Vec<u8>> {
    let mut record = vec![0; OVERHEAD];
    record.extend_from_slice(&packet(len));
    vec![record; count]
}

fn seal_and_open(criterion: &mut Criterion) {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let device = device(1, cipher);
        let routes = Routes::new(1);
        let view = View::new(Mode::Mp, device.peers(), &routes);
        let origin = Origin {
            remote: remote_of(1),
            local: None,
        };
        for (len, count) in BATCHES {
            let name = format!("{cipher:?}, {count} of {len} B");
            let mut group = criterion.benchmark_group("batch");
            group.throughput(Throughput::Bytes((len * count) as u64));
            group.bench_function(BenchmarkId::new("seal", &name), |bencher| {
                let mut batch = records(len, count);
                bencher.iter(|| seal_batch(&view, &mut batch, len));
            });
            group.bench_function(BenchmarkId::new("open", &name), |bencher| {
                // Sealed anew each time: what was opened is a replay.
                let sealed = || {
                    let mut batch = records(len, count);
                    seal_batch(&view, &mut batch, len);
                    batch
                };
                let open = |mut batch: Vec<Vec<u8>>| {
                    for record in &mut batch {
                        let opened = inbound::receive(&view, record, origin, NOW);
                        let Inbound::Data { payload, .. } = opened else {
                            panic!("a record was not opened");
                        };
                        assert!(matches!(payload, Payload::Packet(_)));
                    }
                    batch
                };
                bencher.iter_batched(sealed, open, BatchSize::LargeInput);
            });
        }
    }
}

fn split(criterion: &mut Criterion) {
    let (header, packet) = super_packet();
    let mut room = vec![0; HEADERS + SEGMENT];
    let mut group = criterion.benchmark_group("offload");
    group.throughput(Throughput::Bytes(packet.len() as u64));
    group.bench_function("split a super-packet", |bencher| {
        bencher.iter(|| {
            let mut splitter = Splitter::new(&header, &packet).expect("a sound super-packet");
            while let Some(len) = splitter.next(&mut room) {
                black_box(&room[..len]);
            }
        });
    });
}

fn merge(criterion: &mut Criterion) {
    let (buffer, ranges) = segments();
    let mut merger = Merger::new(SEGMENTS);
    let mut group = criterion.benchmark_group("offload");
    group.throughput(Throughput::Bytes(buffer.len() as u64));
    group.bench_function("merge its packets", |bencher| {
        bencher.iter(|| {
            for range in &ranges {
                assert!(merger.add(&buffer, range.clone()).is_ok());
            }
            let groups = merger.groups().map(|group| black_box(group).packets);
            assert_eq!(groups.max(), Some(SEGMENTS));
            merger.clear();
        });
    });
}

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look-up");
    for peers in [2, 10_000, 100_000] {
        let device = device(peers, Cipher::Aes256Gcm);
        let routes = Routes::new(1);
        let mut id = 0;
        let mut next = move || {
            // Some other one each time: the last one found is remembered.
            id = (id + 7_919) % peers;
            id + 1
        };
        group.bench_function(BenchmarkId::new("by peer id", peers), |bencher| {
            let view = View::new(Mode::Mp, device.peers(), &routes);
            bencher.iter(|| assert!(black_box(view.by_id(peer_id(next()))).is_some()));
        });
        group.bench_function(BenchmarkId::new("by route", peers), |bencher| {
            let view = View::new(Mode::Mp, device.peers(), &routes);
            let mut packet = packet(92);
            bencher.iter(|| {
                packet[16..20].copy_from_slice(&address_of(next()).octets());
                assert!(select(&view, &packet).is_ok());
            });
        });
        group.bench_function(BenchmarkId::new("by VPN address", peers), |bencher| {
            bencher.iter(|| {
                let address = IpAddr::V4(address_of(next()));
                assert!(device.peers().by_vpn_address(address).is_some());
            });
        });
    }
}

criterion_group!(packet_path, seal_and_open, split, merge, look_up);
criterion_main!(packet_path);
