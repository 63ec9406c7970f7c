//! A name server for one name, [`NAME`].

use std::net::{IpAddr, UdpSocket};

use anyhow::Result;

/// The name that it resolves.
pub const NAME: &str = "vpn.example";

/// Answers for ever.
pub(crate) fn serve(listen: IpAddr, addresses: &[IpAddr]) -> Result<()> {
    let socket = UdpSocket::bind((listen, 53))?;
    println!("listening");
    let mut buffer = [0; 1500];
    loop {
        let (len, client) = socket.recv_from(&mut buffer)?;
        if let Some(answer) = answer(buffer.get(..len).unwrap_or_default(), addresses) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

/// Header, question, and a record for each address of the requested kind.
fn answer(question: &[u8], addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let name: Vec<u8> = NAME
        .split('.')
        .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
        .chain([0])
        .collect();
    let end = 12 + name.len() + 4;
    let is_known = question.get(12..12 + name.len())? == name;
    let kind = *question.get(end - 3)?;
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter(|_| is_known)
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(ip), 1) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), 28) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut bytes = question.get(..2)?.to_vec();
    // A recursive answer, without error or with NXDOMAIN; one question, and as many answers as records.
    bytes.extend_from_slice(&[0x81, if is_known { 0x80 } else { 0x83 }]);
    bytes.extend_from_slice(&[0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    bytes.extend_from_slice(question.get(12..end)?);
    for record in &records {
        bytes.extend_from_slice(&[0xC0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, record.len() as u8]);
        bytes.extend_from_slice(record);
    }
    Some(bytes)
}
