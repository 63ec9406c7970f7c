use super::*;

/// A route message: type, flags, then `rtmsg` with this family, prefix length and kind, then attributes.
fn message(kind: u16, flags: u16, rtmsg: (u8, u8, u8), attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let (family, destination_bits, route_kind) = rtmsg;
    let header = Header {
        kind,
        flags,
        ..Header::default()
    };
    let route = RouteHeader {
        family,
        destination_bits,
        table: RT_TABLE_MAIN,
        kind: route_kind,
        ..RouteHeader::default()
    };
    header.write(&route.bytes(), |writer| {
        for (number, payload) in attributes {
            writer.put(*number, payload);
        }
    })
}

fn only(datagram: &[u8]) -> Option<Change> {
    let mut changes = changes(datagram, 7);
    let first = changes.next();
    assert_eq!(changes.next(), None);
    first
}

const IROUTE: Route = Route {
    destination: IpAddr::V4(Ipv4Addr::new(192, 168, 7, 0)),
    prefix: 24,
    metric: 100,
    gateway: Some(IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2))),
    ifindex: 5,
};

fn iroute(kind: u16, flags: u16) -> Vec<u8> {
    let attributes: [(u16, &[u8]); 4] = [
        (RTA_DST, &[192, 168, 7, 0]),
        (RTA_GATEWAY, &[10, 8, 0, 2]),
        (RTA_OIF, &5u32.to_ne_bytes()),
        (RTA_PRIORITY, &100u32.to_ne_bytes()),
    ];
    message(kind, flags, (AF_INET, 24, RTN_UNICAST), &attributes)
}

#[test]
fn routes_come_go_and_are_replaced() {
    let added = |replaced| {
        Some(Change::Added {
            route: IROUTE,
            replaced,
        })
    };
    assert_eq!(only(&iroute(RTM_NEWROUTE, 0)), added(false));
    assert_eq!(only(&iroute(RTM_NEWROUTE, NLM_F_REPLACE)), added(true));
    assert_eq!(
        only(&iroute(RTM_DELROUTE, 0)),
        Some(Change::Removed(IROUTE))
    );
}

#[test]
fn a_blackhole_leads_nowhere_and_other_tables_are_left_out() {
    let mut blackhole = iroute(RTM_NEWROUTE, 0);
    blackhole[23] = 6;
    let nowhere = Route {
        gateway: None,
        ifindex: 0,
        ..IROUTE
    };
    assert_eq!(
        only(&blackhole),
        Some(Change::Added {
            route: nowhere,
            replaced: false
        })
    );
    let mut local = iroute(RTM_NEWROUTE, 0);
    local[20] = 255;
    assert_eq!(only(&local), None);
}

#[test]
fn the_first_of_several_hops_counts() {
    let mut hops = 16u16.to_ne_bytes().to_vec();
    hops.extend_from_slice(&[0, 0]);
    hops.extend_from_slice(&5u32.to_ne_bytes());
    hops.extend_from_slice(&8u16.to_ne_bytes());
    hops.extend_from_slice(&RTA_GATEWAY.to_ne_bytes());
    hops.extend_from_slice(&[10, 8, 0, 2]);
    let attributes: [(u16, &[u8]); 3] = [
        (RTA_DST, &[192, 168, 7, 0]),
        (RTA_PRIORITY, &100u32.to_ne_bytes()),
        (RTA_MULTIPATH, &hops),
    ];
    let message = message(RTM_NEWROUTE, 0, (AF_INET, 24, RTN_UNICAST), &attributes);
    assert_eq!(
        only(&message),
        Some(Change::Added {
            route: IROUTE,
            replaced: false
        })
    );
}

#[test]
fn a_route_for_certain_sources_is_left_out() {
    let mut message = iroute(RTM_NEWROUTE, 0);
    // The length of the source prefix, after the netlink header, the family and the destination's prefix length.
    message[18] = 24;
    assert_eq!(only(&message), None);
}

#[test]
fn truncation_at_any_byte_is_harmless() {
    let whole = iroute(RTM_NEWROUTE, 0);
    for cut in 0..whole.len() {
        let _ = changes(&whole[..cut], 7).count();
        let mut lying = whole[..cut].to_vec();
        if let Some(length) = lying.first_chunk_mut() {
            *length = (cut as u32).to_ne_bytes();
        }
        let _ = changes(&lying, 7).count();
    }
}

#[test]
fn a_router_is_preferred_as_rfc_4191_numbers_it() {
    let with = |attributes: &[(u16, &[u8])]| {
        preference(&message(
            RTM_NEWROUTE,
            0,
            (AF_INET6, 0, RTN_UNICAST),
            attributes,
        ))
    };
    let oif: (u16, &[u8]) = (RTA_OIF, &[5, 0, 0, 0]);
    assert_eq!(with(&[oif]), Preference::Medium);
    for (value, wanted) in [
        (0, Preference::Medium),
        (1, Preference::High),
        // Reserved.
        (2, Preference::Medium),
        (3, Preference::Low),
    ] {
        assert_eq!(with(&[oif, (RTA_PREF, &[value])]), wanted, "{value}");
    }
    assert_eq!(with(&[(RTA_PREF, &[])]), Preference::Medium);
}
