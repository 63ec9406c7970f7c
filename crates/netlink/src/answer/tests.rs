use super::*;
use crate::message::stated_length;
use crate::numbers::{NLM_F_ACK, NLM_F_REQUEST};
use crate::schema::Kind;
use crate::tlv::{Attribute, Attributes};

const REQUESTER: Requester = Requester {
    port: 1001,
    ext_ack: true,
    cap_ack: false,
    admin: true,
};

/// 40 bytes of a request with sequence number 9.
fn request() -> Vec<u8> {
    let header = Header {
        kind: 0x20,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        sequence: 9,
        port: 77,
    };
    header.write(&[1; 24], |_| ())
}

fn extack() -> Extack {
    Extack {
        text: Some("no".into()),
        offset: Some(20),
        policy: Some(Kind::U32(7)),
        missing: Some(3),
        missing_in: Some(28),
    }
}

/// Flags, echo and attribute numbers of an error.
fn parts(error: &[u8], echo: usize) -> (u16, &[u8], Vec<u16>) {
    let header = Header::of(error).unwrap();
    assert_eq!(
        (stated_length(error), header.kind, header.sequence),
        (Some(error.len()), NLMSG_ERROR, 9)
    );
    assert_eq!(header.port, REQUESTER.port);
    let start = NLMSG_HDRLEN + 4 + echo;
    let attributes = Attributes::of(error, start).map(|attribute| attribute.number());
    (
        header.flags,
        &error[NLMSG_HDRLEN + 4..start],
        attributes.collect(),
    )
}

#[test]
fn an_ack_echoes_the_header() {
    let ack = acknowledgement(&REQUESTER, &request());
    assert_eq!(ack.len(), 36);
    assert_eq!(parts(&ack, 16), (NLM_F_CAPPED, &request()[..16], vec![]));
}

#[test]
fn an_error_echoes_all_unless_capped() {
    let error = error_message(&REQUESTER, &request(), Errno::EINVAL, &extack());
    assert_eq!(
        error[NLMSG_HDRLEN..NLMSG_HDRLEN + 4],
        (-22_i32).to_ne_bytes()
    );
    let order = vec![1, 2, 4, 5, 6];
    assert_eq!(
        parts(&error, 40),
        (NLM_F_ACK_TLVS, &request()[..], order.clone())
    );

    let requester = Requester {
        cap_ack: true,
        ..REQUESTER
    };
    let error = error_message(&requester, &request(), Errno::EINVAL, &extack());
    assert_eq!(
        parts(&error, 16),
        (NLM_F_CAPPED | NLM_F_ACK_TLVS, &request()[..16], order)
    );

    let requester = Requester {
        ext_ack: false,
        ..REQUESTER
    };
    let error = error_message(&requester, &request(), Errno::EINVAL, &extack());
    assert_eq!(parts(&error, 40), (0, &request()[..], vec![]));
}

#[test]
fn an_odd_request_is_padded_in_the_echo() {
    let request = &request()[..37];
    let error = refusal(&REQUESTER, request, Errno::ENODEV, Some("gone"));
    let (_, echo, attributes) = parts(&error, 40);
    assert_eq!((echo.len(), attributes), (40, vec![1]));
    assert_eq!(echo[37..], [0; 3]);
}

#[test]
fn big_endian_policies_are_not_reported() {
    let policy = Some(Kind::Be16 { min: 1 });
    let error = error_message(
        &REQUESTER,
        &request(),
        Errno::ERANGE,
        &Extack { policy, ..extack() },
    );
    assert_eq!(parts(&error, 40).2, [1, 2, 5, 6]);
}

#[test]
fn the_end_of_a_dump() {
    let end = done(&REQUESTER, &request(), Errno(0), &Extack::default());
    assert_eq!(
        (end.len(), Header::of(&end).unwrap().flags),
        (20, NLM_F_MULTI)
    );
    let end = done(&REQUESTER, &request(), Errno::ENODEV, &extack());
    assert_eq!(
        Header::of(&end).unwrap().flags,
        NLM_F_MULTI | NLM_F_ACK_TLVS
    );
    let text = Attributes::of(&end, 20).next();
    assert_eq!(text.as_ref().and_then(Attribute::text), Some("no"));
}
