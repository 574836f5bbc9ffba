//! The samples of one scrape, and how they are written.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit as ClientUnit};

use super::table::{Id, Kind, METRICS, Metric, Unit};
use crate::daemon::metrics::latency::Noted;

/// How a scrape is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
}

impl Format {
    /// The format that the `Accept` of a request prefers (RFC 9110 section 12.5.1). Whoever asks for
    /// nothing that is there gets the text format of Prometheus, which people can read as well.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut open = 0;
        let mut plain = 0;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut version, mut weight) = (None, 1000);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "version" => version = Some(value.trim().trim_matches('"')),
                    "q" => weight = thousandths(value.trim()),
                    _ => {}
                }
            }
            let is = |name: &str| kind.eq_ignore_ascii_case(name);
            if is("application/openmetrics-text") && matches!(version, None | Some("1.0.0")) {
                open = open.max(weight);
            } else if is("text/plain") && matches!(version, None | Some("0.0.4")) {
                plain = plain.max(weight);
            }
        }
        if open > 0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// A weight of `Accept` in thousandths (RFC 9110 section 12.4.2); 0 where it is none.
fn thousandths(text: &str) -> u16 {
    let weight = text.parse::<f32>().ok();
    let weight = weight.filter(|weight| (0.0..=1.0).contains(weight));
    // Between 0 and 1000.
    weight.map_or(0, |weight| (weight * 1000.0) as u16)
}

/// The value of a label.
#[derive(Clone, Debug)]
pub enum Label {
    /// A word of sluice's own.
    Word(&'static str),
    /// A name that the administrator gave.
    Name(Arc<str>),
    /// A number.
    Number(usize),
}

impl From<&'static str> for Label {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl Label {
    fn encode(&self, name: &str, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let label = encoder.encode_label();
        match self {
            Self::Word(word) => (name, *word).encode(label),
            Self::Name(value) => (name, &**value).encode(label),
            Self::Number(number) => (name, *number as u64).encode(label),
        }
    }
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Measure(f64),
    Durations(Noted),
}

#[derive(Debug)]
struct Sample {
    labels: Vec<Label>,
    value: Value,
}

/// The samples of one scrape.
#[derive(Debug)]
pub struct Page(Vec<Vec<Sample>>);

impl Default for Page {
    fn default() -> Self {
        Self(METRICS.iter().map(|_| Vec::new()).collect())
    }
}

impl Page {
    /// Adds a number of things, or of bytes.
    pub fn count<const N: usize>(&mut self, id: Id, labels: [Label; N], count: u64) {
        self.add(id, labels.into(), Value::Count(count));
    }

    /// Adds what is not counted in whole numbers.
    pub fn measure<const N: usize>(&mut self, id: Id, labels: [Label; N], value: f64) {
        self.add(id, labels.into(), Value::Measure(value));
    }

    /// Adds durations.
    pub fn durations<const N: usize>(&mut self, id: Id, labels: [Label; N], noted: Noted) {
        self.add(id, labels.into(), Value::Durations(noted));
    }

