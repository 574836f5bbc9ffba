use sluice_abi::{Hook, Reason, Verdict};
use sluice_steer::{Counter, EventStats};

use super::*;

#[test]
fn the_kernels_figures_are_told_in_words() {
    let counters = Counters {
        packets: vec![Counter {
            hook: Hook::LanIngress,
            verdict: Verdict::Reject,
            reason: Reason::NativeUdp,
            packets: 3,
            bytes: 120,
        }],
        events: EventStats {
            sent: 2,
            sampled: 1,
            lost: 0,
        },
    };
    let vitals = Vitals {
        generation: 7,
        heartbeat_age_ns: Some(500_000_000),
        heartbeat_limit_ns: 3_000_000_000,
        flow_limit: 1000,
        fail_open: false,
        devices: 2,
    };
    let fill = [MapFill {
        name: "FLOWS",
        entries: 5,
        max_entries: 262_144,
        evicts: false,
    }];
    let mut page = Page::default();
    kernel(&mut page, &counters, &vitals);
    maps(&mut page, &fill);
    let text = page.write(Format::Prometheus).unwrap();
    for line in [
        "sluice_packets_total{hook=\"lan_ingress\",verdict=\"reject\",reason=\"native-udp\"} 3",
        "sluice_packet_bytes_total{hook=\"lan_ingress\",verdict=\"reject\",reason=\"native-udp\"} 120",
        "sluice_events_total{result=\"lost\"} 0",
        "sluice_map_entries{map=\"FLOWS\"} 5",
        "sluice_map_max_entries{map=\"FLOWS\"} 262144",
        "sluice_kernel_generation 7",
        "sluice_heartbeat_age_seconds 0.5",
        "sluice_heartbeat_limit_seconds 3.0",
        "sluice_fail_open 0",
        "sluice_attached_devices 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_daemon_that_was_never_alive_has_no_age() {
    let vitals = Vitals {
        generation: 1,
        heartbeat_age_ns: None,
        heartbeat_limit_ns: 1,
        flow_limit: 1,
        fail_open: true,
        devices: 0,
    };
    let mut page = Page::default();
    kernel(&mut page, &Counters::default(), &vitals);
    let text = page.write(Format::Prometheus).unwrap();
    assert!(!text.contains("sluice_heartbeat_age_seconds"), "{text}");
}

#[test]
fn a_process_tells_of_itself_by_the_standard_names() {
    let mut page = Page::default();
    process::collect(&mut page);
    let text = page.write(Format::Prometheus).unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.trim().parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e5);
    assert!(value("process_virtual_memory_bytes ") >= value("process_resident_memory_bytes "));
    assert!(value("process_threads ") >= 1.0);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_max_fds ") >= value("process_open_fds "));
    assert!(value("process_cpu_seconds_total ") >= 0.0);
    let now = process::now() as f64;
    let started = value("process_start_time_seconds ");
    assert!(
        started > now - 86_400.0 && started < now + 60.0,
        "{started}"
    );
}

#[test]
fn a_reload_that_was_refused_shows_until_one_is_taken() {
    let reloads = Reloads::default();
    let successful = || reloads.was_taken.load(Ordering::Relaxed);
    assert!(successful());
    reloads.note_refused();
    assert!(!successful());
    reloads.note_taken();
    assert!(successful());
    let counts = [&reloads.taken, &reloads.refused].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, 1]);
}
