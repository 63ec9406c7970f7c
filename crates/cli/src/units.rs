//! Numbers as people read them.

use std::time::Duration;

/// Prefixes of the SI, each a thousand times the one before.
const PREFIXES: [&str; 6] = ["k", "M", "G", "T", "P", "E"];

/// Three digits and a prefix, from a thousand on: `12.3 M`; below, the number and a space.
pub(crate) fn scaled(value: f64) -> String {
    let mut value = value;
    let mut prefix = "";
    for next in PREFIXES {
        // What would be rounded to 1000.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    match prefix {
        "" => format!("{value:.0} "),
        _ if value < 9.995 => format!("{value:.2} {prefix}"),
        _ if value < 99.95 => format!("{value:.1} {prefix}"),
        _ => format!("{value:.0} {prefix}"),
    }
}

/// The noun in the number that the count asks for: 1 `packet`, 2 `packets`.
pub(crate) fn noun(count: u64, one: &str) -> String {
    match count {
        1 => one.to_owned(),
        _ => format!("{one}s"),
    }
}

/// How often a peer gets something, and when it expires; 0 is never.
pub(crate) fn keepalive(interval: u32, timeout: u32) -> String {
    let seconds = |word: &str, seconds| match seconds {
        0 => "off".to_owned(),
        _ => format!("{word}{seconds} s"),
    };
    format!(
        "{}, timeout {}",
        seconds("every ", interval),
        seconds("", timeout)
    )
}

/// How busy a processor is kept: `37%`.
pub(crate) fn percent(load: f64) -> String {
    format!("{:.0}%", 100.0 * load)
}

/// A part of a whole, however small: `0.04%`.
pub(crate) fn share(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0%".to_owned(),
        percent @ ..0.01 => format!("<{:.2}%", percent.max(0.01)),
        percent => format!("{percent:.2}%"),
    }
}

/// A time of at most two units: `3 d 4 h`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural_and_zero_seconds_are_never() {
        assert_eq!(noun(1, "peer"), "peer");
        assert_eq!(noun(0, "peer"), "peers");
        assert_eq!(noun(2, "peer"), "peers");
        assert_eq!(keepalive(10, 60), "every 10 s, timeout 60 s");
        assert_eq!(keepalive(0, 0), "off, timeout off");
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, expected) in [
            (0.0, "0 "),
            (999.0, "999 "),
            (999.6, "1.00 k"),
            (1234.0, "1.23 k"),
            (12_345.0, "12.3 k"),
            (99_960.0, "100 k"),
            (123_456.0, "123 k"),
            (999_600.0, "1.00 M"),
            (5e9, "5.00 G"),
            (u64::MAX as f64, "18.4 E"),
        ] {
            assert_eq!(scaled(value), expected);
        }
    }

    #[test]
    fn loads_and_shares_are_percents() {
        assert_eq!(percent(0.374), "37%");
        assert_eq!(percent(1.5), "150%");
        assert_eq!(share(0.0), "0%");
        assert_eq!(share(0.000_44), "0.04%");
        assert_eq!(share(1.0), "100.00%");
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3600, "1 h 0 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(time(Duration::from_secs(seconds)), expected);
        }
    }
}
