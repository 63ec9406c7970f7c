//! A client that changes its outer address keeps its session (dco-behaviour 5.4).

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Launch, Pair, Proto, addresses as at, connect, eventually};

#[test]
fn a_client_with_a_new_ipv4_address_keeps_its_session() -> Result<()> {
    float(Proto::Udp4, &format!("{}/24", at::CLIENT), "192.0.2.77", 24)
}

#[test]
fn a_client_with_a_new_ipv6_address_keeps_its_session() -> Result<()> {
    float(
        Proto::Udp6,
        &format!("{}/64", at::CLIENT6),
        "2001:db8::77",
        64,
    )
}

fn float(proto: Proto, old: &str, new: &str, prefix: u8) -> Result<()> {
    let pair = Pair::new()?;
    let (mut server, client) = connect(
        pair.server(proto).launch(Launch::Udco).line("float"),
        pair.client(proto).launch(Launch::Udco),
    )?;
    let inner = Ping::to(at::INNER_SERVER);
    inner.all_answered(&pair.client)?;
    let series = inner.clone().count(150).start(&pair.client);
    std::thread::sleep(Duration::from_secs(1));
    pair.client
        .change_address(&pair.link.b, old, &format!("{new}/{prefix}"))?;
    let echo = series
        .join()
        .map_err(|_| anyhow!("ping's thread panicked"))??;
    // Between the two `ip` calls there is no way out; 100 requests were due after it.
    ensure!(
        echo.received >= 130,
        "lost {:?} of {}",
        echo.lost,
        echo.sent
    );
    inner.all_answered(&pair.client)?;
    if server.is_udco() {
        eventually(
            "the new address in `udco show`",
            Duration::from_secs(2),
            || {
                Ok(server
                    .show()?
                    .peers()
                    .any(|peer| peer.is_at(new))
                    .then_some(()))
            },
        )?;
    } else {
        server.wait_for_log(new, Duration::from_secs(5))?;
    }
    // The same session: neither end began anew.
    ensure!(
        client
            .log()
            .matches("Initialization Sequence Completed")
            .count()
            == 1
    );
    server.require_authentic()
}
