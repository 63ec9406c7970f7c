//! Requests on peers and keys while tunnels are up.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use udco_testbed::measure::Ping;

use super::bench::{Bench, Client, INNER_SERVER, SOON};
use super::traffic::{for_each, transmitted};

/// Steps 1 and 8: the same new key at both ends of every peer.
pub(crate) fn install_keys(bench: &Bench, slot: &str, id: u8) -> Result<()> {
    for_each(bench, |client| {
        let file = bench.lab.directory();
        let file = file.join(format!("key{id}-{}.txt", client.number));
        let file = file.to_str().context("a path that is not UTF-8")?;
        bench.udco(&client.host, &format!("key generate {file}"))?;
        let cipher = bench.variant.cipher;
        for ((host, peer), direction) in bench.ends(client).into_iter().zip(0..) {
            let words = format!(
                "key new tun0 --peer {peer} --slot {slot} --key-id {id} --cipher {cipher} --file {file} --direction {direction}"
            );
            bench.udco(host, &words)?;
        }
        Ok(())
    })
    .map(drop)
}

/// Step 2: keepalive as in the kernel's own selftests, read back from every peer.
pub(crate) fn set_keepalive(bench: &Bench) -> Result<()> {
    for_each(bench, |client| {
        for (host, id) in bench.ends(client) {
            bench.udco(host, &format!("peer set tun0 --id {id} --keepalive 60:120"))?;
            let peer = bench.json(host, &format!("peer get tun0 --id {id} --json"))?;
            let keepalive = &peer["keepalive"];
            ensure!(
                keepalive["interval"] == 60 && keepalive["timeout"] == 120,
                "{peer}"
            );
        }
        Ok(())
    })
    .map(drop)
}

/// Step 8: new keys become secondary ones, and only clients swap theirs. Both ends still understand each other, as the
/// key id in a packet selects the key (dco-behaviour 5.5).
pub(crate) fn rekey_one_end(bench: &Bench) -> Result<()> {
    install_keys(bench, "secondary", 1)?;
    for_each(bench, |client| {
        let swap = format!("key swap tun0 --peer {}", client.id);
        bench.udco(&client.host, &swap)?;
        Ping::to(INNER_SERVER).all_answered(&client.host)
    })
    .map(drop)
}

/// Step 9: all peers, one of them, and one that does not exist.
pub(crate) fn show_peers(bench: &Bench) -> Result<()> {
    let all = bench.json(&bench.server, "peer get tun0 --json")?;
    let all = all.as_array().context("no array")?;
    ensure!(all.len() == bench.clients.len(), "{all:?}");
    for (client, peer) in bench.clients.iter().zip(all) {
        let (tx_id, vpn4) = (client.id, client.inner());
        ensure!(
            peer["id"] == client.number && peer["tx_id"] == tx_id && peer["vpn4"] == vpn4.as_str(),
            "{peer}"
        );
        let one = bench.json(
            &bench.server,
            &format!("peer get tun0 --id {} --json", client.number),
        )?;
        let same = ["id", "tx_id", "remote", "local", "local_port", "vpn4"];
        ensure!(same.iter().all(|it| one[it] == peer[it]), "{one} {peer}");
        // On the client it is the only one, and without a VPN address.
        let at_client = bench.json(&client.host, "peer get tun0 --json")?;
        let only = &at_client[0];
        ensure!(
            at_client.as_array().is_some_and(|all| all.len() == 1)
                && only["id"] == client.id
                && only["tx_id"] == client.number
                && only["vpn4"].is_null(),
            "{at_client}"
        );
    }
    let unknown = "cannot find peer with id 20 (No such file or directory)";
    bench.refused(&bench.server, "peer get tun0 --id 20", unknown)
}

