//! Frames of two scrapes.

use super::*;

fn scrape(uptime: u32, factor: u32) -> Scrape {
    let (spliced, blocked, dropped) = (100 * factor, 7 * factor, 1000 * factor);
    let text = format!(
        r#"sluice_build_info{{version="0.1.0"}} 1
sluice_uptime_seconds {uptime}
sluice_ready 1
sluice_generation 4
sluice_active_flows 12
sluice_flows_total{{verdict="splice",reason="default",tls="negotiated"}} {spliced}
sluice_flows_total{{verdict="block",reason="rule",tls="hello"}} {blocked}
sluice_flows_total{{verdict="block",reason="no-hello",tls="unread"}} 900
sluice_rule_hits_total{{rule="no shopping",of="flow"}} {blocked}
sluice_rule_hits_total{{rule="nothing yet",of="flow"}} 0
sluice_connect_seconds_bucket{{le="0.01"}} 0
sluice_connect_seconds_bucket{{le="0.1"}} {spliced}
sluice_connect_seconds_bucket{{le="+Inf"}} {spliced}
sluice_latency_quantile_seconds{{of="connect",at="0.5"}} 0.02
sluice_latency_quantile_seconds{{of="connect",at="0.99"}} 1.5
sluice_packets_total{{hook="lan_ingress",verdict="drop",reason="port-closed"}} {dropped}
sluice_packets_total{{hook="lan_egress",verdict="drop",reason="port-closed"}} {dropped}
sluice_packets_total{{hook="lan_ingress",verdict="pass",reason="established"}} 5000000
sluice_access_records_written_total{{sink="stdout"}} {spliced}
sluice_access_records_dropped_total{{sink="stdout"}} 3
sluice_access_queue_bytes{{sink="stdout"}} 2048
sluice_access_sink_state{{sink="stdout",state="ok"}} 0
sluice_access_sink_state{{sink="stdout",state="stalled"}} 1
"#
    );
    Scrape::parse(&text).unwrap()
}

fn text(view: &View) -> String {
    let (before, after) = (scrape(100, 1), scrape(110, 2));
    let frame = Frame {
        between: Between {
            before: &before,
            after: &after,
        },
        blind: None,
    };
    frame.text(view)
}

const WIDE: View = View {
    width: 120,
    height: None,
    colours: false,
    paused: false,
    sort: Sort::Now,
    skipped: 0,
};

#[test]
fn a_frame_has_rates_and_sums_of_everything() {
    let text = text(&WIDE);
    for part in [
        "sluice 0.1.0  serving  up 1 min 50 s  generation 4  12 flows now  10.0 s\n",
        "flows            10.7/s   block 0.7/s   splice 10.0/s\n",
        "                 10.0/s          200  default    splice\n",
        "                  0.7/s           14  flow       no shopping\n",
        "                55.0 ms      99.1 ms      20.0 ms       1.50 s  connect\n",
        "                  200/s         4000  drop       port-closed\n",
        "                 10.0/s          200  stalled    stdout: 3 lost, 2.0 kB waiting\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // What nothing matched, and what passed, are not worth a line.
    assert!(
        !text.contains("nothing yet") && !text.contains("established"),
        "{text}"
    );
}

#[test]
fn tables_are_sorted_by_now_or_by_all() {
    let order = |sort| {
        let text = text(&View { sort, ..WIDE });
        let at = |word: &str| text.find(word).unwrap();
        at("no-hello") < at("rule       block")
    };
    assert!(!order(Sort::Now));
    assert!(order(Sort::All));
}

#[test]
fn a_small_screen_has_something_of_each_table() {
    let view = View {
        width: 40,
        height: Some(24),
        colours: true,
        ..WIDE
    };
    let text = text(&view);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() <= 24, "{text}");
    for table in ["reasons", "rules", "latency", "kernel", "records"] {
        assert!(text.contains(table), "{table} is not in\n{text}");
    }
    for line in lines {
        let plain = line.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert!(plain.chars().count() <= 40, "{line:?}");
    }
}

#[test]
fn tables_are_moved_through_to_their_end() {
    let view = |skipped| View {
        height: Some(22),
        skipped,
        ..WIDE
    };
    assert!(text(&view(0)).contains("default    splice"));
    let last = text(&view(500));
    assert!(last.contains("no-hello   block"), "{last}");
    assert!(
        last.contains("no shopping") && !last.contains("default    splice"),
        "{last}"
    );
}

#[test]
fn a_daemon_that_is_gone_is_told_of() {
    let after = scrape(110, 1);
    let frame = Frame {
        between: Between {
            before: &after,
            after: &after,
        },
        blind: Some("no daemon\x1b[2J answers"),
    };
    let text = frame.text(&WIDE);
    assert!(
        text.contains("  no answer  ") && text.contains("no daemon\\u{1b}[2J answers"),
        "{text}"
    );
}
