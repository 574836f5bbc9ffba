//! What is drawn.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    commands::{pipe::safe, status::span},
    scrape::{Between, Grown, Scrape},
};

/// Rows of each table where there is no screen that says how many have room.
const ROWS: usize = 10;

/// What tables are sorted by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Sort {
    /// By what happens now.
    #[default]
    Now,
    /// By what happened in all.
    All,
}

/// How it is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    pub(super) width: usize,
    /// Lines; `None`: as many as there are.
    pub(super) height: Option<usize>,
    pub(super) colours: bool,
    pub(super) paused: bool,
    pub(super) sort: Sort,
    /// Rows that were moved past.
    pub(super) skipped: usize,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'s> {
    pub(super) between: Between<'s>,
    /// Why the last look saw nothing.
    pub(super) blind: Option<&'s str>,
}

/// Rows under a heading.
struct Table {
    title: &'static str,
    heading: String,
    rows: Vec<String>,
}

impl Frame<'_> {
    /// All of it, a line at a time.
    pub(super) fn text(&self, view: &View) -> String {
        let head = self.head(view);
        let tables = [
            self.counters(
                "reasons",
                "sluice_flows_total",
                &["verdict", "reason"],
                view,
            ),
            self.counters("rules", "sluice_rule_hits_total", &["rule", "of"], view),
            self.latencies(),
            self.kernel(view),
            self.sinks(),
        ];
        let tables: Vec<_> = tables.into_iter().flatten().collect();
        let rows = rows_each(view, head.len(), tables.len());
        let mut lines = head;
        for table in tables {
            lines.push(String::new());
            lines.push(bold(
                &format!("{:<12}{}", table.title, table.heading),
                view.colours,
            ));
            // The end of a short table stays in sight while a long one is moved through.
            let skipped = view.skipped.min(table.rows.len().saturating_sub(rows));
            let shown = table.rows.iter().skip(skipped).take(rows);
            lines.extend(shown.map(|row| format!("{:<12}{row}", "")));
            if table.rows.is_empty() {
                lines.push(format!("{:<12}none yet", ""));
            }
        }
        let lines = lines.iter().map(|line| cut(line, view.width));
        let lines: Vec<_> = match view.height {
            Some(height) => lines.take(height).collect(),
            None => lines.collect(),
        };
        lines.join("\n") + "\n"
    }

    fn head(&self, view: &View) -> Vec<String> {
        let after = self.between.after;
        let read = |name| after.value(name, &[]).unwrap_or(0.0);
        let state = match (self.blind, view.paused, read("sluice_ready") > 0.0) {
            (Some(_), ..) => "no answer",
            (None, true, _) => "paused",
            (None, false, true) => "serving",
            (None, false, false) => "accepts no flows",
        };
        let mut lines = vec![format!(
            "sluice {}  {state}  up {}  generation {}  {} flows now  {} s",
            after
                .of("sluice_build_info", &[])
                .next()
                .map_or("?", |info| info.label("version")),
            span(read("sluice_uptime_seconds")),
            read("sluice_generation"),
            read("sluice_active_flows"),
            number(self.between.seconds()),
        )];
        if let Some(why) = self.blind {
            lines.push(format!("{:<12}{}", "", safe(why)));
        }
        let verdicts = |name: &str| {
            let grown = self.between.by(name, "verdict", &[]);
            let all = grown
                .values()
                .fold(0.0, |all, grown| all + grown.per_second);
            let mut text = format!("{:>9}/s", number(all));
            for (verdict, grown) in grown {
                let _ = write!(text, "   {verdict} {}/s", number(grown.per_second));
            }
            text
        };
        lines.push(format!("{:<12}{}", "flows", verdicts("sluice_flows_total")));
        lines.push(format!(
            "{:<12}{}",
            "requests",
            verdicts("sluice_requests_total")
        ));
        let bytes = |to| {
            let grown = self.between.sum("sluice_flow_bytes_total", &[("to", to)]);
            scaled(grown.per_second)
        };
        lines.push(format!(
            "{:<12}{:>9}B/s to origins   {}B/s to clients, of flows that ended",
            "bytes",
            bytes("origin"),
            bytes("client")
        ));
        let cpu = self
            .between
            .sum("process_cpu_seconds_total", &[])
            .per_second;
        lines.push(format!(
            "{:<12}{:>8} %  memory {}B  files {} of {}",
            "cpu",
            number(cpu * 100.0),
            scaled(read("process_resident_memory_bytes")),
            read("process_open_fds"),
            read("process_max_fds"),
        ));
        lines
    }

    /// Counters of a name by two labels, those that count most first.
    fn counters(
        &self,
        title: &'static str,
        name: &str,
        [first, second]: &[&'static str; 2],
        view: &View,
    ) -> Option<Table> {
        let grown = by_two(self.between, name, [first, second]);
        let mut rows: Vec<_> = grown
            .into_iter()
            .filter(|(_, grown)| grown.total > 0.0)
            .collect();
        rows.sort_by(|(_, one), (_, other)| {
            let by = |grown: &Grown| match view.sort {
                Sort::Now => (grown.per_second, grown.total),
                Sort::All => (grown.total, grown.per_second),
            };
            let ((a, b), (c, d)) = (by(one), by(other));
            c.total_cmp(&a).then(d.total_cmp(&b))
        });
        let row = |((one, other), grown): ((String, String), Grown)| {
            format!(
                "{:>9}/s {:>12}  {:<10} {}",
                number(grown.per_second),
                whole(grown.total),
                safe(&other),
                safe(&one)
            )
        };
        Some(Table {
            title,
            heading: format!("{:>11} {:>12}  {second:<10} {first}", "now", "in all"),
            rows: rows.into_iter().map(row).collect(),
        })
    }

    fn latencies(&self) -> Option<Table> {
        let after = self.between.after;
        let all = after.by("sluice_latency_quantile_seconds", "of", &[]);
        let mut names: Vec<_> = all.into_keys().collect();
        // As a flow meets them, where the alphabet would have another order.
        const ORDER: [&str; 8] = [
            "peek",
            "decision",
            "connect",
            "server_hello",
            "origin_handshake",
            "client_handshake",
            "mint",
            "request",
        ];
        names.sort_by_key(|name| ORDER.iter().position(|known| known == name));
        let row = |of: String| {
            let histogram = format!("sluice_{of}_seconds");
            let now = |share| {
                self.between
                    .quantile(&histogram, share)
                    .map_or("-".into(), time)
            };
            let all = |at| {
                let labels = [("of", of.as_str()), ("at", at)];
                let found = after.value("sluice_latency_quantile_seconds", &labels);
                found.map_or("-".into(), time)
            };
            format!(
                "{:>11} {:>12} {:>12} {:>12}  {of}",
                now(0.5),
                now(0.99),
                all("0.5"),
                all("0.99")
            )
        };
        Some(Table {
            title: "latency",
            heading: format!(
                "{:>11} {:>12} {:>12} {:>12}",
                "p50 now", "p99 now", "p50 in all", "p99 in all"
            ),
            rows: names.into_iter().map(row).collect(),
        })
    }

    /// What the kernel refused, where the daemon has a kernel side.
    fn kernel(&self, view: &View) -> Option<Table> {
        let after = self.between.after;
        after.of("sluice_packets_total", &[]).next()?;
        let refused = |scrape: &Scrape| {
            let mut sums: BTreeMap<(String, String), f64> = BTreeMap::new();
            for verdict in ["drop", "reject"] {
                for (reason, packets) in
                    scrape.by("sluice_packets_total", "reason", &[("verdict", verdict)])
                {
                    sums.insert((reason, verdict.to_owned()), packets);
                }
            }
            sums
        };
        let rates = by_two(self.between, "sluice_packets_total", ["reason", "verdict"]);
        let mut rows: Vec<_> = refused(after)
            .into_keys()
            .filter_map(|key| rates.get(&key).map(|grown| (key, *grown)))
            .filter(|(_, grown)| grown.total > 0.0)
            .collect();
        rows.sort_by(|(_, one), (_, other)| match view.sort {
            Sort::Now => other
                .per_second
                .total_cmp(&one.per_second)
                .then(other.total.total_cmp(&one.total)),
            Sort::All => other.total.total_cmp(&one.total),
        });
        let row = |((reason, verdict), grown): ((String, String), Grown)| {
            format!(
                "{:>9}/s {:>12}  {verdict:<10} {reason}",
                number(grown.per_second),
                whole(grown.total)
            )
        };
        Some(Table {
            title: "kernel",
            heading: format!(
                "{:>11} {:>12}  {:<10} reason, packets",
                "now", "in all", "verdict"
            ),
            rows: rows.into_iter().map(row).collect(),
        })
    }

    fn sinks(&self) -> Option<Table> {
        let after = self.between.after;
        let written = self
            .between
            .by("sluice_access_records_written_total", "sink", &[]);
        if written.is_empty() {
            return None;
        }
        let row = |(sink, written): (String, Grown)| {
            let of = [("sink", sink.as_str())];
            let states = after.of("sluice_access_sink_state", &of);
            let state = states.filter(|state| state.value > 0.0);
            let state: Vec<_> = state.map(|state| state.label("state")).collect();
            let lost = after.sum("sluice_access_records_dropped_total", &of);
            let waiting = after.sum("sluice_access_queue_bytes", &of);
            format!(
                "{:>9}/s {:>12}  {:<10} {}: {} lost, {}B waiting",
                number(written.per_second),
                whole(written.total),
                state.join(" "),
                safe(&sink),
                whole(lost),
                scaled(waiting)
            )
        };
        Some(Table {
            title: "records",
            heading: format!("{:>11} {:>12}  {:<10} sink", "now", "in all", "state"),
            rows: written.into_iter().map(row).collect(),
        })
    }
}

