//! The pages: every command in them is run here or accounted for, and every link leads somewhere. `cli/src/pages.rs` holds
//! each `udco …` in them against the command line.

mod command;
mod commands;
mod markdown;
mod play;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use udco_testbed::{CONNECT, Launch, Pair, Proto, udco};

use self::command::How;
use self::commands::COMMANDS;

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages, by their path in the workspace.
fn pages() -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for folder in ["", "docs", "docs/rules", "docs/lab", "recordings"] {
        for entry in fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "md") {
                let name = path.strip_prefix(root())?.to_str().context("not UTF-8")?;
                pages.insert(name.to_owned(), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(pages)
}

#[test]
fn every_command_is_run_or_accounted_for() -> Result<()> {
    let mut listed: Vec<(&str, &str)> = COMMANDS.iter().map(|it| (it.page, it.words)).collect();
    for (page, text) in pages()? {
        for command in markdown::commands(&text) {
            let at = listed
                .iter()
                .position(|(of, words)| *of == page && *words == command);
            let at = at.with_context(|| {
                format!("{page}: nobody runs `{command}`: add it to tests/pages/commands.rs")
            })?;
            listed.swap_remove(at);
        }
    }
    ensure!(listed.is_empty(), "no page has {listed:?}");
    for command in COMMANDS {
        match command.how {
            How::Elsewhere(file, words) => {
                let text = fs::read_to_string(root().join(file)).context(file)?;
                ensure!(text.contains(words), "{file} does not have {words}");
            }
            How::Not(why) => ensure!(why.len() > 10, "`{}`: why?", command.words),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn the_commands_of_the_pages_do_what_they_say() -> Result<()> {
    if udco::is_left_out("the pages are about udco") {
        return Ok(());
    }
    play::all(&pages()?)
}

/// docs/containers.md: what the recipes give to a container is all that OpenVPN and its engine need.
#[test]
fn the_rights_of_the_container_recipes_are_enough() -> Result<()> {
    if udco::is_left_out("the recipes are udco's") {
        return Ok(());
    }
    let compose = fs::read_to_string(root().join("packaging/container/compose.yaml"))?;
    for line in [
        "cap_drop: [ALL]",
        "cap_add: [NET_ADMIN]",
        "devices: [/dev/net/tun]",
    ] {
        ensure!(compose.contains(line), "compose.yaml: no {line}");
    }
    let page = fs::read_to_string(root().join("docs/containers.md"))?;
    let words = "--cap-drop all --cap-add net_admin --device /dev/net/tun";
    ensure!(page.contains(words), "docs/containers.md: no {words}");

    let pair = Pair::new()?;
    let mut server = pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    let written = pair.client(Proto::Udp4).launch(Launch::Udco).write()?;
    let mut words = vec![
        "setpriv".into(),
        "--no-new-privs".into(),
        "--bounding-set=-all,+net_admin".into(),
        "--inh-caps=-all,+net_admin".into(),
        udco::program()?.into(),
        "run".into(),
        "--".into(),
    ];
    words.extend(written.words.clone());
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let _client = pair.client.spawn("contained", &words)?;
    udco_testbed::eventually("offload", CONNECT, || {
        let log = fs::read_to_string(&written.log).unwrap_or_default();
        Ok(log.contains("data channel offload active").then_some(()))
    })?;
    udco_testbed::eventually("a peer", CONNECT, || {
        let shown = udco::show(&pair.client)?;
        Ok((shown.peers().count() == 1).then_some(()))
    })?;
    udco_testbed::measure::Ping::to("10.8.0.1").all_answered(&pair.client)?;
    pair.lab.discard_logs();
    Ok(())
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() -> Result<()> {
    let pages = pages()?;
    for (page, text) in &pages {
        for link in markdown::links(text) {
            check(page, &link, &pages).with_context(|| format!("{page}: ({link})"))?;
        }
    }
    Ok(())
}

fn check(page: &str, link: &str, pages: &BTreeMap<String, String>) -> Result<()> {
    if link.contains("://") {
        // No network here: only the form.
        let is_address =
            link.starts_with("https://") && link.bytes().all(|it| it.is_ascii_graphic());
        ensure!(is_address, "not an address: give https://…");
        return Ok(());
    }
    let (file, heading) = match link.split_once('#') {
        Some((file, heading)) => (file, Some(heading)),
        None => (link, None),
    };
    let folder = Path::new(page).parent().context("no folder")?;
    let target = match file {
        "" => PathBuf::from(page),
        file => normal(&folder.join(file))?,
    };
    ensure!(root().join(&target).exists(), "no {}", target.display());
    if let Some(heading) = heading {
        let name = target.to_str().context("not UTF-8")?;
        let text = pages.get(name).context("not a page")?;
        let is_there = markdown::headings(text).any(|it| it == heading);
        ensure!(is_there, "{name} has no such heading");
    }
    Ok(())
}

/// A path without `..`.
fn normal(path: &Path) -> Result<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                ensure!(normal.pop(), "a path that leads out of the workspace");
            }
            part => normal.push(part),
        }
    }
    Ok(normal)
}

/// Users are pointed to the pages that they need, by the pages that they find first.
#[test]
fn the_index_lists_every_page() -> Result<()> {
    let pages = pages()?;
    let index = pages.get("docs/README.md").context("no index")?;
    for page in pages.keys() {
        let Some(name) = page.strip_prefix("docs/") else {
            continue;
        };
        let is_listed = name == "README.md" || index.contains(&format!("]({name})"));
        ensure!(is_listed || name.contains('/'), "docs/README.md: no {name}");
    }
    Ok(())
}