    fn add(&mut self, id: Id, labels: Vec<Label>, value: Value) {
        let metric = id.metric();
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        debug_assert_eq!(
            metric.kind == Kind::Histogram,
            matches!(value, Value::Durations(_)),
            "{}",
            metric.name
        );
        if let Some(samples) = self.0.get_mut(id as usize) {
            samples.push(Sample { labels, value });
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// None that a string could give.
    pub fn write(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::with_capacity(64 << 10);
        match format {
            Format::OpenMetrics => text::encode(&mut out, &registry)?,
            Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
        }
        Ok(out)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in METRICS.iter().zip(&self.0) {
            // A metric without a sample would only tell what it would mean.
            if samples.is_empty() {
                continue;
            }
            let unit = match metric.unit {
                Unit::Bytes => Some(ClientUnit::Bytes),
                Unit::None => None,
                Unit::Seconds => Some(ClientUnit::Seconds),
            };
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let mut family =
                encoder.encode_descriptor(metric.stem(), metric.help, unit.as_ref(), kind)?;
            for sample in samples {
                sample.encode(metric, &mut family)?;
            }
        }
        Ok(())
    }
}

impl Sample {
    fn encode(&self, metric: &Metric, family: &mut MetricEncoder<'_>) -> fmt::Result {
        let labels = Labels {
            names: metric.labels,
            values: &self.labels,
        };
        if metric.kind == Kind::Info {
            return family.encode_info(&labels);
        }
        if self.labels.is_empty() {
            return self.value.encode(metric.kind, family);
        }
        self.value
            .encode(metric.kind, &mut family.encode_family(&labels)?)
    }
}

impl Value {
    fn encode(&self, kind: Kind, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
        match (self, kind) {
            (Self::Count(count), Kind::Counter) => encoder.encode_counter(count, NO_EXEMPLAR),
            (Self::Measure(value), Kind::Counter) => encoder.encode_counter(value, NO_EXEMPLAR),
            (Self::Count(count), _) => encoder.encode_gauge(count),
            (Self::Measure(value), _) => encoder.encode_gauge(value),
            (Self::Durations(noted), _) => encoder.encode_histogram::<NoLabelSet>(
                noted.sum().as_secs_f64(),
                noted.count(),
                &noted.buckets(),
                None,
            ),
        }
    }
}

/// The labels of a sample.
#[derive(Debug)]
struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [Label],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(self.values) {
            value.encode(name, encoder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_format_that_is_accepted_is_served() {
        // As Prometheus 2.42 and 3.5 ask, and curl.
        for accept in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "Application/OpenMetrics-Text; version=\"1.0.0\"",
            "application/openmetrics-text",
        ] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=1.0.0;q=0",
            "application/openmetrics-text;q=0.5,text/plain;q=0.6",
            "application/openmetrics-text;q=nonsense",
            ";;;,,,=;q==",
        ] {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
    }

    fn page() -> Page {
        let mut page = Page::default();
        let name = Label::Name("a \"b\"\\\nc".into());
        page.count(Id::RuleHits, [name, "flow".into()], 3);
        page.measure(Id::ProcessCpu, [], 1.5);
        page.count(Id::BuildInfo, ["1.2.3".into()], 1);
        let latency = crate::daemon::metrics::latency::Latency::own();
        latency.note(std::time::Duration::from_micros(2));
        let mut noted = Noted::default();
        latency.add_to(&mut noted);
        page.durations(Id::Decision, ["open".into()], noted);
        page
    }

    #[test]
    fn both_formats_say_the_same_in_their_own_way() {
        let open = page().write(Format::OpenMetrics).unwrap();
        let plain = page().write(Format::Prometheus).unwrap();
        for text in [&open, &plain] {
            for line in [
                r#"sluice_rule_hits_total{rule="a \"b\"\\\nc",of="flow"} 3"#,
                "process_cpu_seconds_total 1.5",
                "sluice_build_info{version=\"1.2.3\"} 1",
                "sluice_decision_seconds_count{stage=\"open\"} 1",
            ] {
                assert!(text.lines().any(|found| found == line), "{line}\n{text}");
            }
            let bucket = text.lines().find(|line| {
                line.starts_with("sluice_decision_seconds_bucket") && line.contains("+Inf")
            });
            assert!(bucket.is_some_and(|line| line.ends_with(" 1")), "{text}");
        }
        assert!(open.ends_with("\n# EOF\n"));
        assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));
        for line in [
            "# TYPE process_cpu_seconds counter",
            "# UNIT process_cpu_seconds seconds",
            "# TYPE sluice_build info",
            "# TYPE sluice_rule_hits counter",
        ] {
            assert!(open.lines().any(|found| found == line), "{line}\n{open}");
        }
        for line in [
            "# TYPE process_cpu_seconds_total counter",
            "# TYPE sluice_build_info gauge",
            "# TYPE sluice_decision_seconds histogram",
        ] {
            assert!(plain.lines().any(|found| found == line), "{line}\n{plain}");
        }
    }
}
