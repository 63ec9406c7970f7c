//! The search for the largest packet that passes.

/// Halves the range between a size that passes and one that does not. Sizes are in bytes, with the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// It passes.
    passes: usize,
    /// It does not, or is beyond the limit.
    fails: usize,
    /// The limit itself has been tried.
    is_begun: bool,
}

impl Search {
    /// A search up to `limit`, where packets of `passes` bytes do pass.
    pub(super) const fn new(passes: usize, limit: usize) -> Self {
        Self {
            passes,
            fails: limit + 1,
            is_begun: false,
        }
    }

    /// The size to try next; `None` at the end. The limit comes first: mostly it passes.
    pub(super) const fn next(&self) -> Option<usize> {
        if self.fails - self.passes <= 1 {
            return None;
        }
        Some(match self.is_begun {
            false => self.fails - 1,
            true => self.passes + (self.fails - self.passes) / 2,
        })
    }

    /// A size was tried.
    pub(super) const fn tried(&mut self, size: usize, passed: bool) {
        self.is_begun = true;
        if passed {
            self.passes = size;
        } else {
            self.fails = size;
        }
    }

    /// The largest size that has passed so far.
    pub(super) const fn largest(&self) -> usize {
        self.passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest size that a search finds where packets up to `border` pass, and how many sizes it tries.
    fn found(border: usize, passes: usize, limit: usize) -> (usize, usize) {
        let (mut search, mut tries) = (Search::new(passes, limit), 0);
        while let Some(size) = search.next() {
            assert!(size > passes && size <= limit, "{size}");
            search.tried(size, size <= border);
            tries += 1;
        }
        (search.largest(), tries)
    }

    #[test]
    fn every_border_is_found_in_a_few_steps() {
        for border in 84..=1500 {
            let (largest, tries) = found(border, 84, 1500);
            assert_eq!(largest, border);
            assert!(tries <= 12, "{tries} for {border}");
        }
    }

    #[test]
    fn where_all_pass_one_try_is_enough() {
        assert_eq!(found(usize::MAX, 84, 1500), (1500, 1));
        assert_eq!(found(usize::MAX, 84, 65_535), (65_535, 1));
        assert_eq!(found(usize::MAX, 1500, 1500), (1500, 0));
    }
}