/// How counters grew, by two labels.
fn by_two(
    between: Between<'_>,
    name: &str,
    [first, second]: [&str; 2],
) -> BTreeMap<(String, String), Grown> {
    let mut all = BTreeMap::new();
    for other in between.after.by(name, second, &[]).into_keys() {
        let of = [(second, other.as_str())];
        for (one, grown) in between.by(name, first, &of) {
            all.insert((one, other.clone()), grown);
        }
    }
    all
}

/// How many rows each table may have, so that each has some.
fn rows_each(view: &View, head: usize, tables: usize) -> usize {
    let Some(height) = view.height else {
        return ROWS;
    };
    let left = height.saturating_sub(head + 2 * tables);
    (left / tables.max(1)).max(1)
}

/// A counter.
fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// A number, with a place behind the point where it is small.
fn number(value: f64) -> String {
    if value == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// A number with a letter for its thousands.
fn scaled(mut value: f64) -> String {
    for unit in ["", "k", "M", "G"] {
        if value < 1000.0 {
            return format!("{} {unit}", number(value));
        }
        value /= 1000.0;
    }
    format!("{} T", number(value))
}

fn time(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn bold(text: &str, colours: bool) -> String {
    if colours {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The beginning of a line that has room; sequences that set colours take none.
fn cut(line: &str, width: usize) -> String {
    let (mut shown, mut used, mut escapes) = (String::new(), 0, false);
    for letter in line.chars() {
        if escapes {
            escapes = letter != 'm';
        } else if letter == '\x1b' {
            escapes = true;
        } else if used < width {
            used += 1;
        } else {
            continue;
        }
        shown.push(letter);
    }
    shown.truncate(shown.trim_end().len());
    shown
}

#[cfg(test)]
mod tests;
