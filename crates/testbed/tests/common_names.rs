//! `udco show` names the clients of a server that writes a status file.

use anyhow::{Result, ensure};
use udco_testbed::{CONNECT, Launch, Pair, Proto, connect, eventually, udco};

#[test]
fn a_client_of_a_server_with_a_status_file_is_shown_by_its_common_name() -> Result<()> {
    if udco::is_left_out("it is about udco show") {
        return Ok(());
    }
    for version in ["1", "2", "3"] {
        let pair = Pair::new()?;
        let status = format!("status {} 1", pair.lab.file("status")?);
        let server = pair.server(Proto::Udp4).launch(Launch::Udco);
        let server = server
            .line(&status)
            .line(&format!("status-version {version}"));
        let client = pair.client(Proto::Udp4).line("explicit-exit-notify 1");
        let (server, client) = connect(server, client)?;
        eventually("the common name", CONNECT, || {
            let text = pair.server.run(&[udco::program()?, "show"])?;
            Ok(text.contains("(client) at 192.0.2.2:").then_some(()))
        })?;
        let shown = udco::show(&pair.server)?;
        let names = shown.devices.iter().flat_map(|it| &it.common_names);
        ensure!(names.map(|(_, name)| name).eq(["client"]), "{shown:?}");
        // The monitor, too, also once the client has gone.
        let mut monitor = udco::spawn(&pair.server, "monitor", "monitor", "listening")?;
        client.stop()?;
        monitor.wait_for_log("peer 0 (client) at 192.0.2.2:", CONNECT)?;
        server.stop()?;
        pair.lab.discard_logs();
    }
    Ok(())
}
