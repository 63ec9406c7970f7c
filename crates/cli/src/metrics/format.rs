//! The two text formats, and which one a client of HTTP gets.

use std::fmt;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::families::Families;
use super::sample::Sample;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Prometheus' own, version 0.0.4, which node_exporter reads.
    Text,
    /// OpenMetrics 1.0.
    #[value(name = "openmetrics")]
    OpenMetrics,
}

impl Format {
    /// The one for a client that accepts these media types: OpenMetrics only if it is named.
    pub(super) fn accepted(accept: &str) -> Self {
        let mut types = accept.split(',').filter_map(|it| it.split(';').next());
        match types.any(|it| {
            it.trim()
                .eq_ignore_ascii_case("application/openmetrics-text")
        }) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// Its media type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// A sample in this format.
    pub(super) fn write(self, sample: Sample) -> String {
        let mut registry = Registry::with_prefix("udco");
        registry.register_collector(Box::new(Families(sample)));
        let mut written = String::new();
        let encoded: fmt::Result = match self {
            Self::Text => prometheus_text::encode(&mut written, &registry),
            Self::OpenMetrics => text::encode(&mut written, &registry),
        };
        // A string takes everything, and no family is of a type that a format lacks.
        debug_assert!(encoded.is_ok());
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_that_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
            version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        for other in ["", "*/*", "text/plain", "text/html,application/xml"] {
            assert_eq!(Format::accepted(other), Format::Text, "{other}");
        }
    }
}
