use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Reads `openvpn ARGUMENTS` with these files; each option as `origin name arguments`.
fn read_all(arguments: &[&str], files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let files: HashMap<_, _> = files
        .iter()
        .map(|(name, text)| (PathBuf::from(name), *text))
        .collect();
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let reading = read(&arguments, Path::new("/start"), |path| {
        let file = files.get(path).ok_or_else(|| "no such file".to_owned())?;
        Ok(file.as_bytes().to_vec())
    });
    let line = |setting: &Setting| {
        let words: Vec<_> = setting
            .arguments
            .iter()
            .map(|it| it.to_string_lossy())
            .collect();
        let block = setting
            .connection
            .map(|number| format!(" [{number}]"))
            .unwrap_or_default();
        format!(
            "{}{block} {} {}",
            setting.origin,
            setting.name,
            words.join("|")
        )
        .trim_end()
        .to_owned()
    };
    let problems = reading.problems.iter().map(ToString::to_string).collect();
    (reading.settings.iter().map(line).collect(), problems)
}

fn options(file: &str) -> Vec<String> {
    let (options, problems) = read_all(&["c"], &[("/start/c", file)]);
    assert_eq!(problems, Vec::<String>::new(), "{file}");
    options
}

#[test]
fn the_command_line_is_cut_at_dashes() {
    let arguments = [
        "--dev", "tun", "--ping", "--push", "a b", "-x", "--verb", "3",
    ];
    let (options, problems) = read_all(&arguments, &[]);
    assert_eq!(
        options,
        [
            "command line dev tun",
            "command line ping",
            "command line push a b|-x",
            "command line verb 3",
        ]
    );
    assert_eq!(problems, Vec::<String>::new());
    let (_, problems) = read_all(&["client.conf", "--verb", "3"], &[]);
    assert_eq!(problems, ["command line: \"client.conf\" is no option"]);
}

#[test]
fn a_single_word_is_a_file() {
    let (options, _) = read_all(&["sub/c.conf"], &[("/start/sub/c.conf", "dev tun\n")]);
    assert_eq!(options, ["sub/c.conf:1 dev tun"]);
    let (options, _) = read_all(&["--client"], &[]);
    assert_eq!(options, ["command line client"]);
}

fn read_bytes(bytes: &[u8]) -> Reading {
    read(&["c".into()], Path::new(""), |_| Ok(bytes.to_vec()))
}

