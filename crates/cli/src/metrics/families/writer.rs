//! Writes families of metrics; one without a series is left out.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::metrics::labels::Labels;

/// Takes one family after the other.
pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Writer<'_> {
    /// Values that rise and fall.
    pub(super) fn gauge<'s, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'s>, V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let kind = MetricType::Gauge;
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        series.try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    /// Values that only rise. The formats add `_total` to the name.
    pub(super) fn counter<'s, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'s>, V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let kind = MetricType::Counter;
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        series.try_for_each(|(labels, value)| {
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<Labels<'s>, _, f64>(&value, None)
        })
    }

    /// What is constant, as labels. The formats add `_info` to the name.
    pub(super) fn info<'s>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = Labels<'s>>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let kind = MetricType::Info;
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        series.try_for_each(|labels| metric.encode_info(&labels))
    }
}
