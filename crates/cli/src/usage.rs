//! Errors in the arguments. clap quotes arguments as they are, also on a terminal, and scripts pass on names that others
//! have chosen (faults D4).

use std::ffi::OsString;
use std::fmt::Write;

use clap::error::ErrorKind;
use clap::{Command, Error, Parser};

use crate::escape::{Escaping, printable};

/// The standard library's words for what is no number, and ours.
const NUMBERS: [(&str, &str); 4] = [
    ("invalid digit found in string", "not a whole number"),
    ("cannot parse integer from empty string", "not a number"),
    ("number too large to fit in target type", "too large"),
    ("number too small to fit in target type", "too small"),
];

/// Parses arguments.
pub(crate) fn parse<P: Parser>(words: &[OsString]) -> Result<P, Error> {
    let mut command = negative_too(P::command());
    let matches = command.try_get_matches_from_mut(words)?;
    P::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Takes a negative number for an option's value, not for another option: what is wrong with it is its value.
fn negative_too(command: Command) -> Command {
    let with_values = command.mut_args(|argument| match argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    });
    with_values.mut_subcommands(negative_too)
}

/// The error as it is to be printed.
pub(crate) fn explained<P: Parser>(error: Error, words: &[OsString]) -> Error {
    let error = visible::<P>(error, words);
    if error.kind() != ErrorKind::ValueValidation {
        return error;
    }
    let before = error.render().to_string();
    let after = NUMBERS.iter().fold(before.clone(), |text, (theirs, ours)| {
        text.replace(&format!(": {theirs}\n"), &format!(": {ours}\n"))
    });
    match after == before {
        true => error,
        false => Error::raw(error.kind(), after.trim_start_matches("error: ")),
    }
}

/// The same error with the control characters of these arguments escaped.
fn visible<P: Parser>(error: Error, words: &[OsString]) -> Error {
    let plain = words.iter().map(|word| word.to_string_lossy());
    let escaped: Vec<String> = plain.clone().map(|it| printable(&it, usize::MAX)).collect();
    if plain.eq(escaped.iter().map(String::as_str)) {
        return error;
    }
    let escaped: Vec<OsString> = escaped.into_iter().map(Into::into).collect();
    match parse::<P>(&escaped) {
        Err(error) => error,
        // Nothing else was wrong with them.
        Ok(_) => {
            let mut text = String::new();
            let _ = Escaping::text(&mut text).write_str(&error.render().to_string());
            Error::raw(error.kind(), text.trim_start_matches("error: "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[arg(value_parser = without_bell)]
        _name: Option<String>,
        #[arg(long)]
        _number: Option<u8>,
    }

    fn without_bell(text: &str) -> Result<String, String> {
        match text.contains('\x07') {
            true => Err(format!("{text} has a bell")),
            false => Ok(text.to_owned()),
        }
    }

    #[test]
    fn no_argument_gets_to_a_terminal_as_it_is() {
        let evil = "\x1b]0;title\x07\n\u{9b}31m";
        for words in [
            &["udco", evil][..],
            &["udco", "a", "--number", evil],
            &["udco", "a", evil],
            &["udco", evil, "--number", "300"],
            &["udco", &format!("--{evil}")],
        ] {
            let error = Arguments::try_parse_from(words).unwrap_err();
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let error = visible::<Arguments>(error, &words);
            let shown = error.render().ansi().to_string();
            for control in ["\x1b]", "\x07", "\u{9b}"] {
                assert!(!shown.contains(control), "{words:?}: {shown:?}");
            }
            assert!(error.use_stderr());
        }
    }

    #[test]
    fn what_is_no_number_is_called_so() {
        for (word, why) in [("x", "not a whole number"), ("", "not a number")] {
            let words = ["udco", "--number", word];
            let error = Arguments::try_parse_from(words).unwrap_err();
            let shown = explained::<Arguments>(error, &words.map(OsString::from)).to_string();
            let first = format!("error: invalid value '{word}' for '--number <NUMBER>': {why}\n");
            assert!(shown.starts_with(&first), "{shown}");
            assert!(shown.contains("--help"), "{shown}");
        }
    }

    #[test]
    fn a_negative_number_is_a_wrong_value() {
        let words = ["udco", "--number", "-1"].map(OsString::from);
        let error = parse::<Arguments>(&words).unwrap_err();
        let shown = explained::<Arguments>(error, &words).to_string();
        let first = "error: invalid value '-1' for '--number <NUMBER>': -1 is not in 0..=255\n";
        assert!(shown.starts_with(first), "{shown}");
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let words = ["udco", "--number", "300"];
        let error = Arguments::try_parse_from(words).unwrap_err();
        let before = error.to_string();
        let words = words.map(OsString::from);
        assert_eq!(visible::<Arguments>(error, &words).to_string(), before);
    }
}
