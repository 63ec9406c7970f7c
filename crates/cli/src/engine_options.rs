//! Values of an engine's options.

use std::fmt;

use udco_engine::Offload;

/// No machine has more processors: a higher number is a typo.
const MAX_PROCESSOR: usize = 4095;

/// Numbers of processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processors(pub(crate) Vec<usize>);

impl fmt::Display for Processors {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(usize::to_string).collect();
        to.write_str(&numbers.join(","))
    }
}

/// Reads a list like `0,2-3`.
pub(crate) fn processors(text: &str) -> Result<Processors, String> {
    let number = |text: &str| match text.trim().parse() {
        Ok(number) if number <= MAX_PROCESSOR => Ok(number),
        _ => Err(format!(
            "`{text}` is not a processor number; a list looks like `0,2-3`"
        )),
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => all.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("`{part}` is empty: did you mean `{last}-{first}`?"));
                }
                all.extend(first..=last);
            }
        }
    }
    Ok(Processors(all))
}

/// Reads the name of an offload.
pub(crate) fn offload(text: &str) -> Result<Offload, String> {
    let known = Offload::ALL.into_iter().find(|it| it.name() == text);
    known.ok_or_else(|| {
        let names = Offload::ALL.map(Offload::name).join(", ");
        format!("no such offload; choose one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(processors("0"), Ok(Processors(vec![0])));
        assert_eq!(processors("0,2-4, 7"), Ok(Processors(vec![0, 2, 3, 4, 7])));
        let there_and_back = processors("3-5").unwrap().to_string();
        assert_eq!(there_and_back, "3,4,5");
        for wrong in ["", "a", "1,", "-1", "3-1", "1-", "99999", "0-99999"] {
            assert!(processors(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_offloads() {
        for known in Offload::ALL {
            assert_eq!(offload(known.name()), Ok(known));
        }
        let refused = offload("gso").unwrap_err();
        assert!(refused.contains("segment"), "{refused}");
    }
}