#[test]
fn a_file_in_another_encoding_is_a_problem() {
    let wide = |bytes: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    };
    for text in ["dev tun\n", "\u{feff}dev tun\n", "\u{feff}"] {
        for bytes in [wide(u16::to_le_bytes, text), wide(u16::to_be_bytes, text)] {
            let reading = read_bytes(&bytes);
            let problems: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [format!("c:1: {UTF_16}")], "{bytes:?}");
            assert_eq!(reading.empty, Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn files_without_an_option_are_listed() {
    for bytes in [
        b"".as_slice(),
        b"\n \n# dev tun\n;\n",
        b"\xef\xbb\xbf",
        &[0; 4096],
    ] {
        let reading = read_bytes(bytes);
        assert_eq!(reading.empty, [PathBuf::from("c")], "{bytes:?}");
        assert_eq!((reading.problems, reading.settings), (vec![], vec![]));
    }
    for bytes in [
        b"dev tun".as_slice(),
        b"\xef\xbb\xbfdev tun",
        b"dev tun\n\0\0",
        b"remote \"a\n",
    ] {
        assert_eq!(read_bytes(bytes).empty, Vec::<PathBuf>::new(), "{bytes:?}");
    }
}

#[test]
fn files_name_files_where_openvpn_stands() {
    let files = [
        (
            "/start/sub/a",
            "verb 1\nconfig b\ncd sub\nconfig b\n--config /c\n",
        ),
        ("/start/b", "verb 2"),
        ("/start/sub/b", "verb 3"),
        ("/c", "verb 4"),
    ];
    let (options, problems) = read_all(&["--config", "sub/a", "--verb", "5"], &files);
    let verbs: Vec<_> = options
        .iter()
        .filter(|line| line.contains("verb"))
        .collect();
    assert_eq!(
        verbs,
        [
            "sub/a:1 verb 1",
            "b:1 verb 2",
            "b:1 verb 3",
            "/c:1 verb 4",
            "command line verb 5"
        ]
    );
    assert_eq!(problems, Vec::<String>::new());
    let (options, _) = read_all(&["--cd", "sub", "--config", "b"], &files);
    assert_eq!(options.last().unwrap(), "b:1 verb 3");
}

#[test]
fn an_inline_block_is_one_option() {
    let file = "<ca>\n-----BEGIN\nmssfix 1\n\" ' \\x\n </ca> rest\n  <key>\t\r\n</ca>\n</key>\r\nverb 3\n<ca> x\n\"<cert>\"\n</cert>\nverb 4\n";
    assert_eq!(
        options(file),
        [
            "c:1 ca [inline]",
            "c:6 key [inline]",
            "c:9 verb 3",
            "c:10 <ca> x",
            "c:11 cert [inline]",
            "c:13 verb 4"
        ]
    );
    let long = format!("<ca>\n{}\n</ca>\nverb 3\n", "x".repeat(5000));
    assert_eq!(options(&long), ["c:1 ca [inline]", "c:4 verb 3"]);
}

#[test]
fn connection_blocks_hold_options() {
    let file = "nobind\n<connection>\nremote a 1 udp # x\n  --mssfix 1300\n<tls-auth>\nmssfix 1\n</tls-auth>\n</connection>\n<connection>\nremote b\n</connection>\nverb 3\n";
    assert_eq!(
        options(file),
        [
            "c:1 nobind",
            "c:3 [0] remote a|1|udp",
            "c:4 [0] mssfix 1300",
            "c:5 [0] tls-auth [inline]",
            "c:10 [1] remote b",
            "c:12 verb 3",
        ]
    );
}

#[test]
fn setenv_opt_is_the_option() {
    assert_eq!(
        options(
            "setenv opt mssfix 1300 fixed\nsetenv opt\nsetenv OPT mssfix 1\nsetenv-safe opt mssfix"
        ),
        [
            "c:1 mssfix 1300|fixed",
            "c:2 setenv opt",
            "c:3 setenv OPT|mssfix|1",
            "c:4 setenv-safe opt|mssfix",
        ]
    );
}

#[test]
fn marks_of_other_systems_do_not_matter() {
    assert_eq!(
        options("\u{feff}verb 3\r\n\r\n;x\r\n# y\r\nmssfix 1300\r\n"),
        ["c:1 verb 3", "c:5 mssfix 1300"]
    );
    assert_eq!(options("verb 3"), ["c:1 verb 3"]);
    assert_eq!(
        options("\n\n \t\n--\n-x\n---y\n"),
        ["c:4 --", "c:5 -x", "c:6 -y"]
    );
}

/// OpenVPN refuses to start with these.
#[test]
fn lines_that_openvpn_refuses_end_their_file() {
    let long = format!("verb 1\n# {}\nmssfix 1300\n", "x".repeat(300));
    for (file, problem) in [
        (
            "verb 1\necho \"x\nmssfix 1300",
            "c:2: a quotation mark is not closed",
        ),
        (
            "verb 1\necho \\x\nmssfix 1300",
            "c:2: a backslash needs another one before it",
        ),
        ("verb 1\n<ca>\nmssfix 1300", "c:2: <ca> has no end"),
        ("verb 1\n<connection>\n", "c:2: <connection> has no end"),
        ("verb 1\nconfig d\n", "c:2: d: no such file"),
        ("verb 1\nconfig stdin\n", "c:2: standard input is not read"),
        (long.as_str(), "c:2: the line is longer than 254 characters"),
    ] {
        let (options, problems) = read_all(&["c"], &[("/start/c", file)]);
        assert_eq!(options[0], "c:1 verb 1");
        assert!(
            !options.iter().any(|line| line.contains("mssfix")),
            "{options:?}"
        );
        assert_eq!(problems, [problem]);
    }
    let fits = format!("{}\nmssfix 1\n", "x".repeat(254));
    assert_eq!(options(&fits).len(), 2);
}

#[test]
fn files_that_name_themselves_come_to_an_end() {
    let file = "config c\n".repeat(50);
    let mut opened = 0;
    let reading = read(&["c".into()], Path::new(""), |_| {
        opened += 1;
        Ok(file.as_bytes().to_vec())
    });
    assert_eq!(opened, MAX_FILES);
    assert!(reading.settings.len() <= MAX_FILES * 50);
    assert!(reading.problems.len() <= MAX_FILES);
    let huge = read(&["c".into()], Path::new(""), |_| {
        Ok(vec![b'\n'; MAX_FILE + 1])
    });
    assert_eq!(huge.problems[0].to_string(), "command line: c: too long");
}

#[test]
fn only_certificates_are_kept_and_the_last_directory() {
    let file = "cd sub\n<ca>\nA\nB\n</ca>\n<key>\nsecret\n</key>\ncd /etc\n";
    let reading = read(&["c".into()], Path::new("/start"), |_| Ok(file.into()));
    let kept: Vec<_> = reading.certificates.iter().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].text, b"A\nB\n");
    assert_eq!(kept[0].origin.to_string(), "c:2");
    assert_eq!(reading.directory, Path::new("/etc"));
}

#[test]
fn a_name_reaches_no_terminal_as_it_is() {
    let (_, problems) = read_all(&["--config", "a\u{1b}[31m\nb"], &[]);
    assert_eq!(problems, [r"command line: a\u{1b}[31m\nb: no such file"]);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
        file: Vec<u8>,
        word in "[\\-<>/a-z\"'\\\\ \n\r\t;#\u{0}]{0,200}",
    ) {
        let arguments: Vec<_> = arguments.into_iter().map(OsString::from_vec).collect();
        let _ = read(&arguments, Path::new("/"), |_| Ok(file.clone()));
        let reading = read(&["c".into()], Path::new("/"), |_| Ok(word.clone().into_bytes()));
        let report = crate::report(&reading.settings);
        prop_assert!(report.without_effect.len() <= reading.settings.len());
    }

    /// Words written with quotation marks or backslashes read back unchanged.
    #[test]
    fn quoted_words_read_back(arguments in prop::collection::vec("[ -~]{1,10}", 1..8)) {
        let quoted = |word: &String| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""));
        let escaped = |word: &String| -> String {
            let begins_comment = word.starts_with([';', '#']);
            if begins_comment || word.starts_with(' ') || word.contains('\'') {
                return quoted(word);
            }
            word.chars().flat_map(|it| ['\\', it].into_iter().skip(usize::from(!" \\\"".contains(it)))).collect()
        };
        for write in [&quoted as &dyn Fn(&String) -> String, &escaped] {
            let words: Vec<String> = arguments.iter().map(write).collect();
            let line = words.join(" ");
            prop_assume!(line.len() < 200);
            let read = words_of(&line);
            prop_assert_eq!(&read, &arguments, "{}", line);
        }
    }
}

fn words_of(line: &str) -> Vec<String> {
    let words = words(line.as_bytes()).expect("a good line");
    words
        .into_iter()
        .map(|word| String::from_utf8(word).expect("UTF-8"))
        .collect()
}
