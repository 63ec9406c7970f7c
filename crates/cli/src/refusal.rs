//! Formats refusals for people.

use std::io;

use udco_netlink::client::Failure;

/// The kernel's message, then the text of the errno: `cannot find peer with id 3 (No such file or directory)`.
pub(crate) fn words(failure: &Failure) -> String {
    let errno = errno_words(failure.errno.0);
    match (&failure.text, failure.missing) {
        (Some(text), _) => {
            let text = text.strip_prefix("ovpn: ").unwrap_or(text);
            format!("{text} ({errno})")
        }
        (None, Some(number)) => format!("attribute {number} is missing ({errno})"),
        (None, None) => errno,
    }
}

/// The text of an errno, without its number.
pub(crate) fn errno_words(errno: i32) -> String {
    io_words(&io::Error::from_raw_os_error(errno))
}

/// The text of an error of the system, without its number.
pub(crate) fn io_words(error: &io::Error) -> String {
    let words = error.to_string();
    match words.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use udco_netlink::Errno;

    use super::*;

    #[test]
    fn the_kernels_words_come_first() {
        let failure = |text: Option<&str>, missing| {
            words(&Failure {
                errno: Errno::EEXIST,
                text: text.map(str::to_owned),
                missing,
            })
        };
        assert_eq!(
            failure(
                Some("ovpn: cannot add new peer (id=1) to hashtable: -17"),
                None
            ),
            "cannot add new peer (id=1) to hashtable: -17 (File exists)"
        );
        assert_eq!(
            failure(None, Some(6)),
            "attribute 6 is missing (File exists)"
        );
        assert_eq!(failure(None, None), "File exists");
    }
}
