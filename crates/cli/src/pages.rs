//! Each `udco …` in the documents is a command line that this program takes. `testbed/tests/pages` runs those in blocks.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use crate::{Arguments, Command, run};

/// What is missing there, and what has changed: commands that do not exist (any more).
const LEFT_OUT: [&str; 2] = ["docs/open.md", "CHANGELOG.md"];

#[test]
fn each_command_line_in_the_pages_is_taken() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in command_lines(&text) {
            count += 1;
            if let Err(why) = check(&line) {
                panic!("{}: `{line}`: {why}", page.display());
            }
        }
    }
    assert!(count > 80, "only {count} found");
}

#[test]
fn an_option_that_does_not_exist_is_noticed() {
    for bad in [
        "udco show --jsn",
        "udco shw",
        "udco run --wrkers 2 -- openvpn",
        "udco peer new tun0 --keepalive never",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
    for fine in [
        "udco peer new",
        "udco doctor [--config FILE] [UNIT]",
        "udco daemon --allow-uid",
        "udco run -- openvpn … ",
        "udco show --watch[=SECONDS]",
    ] {
        assert!(check(fine).is_ok(), "{fine}: {:?}", check(fine));
    }
    let page =
        "# A\n\n    udco show | head   # all\n\nText `udco run --\nx` and `udco`, `sudo udco y`.\n";
    assert_eq!(command_lines(page), ["udco show", "udco run -- x"]);
}

/// Documents, and files of packages whose comments name commands.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = Vec::new();
    let mut folders = vec![root.join("docs"), root.join("packaging")];
    for entry in fs::read_dir(&root).unwrap() {
        pages.push(entry.unwrap().path());
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => pages.push(path),
            }
        }
    }
    let is_left_out = |path: &Path| LEFT_OUT.iter().any(|it| path.ends_with(it));
    let is_page = |path: &Path| path.extension().is_some_and(|it| it == "md");
    let is_packed = |path: &Path| path.is_file() && path.starts_with(root.join("packaging"));
    pages.retain(|path| (is_page(path) || is_packed(path)) && !is_left_out(path));
    pages.sort();
    pages
}

/// The `udco …` of code blocks, and of code spans, which may go over a line's end.
fn command_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("    ")) {
        let line = line.trim();
        let is_command = line.starts_with("udco ") && !line.ends_with(',');
        found.extend(is_command.then(|| bare(line)));
    }
    let paragraphs = text.split("\n\n").filter(|it| !it.starts_with("    "));
    for paragraph in paragraphs {
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let spans = paragraph.split('`').skip(1).step_by(2);
        let spans = spans.filter(|span| span.starts_with("udco "));
        found.extend(spans.map(bare));
    }
    found
}

/// Without a comment, and what a shell does with the output.
fn bare(line: &str) -> String {
    let ends = [" # ", "  #", " | ", " > ", " >", " &"];
    let end = ends.iter().filter_map(|end| line.find(end)).min();
    line[..end.unwrap_or(line.len())].trim().to_owned()
}

/// Whether the command and its options exist, and values have their form. Words may be missing, in brackets, or
/// names in capitals.
fn check(line: &str) -> Result<(), String> {
    let plain = line.replace("[=", "=").replace(['[', ']', '\'', '"'], "");
    let words = plain
        .split_whitespace()
        .filter(|word| !word.starts_with('…'));
    let words: Vec<&str> = words.collect();
    let is_placeholder = |value: &str| {
        let value = value.rsplit('=').next().unwrap_or(value);
        !value.is_empty() && !value.contains(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let error = match Arguments::try_parse_from(&words) {
        Ok(Arguments {
            command: Command::Run(run),
        }) => return run::unknown_option(&run.program).map_or(Ok(()), |it| Err(it.to_owned())),
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    match error.kind() {
        // Incomplete, or a choice of several.
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayVersion
        | ErrorKind::ArgumentConflict => Ok(()),
        // An option by its name alone, at the end.
        ErrorKind::InvalidValue if words.last().is_some_and(|it| it.starts_with("--")) => Ok(()),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
            if words.iter().skip(2).any(|it| is_placeholder(it)) =>
        {
            Ok(())
        }
        _ => Err(error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()),
    }
}
