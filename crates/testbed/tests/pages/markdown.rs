//! As much of Markdown as the pages use.

/// The languages of fenced blocks that hold commands. Indented blocks do, too.
const COMMANDS: [&str; 2] = ["sh", "console"];

/// The commands of a page, without comments.
pub(super) fn commands(page: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut is_continued = false;
    for line in lines_of_commands(page) {
        let line = without_comment(line.trim());
        let line = line.strip_prefix("$ ").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match commands.last_mut().filter(|_| is_continued) {
            Some(before) => {
                before.truncate(before.trim_end_matches(['\\', ' ']).len());
                before.push(' ');
                before.push_str(line);
            }
            None => commands.push(line.to_owned()),
        }
        is_continued = line.ends_with('\\');
    }
    commands
}

fn lines_of_commands(page: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut fence, mut is_code, mut is_blank) = (None, false, true);
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = match fence {
                None => Some(language.trim()),
                Some(_) => None,
            };
            (is_code, is_blank) = (false, true);
            continue;
        }
        if let Some(language) = fence {
            if COMMANDS.contains(&language) {
                lines.push(line);
            }
            continue;
        }
        if line.trim().is_empty() {
            is_blank = true;
            continue;
        }
        // A block begins behind a blank line; otherwise it is the continuation of a paragraph.
        is_code = line.starts_with("    ") && (is_code || is_blank);
        if is_code {
            lines.push(line);
        }
        is_blank = false;
    }
    lines
}

/// Cuts off what follows ` #` outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('#', None) if before == ' ' => return line[..at].trim_end(),
            _ => {}
        }
        before = c;
    }
    line
}

/// Text outside code.
fn prose(page: &str) -> String {
    let mut text = String::new();
    let mut is_fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced && !line.starts_with("    ") {
            // Code spans hold no links.
            let spans = line.split('`').step_by(2);
            text.extend(spans);
            text.push('\n');
        }
    }
    text
}

/// The targets of a page's links.
pub(super) fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    let parts = text.split("](").skip(1);
    parts
        .filter_map(|part| Some(part.split_once(')')?.0.to_owned()))
        .collect()
}

/// The anchors of a page's headings, as GitHub makes them.
pub(super) fn headings(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        text.chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    })
}

#[test]
fn commands_are_those_of_indented_and_fenced_blocks() {
    let page = "Text\n    not a block\n\n    udco show   # all\n    udco run \\\n      -- openvpn\n\n\
        ```text\nno command\n```\n\n```sh\necho '#' \"# \" # comment\n```\n- a list\n    and more of it\n";
    assert_eq!(
        commands(page),
        ["udco show", "udco run -- openvpn", "echo '#' \"# \""]
    );
}

#[test]
fn links_and_headings() {
    let page = "# What it does *not* do\n[a](b.md#c) `[no](no)` and [d](https://e)\n";
    assert_eq!(links(page), ["b.md#c", "https://e"]);
    assert_eq!(headings(page).next().unwrap(), "what-it-does-not-do");
}