/// Step 10: deletes a peer at both ends; a second time it does not exist.
pub(crate) fn delete_peer(bench: &mut Bench, number: u32) -> Result<()> {
    let client = bench.client(number)?;
    for (host, id) in bench.ends(client) {
        let words = format!("peer del tun0 --id {id}");
        bench.udco(host, &words)?;
        let text = format!("cannot find peer with id {id} (No such file or directory)");
        bench.refused(host, &words, &text)?;
    }
    let clients = bench.clients.iter_mut();
    let client = clients.into_iter().find(|it| it.number == number);
    let holder = &mut client.context("a client")?.peer;
    // The process that holds the socket ends with its last peer.
    ensure!(holder.wait(SOON)?.success(), "{}", holder.log());
    Ok(())
}

/// Step 11: which key is in which slot. The clients have swapped theirs.
pub(crate) fn show_keys<'a>(
    bench: &'a Bench,
    clients: impl Iterator<Item = &'a Client>,
) -> Result<()> {
    for client in clients {
        let [server, at_client] = bench.ends(client);
        for ((host, peer), primary) in [(server, 0), (at_client, 1)] {
            for (slot, key_id) in [("primary", primary), ("secondary", 1 - primary)] {
                let words = format!("key get tun0 --peer {peer} --slot {slot} --json");
                let key = bench.json(host, &words)?;
                ensure!(
                    key["peer"] == peer
                        && key["slot"] == slot
                        && key["key_id"] == key_id
                        && key["cipher"] == bench.variant.cipher,
                    "{key}"
                );
            }
        }
    }
    Ok(())
}

/// Step 12: deletes a peer at the server while it is pinged: later packets are lost, and nothing else happens.
pub(crate) fn delete_peer_under_traffic(bench: &Bench, number: u32) -> Result<()> {
    let client = bench.client(number)?;
    let before = bench.dropped("tx_no_peer")?;
    let pings = Ping::to(&client.inner()).count(100);
    let pings = pings
        .interval(Duration::from_millis(10))
        .start(&bench.server);
    thread::sleep(Duration::from_millis(400));
    let words = format!("peer del tun0 --id {number}");
    bench.udco(&bench.server, &words)?;
    let echo = pings.join().map_err(|_| anyhow!("a thread panicked"))??;
    ensure!(
        echo.received > 0 && !echo.lost.is_empty(),
        "{} of {} were answered",
        echo.received,
        echo.sent
    );
    // Once one was lost, all later ones were.
    let first = echo.lost.first().copied().unwrap_or_default();
    ensure!(echo.received + 1 == first, "lost {:?}", echo.lost);
    let dropped = bench.dropped("tx_no_peer")? - before;
    ensure!(
        dropped >= echo.lost.len() as u64 - 1,
        "{dropped} dropped, lost {:?}",
        echo.lost
    );
    // The client's end has not noticed.
    bench.udco(&client.host, &format!("peer del tun0 --id {}", client.id))?;
    Ok(())
}

/// Step 13: deletes these clients' keys at both ends, one slot after the other; then nothing gets through.
pub(crate) fn delete_keys(bench: &Bench, numbers: &[u32]) -> Result<()> {
    const COUNT: u64 = 3;
    for client in &bench.clients {
        if !numbers.contains(&client.number) {
            continue;
        }
        for (host, peer) in bench.ends(client) {
            for (number, slot) in ["primary", "secondary"].into_iter().enumerate() {
                let place = format!("tun0 --peer {peer} --slot {slot}");
                bench.udco(host, &format!("key del {place}"))?;
                let text = format!("cannot extract key from slot {number} for peer {peer}");
                bench.refused(host, &format!("key get {place}"), &text)?;
            }
        }
    }
    let before = bench.dropped("tx_no_key")?;
    for_each(bench, |client| {
        if numbers.contains(&client.number) {
            let answered = transmitted(&bench.server, &client.inner(), COUNT)?;
            ensure!(answered == 0, "{answered} pings got through");
        }
        Ok(())
    })?;
    let lost = COUNT * numbers.len() as u64;
    let dropped = bench.dropped("tx_no_key")? - before;
    ensure!(
        dropped == lost,
        "{dropped} reported as dropped, {lost} were lost"
    );
    Ok(())
}
