use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::config::{Addresses, Rotation, Server, Urls, Users};
use crate::daemon::record::{Handshake, Interception, Shadow, rfc3339};

/// Keeps what was written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes nothing until it is let.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stuck() -> (Sender<()>, Box<dyn Write + Send>) {
    let (free, held) = channel();
    (free, Box::new(Stuck(held)))
}

fn handshake() -> Handshake {
    Handshake {
        version: Some("1.3"),
        suite: Some("TLS_AES_128_GCM_SHA256".into()),
        group: Some("X25519MLKEM768".into()),
        alpn: Some("h2".into()),
    }
}

fn interception() -> Interception {
    Interception {
        leaf: Some("0".repeat(64)),
        origin: Some("f".repeat(64)),
        faults: vec!["expired"],
        alert: Some("unknown_ca".into()),
        remembered: true,
        client: Some(handshake()),
        origin_tls: Some(handshake()),
        requests: 2,
    }
}

pub(crate) fn flow(rule: &str) -> Record<'_> {
    Record {
        time: rfc3339(SystemTime::UNIX_EPOCH),
        client: "10.0.0.1:1024".parse().unwrap(),
        destination: "[2001:db8::1]:443".parse().unwrap(),
        user: Some("alice"),
        listener: Some("proxy"),
        connect: Some("a.example:443".into()),
        verdict: "block",
        rule: Some(rule),
        stage: "hello",
        reason: "rule",
        tls: Some("hello"),
        sni: Some("a.example"),
        alpn: vec!["h2".into()],
        ja4: Some("t13d"),
        ech: false,
        tags: vec!["seen"],
        shadow: None,
        end: "rule",
        to_origin: 5,
        to_client: 7,
        spliced: 0,
        peek_us: 3,
        connect_us: 0,
        server_hello_us: 0,
        duration_ms: 1,
        generation: 1,
        decrypted: false,
        inspected_by: None,
        inspected_because: None,
        interception: None,
    }
}

pub(crate) fn request<'a>(url: &'a str, tags: &'a [String]) -> RequestRecord<'a> {
    RequestRecord {
        time: rfc3339(SystemTime::UNIX_EPOCH),
        client: "[2001:db8:1:2::3]:1024".parse().unwrap(),
        destination: "192.0.2.1:443".parse().unwrap(),
        user: Some("alice"),
        listener: None,
        method: "GET",
        url,
        verdict: "block",
        rule: None,
        reason: "default",
        tags,
        status: Some(403),
        reference: Some("7QK2M-X4D9T".into()),
        decrypted: true,
        generation: 1,
    }
}

pub(crate) fn packets(client: Option<IpAddr>) -> PacketsRecord {
    PacketsRecord {
        time: rfc3339(SystemTime::UNIX_EPOCH),
        interval_ms: 10_000,
        client,
        destination: client.map(|_| "203.0.113.1".parse().unwrap()),
        port: client.map(|_| 33_033),
        protocol: client.map(|_| 17),
        direction: client.map(|_| "out"),
        verdict: if client.is_some() { "drop" } else { "refused" },
        reason: client.map(|_| "native-udp"),
        packets: 9,
        bytes: 900,
        other: client.is_none(),
        sampled: true,
        missed: 4,
    }
}

/// What a log writes that makes records as `settings` say.
pub(crate) fn written(settings: &Log, put: impl FnOnce(&AccessLog)) -> Vec<Value> {
    let kept = Kept::default();
    let log = AccessLog::with(settings, vec![Box::new(kept.clone())]);
    put(&log);
    log.close();
    assert_eq!(log.lost(), 0);
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_record_follows_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let told = interception();
    let tags = ["seen".to_owned()];
    let long = format!("https://a.example/{}", "x".repeat(20_000));
    let records = written(&Log::default(), |log| {
        log.put(&flow("a \"quoted\"\nrule"));
        log.put(&Record {
            user: None,
            rule: None,
            tls: None,
            sni: None,
            ja4: None,
            verdict: "intercept",
            decrypted: true,
            inspected_by: Some("inspect"),
            inspected_because: Some("action"),
            shadow: Some(Shadow {
                outcome: "block",
                rule: None,
            }),
            interception: Some(&told),
            ..flow("")
        });
        log.put_request(&request("https://a.example/", &tags));
        log.put_request(&request(&long, &tags));
        log.put_request(&RequestRecord {
            status: None,
            reference: None,
            method: &"M".repeat(900),
            ..request("", &[])
        });
        log.put_packets(&packets(Some([10, 0, 0, 1].into())));
        log.put_packets(&packets(None));
    });
    assert_eq!(records.len(), 7);
    for record in &records {
        if let Err(fault) = schema.validate(record) {
            panic!("{fault}\n{record}");
        }
    }
    assert_eq!(records[0]["rule"], "a \"quoted\"\nrule");
    assert_eq!(records[0]["destination"], "[2001:db8::1]:443");
    assert_eq!(
        (&records[3]["url_cut"], records[0]["v"].as_u64()),
        (&Value::Bool(true), Some(1))
    );
    // The schema says no to what is none.
    for spoil in [
        |record: &mut Value| record["v"] = 2.into(),
        |record: &mut Value| record["time"] = "yesterday".into(),
        |record: &mut Value| record["secret"] = 1.into(),
        |record: &mut Value| record["kind"] = "request".into(),
        |record: &mut Value| drop(record.as_object_mut().unwrap().remove("decrypted")),
    ] {
        let mut record = records[0].clone();
        spoil(&mut record);
        assert!(!schema.is_valid(&record), "{record}");
    }
}

#[test]
fn the_order_of_fields_is_always_the_same() {
    let kept = Kept::default();
    let log = AccessLog::new(vec![Box::new(kept.clone())]);
    log.put(&flow("one"));
    log.close();
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text,
        "{\"v\":1,\"kind\":\"flow\",\"time\":\"1970-01-01T00:00:00.000Z\",\"client\":\"10.0.0.1:1024\",\
         \"destination\":\"[2001:db8::1]:443\",\"user\":\"alice\",\"listener\":\"proxy\",\
         \"connect\":\"a.example:443\",\"verdict\":\"block\",\"rule\":\"one\",\
         \"stage\":\"hello\",\"reason\":\"rule\",\"tls\":\"hello\",\"sni\":\"a.example\",\"alpn\":[\"h2\"],\
         \"ja4\":\"t13d\",\"ech\":false,\"tags\":[\"seen\"],\"end\":\"rule\",\"to_origin\":5,\
         \"to_client\":7,\"spliced\":0,\"peek_us\":3,\"connect_us\":0,\"server_hello_us\":0,\
         \"duration_ms\":1,\"generation\":1,\"decrypted\":false}\n"
    );
}

/// The dotted names of every value.
fn names(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                names(&name, value, into);
            }
        }
        _ => {
            into.insert(prefix.to_owned());
        }
    }
}

#[test]
fn names_of_the_elastic_common_schema_are_documented() {
    let settings = Log {
        format: Format::Ecs,
        ..Log::default()
    };
    let told = interception();
    let tags = ["seen".to_owned()];
    let long = format!("https://a.example/{}", "x".repeat(20_000));
    let records = written(&settings, |log| {
        log.put(&Record {
            inspected_by: Some("inspect"),
            inspected_because: Some("action"),
            shadow: Some(Shadow {
                outcome: "block",
                rule: Some("other"),
            }),
            interception: Some(&told),
            ..flow("one")
        });
        log.put_request(&request("https://a.example:8443/x?y", &tags));
        log.put_request(&request(&long, &tags));
        log.put_packets(&packets(Some([10, 0, 0, 1].into())));
        log.put_packets(&packets(None));
        log.put_packets(&PacketsRecord {
            direction: Some("in"),
            ..packets(Some([10, 0, 0, 1].into()))
        });
    });
    let [flow, request, _, out, _, inbound] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(flow["source"]["ip"], "10.0.0.1");
    assert_eq!(flow["source"]["port"], 1024);
    assert_eq!(flow["network"]["bytes"], 12);
    assert_eq!(flow["event"]["duration"], 1_000_000);
    assert_eq!(flow["event"]["outcome"], "failure");
    assert_eq!(flow["tls"]["client"]["server_name"], "a.example");
    assert_eq!(flow["sluice"]["decrypted"], false);
    assert_eq!(request["url"]["domain"], "a.example");
    assert_eq!(request["http"]["response"]["status_code"], 403);
    assert_eq!(request["sluice"]["reference"], "7QK2M-X4D9T");
    assert_eq!(out["network"]["transport"], "udp");
    assert_eq!(out["source"]["ip"], inbound["destination"]["ip"]);
    let mut all = BTreeSet::new();
    for record in &records {
        names("", record, &mut all);
    }
    let documented = include_str!("../../../RECORDS.md");
    for name in &all {
        assert!(
            documented.contains(&format!("`{name}`")),
            "RECORDS.md has no {name}"
        );
    }
}

#[test]
fn the_reference_tells_every_field() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let documented = include_str!("../../../RECORDS.md");
    for kind in ["flow", "request", "packets"] {
        let fields = schema["$defs"][kind]["properties"].as_object().unwrap();
        for name in fields.keys() {
            assert!(
                documented.contains(&format!("`{name}`")),
                "RECORDS.md has no {name} of {kind}"
            );
        }
    }
}

#[test]
fn people_are_hidden_before_anything_is_written() {
    for format in [Format::Sluice, Format::Ecs] {
        let mut settings = Log {
            format,
            ..Log::default()
        };
        settings.privacy.addresses = Addresses::Truncate;
        settings.privacy.users = Users::Pseudonym;
        settings.privacy.urls = Urls::NoQuery;
        let records = written(&settings, |log| {
            log.put(&flow("one"));
            log.put(&flow("one"));
            log.put_request(&request("https://a.example/x?secret=1", &[]));
            log.put_packets(&packets(Some([10, 0, 0, 1].into())));
        });
        let text = format!("{records:?}");
        for hidden in ["alice", "10.0.0.1", "1024", "db8:1:2", "secret"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
        assert!(text.contains("7QK2M-X4D9T"), "{text}");
        let user = |record: &Value| match format {
            Format::Sluice => record["user"].clone(),
            Format::Ecs => record["user"]["name"].clone(),
        };
        assert_eq!(user(&records[0]), user(&records[1]));
        assert_eq!(user(&records[0]), user(&records[2]));
    }
}

#[test]
fn a_sink_that_is_stuck_costs_its_records_and_nobody_else_s() {
    let (free, held) = stuck();
    let log = AccessLog::new(vec![held, Box::new(io::sink())]);
    let rule = "x".repeat(50 << 10);
    for number in 1..=200 {
        log.put(&flow(&rule));
        eventually("the other sink goes on", || {
            log.sinks()[1].written == number
        });
    }
    let [stuck, other] = log.sinks().try_into().unwrap();
    assert!(
        stuck.dropped > 0 && stuck.queued_bytes <= 4 << 20,
        "{stuck:?}"
    );
    assert_eq!((stuck.dropped, other.dropped), (log.lost(), 0));
    assert!(!log.refuses(), "flows go on by default");
    drop(free);
    log.close();
    let [stuck, _] = log.sinks().try_into().unwrap();
    assert_eq!(stuck.written + stuck.dropped, 200);
}

#[test]
fn flows_are_refused_before_their_records_are_lost() {
    let settings = Log {
        when_full: WhenFull::Block,
        queue_limit: 1 << 20,
        ..Log::default()
    };
    let (free, held) = stuck();
    let log = AccessLog::with(&settings, vec![held]);
    let rule = "x".repeat(50 << 10);
    let mut admitted = 0;
    while !log.refuses() {
        log.put(&flow(&rule));
        admitted += 1;
        assert!(admitted < 100, "{:?}", log.sinks());
    }
    // Those that are refused take no room from those that there are.
    for _ in 0..100 {
        log.put(&Record {
            reason: "audit-unavailable",
            ..flow(&rule)
        });
    }
    let refused = log.lost();
    assert!(refused > 90, "{refused}");
    for _ in 0..5 {
        log.put(&flow(&rule));
    }
    assert_eq!(log.lost(), refused, "{:?}", log.sinks());
    for _ in 0..200 {
        let _ = free.send(());
    }
    eventually("records are written again", || !log.refuses());
    log.put(&flow(&rule));
    drop(free);
    log.close();
    assert_eq!(log.lost(), refused);
}

#[test]
fn what_fits_no_datagram_is_lost_and_counted() {
    let log = AccessLog::new(vec![Box::new(io::sink())]);
    log.put(&flow(&"x".repeat(70 << 10)));
    log.put(&flow("short"));
    log.close();
    assert_eq!((log.lost(), log.sinks()[0].written), (1, 1));
}

#[test]
fn a_thread_that_does_not_end_is_left_behind() {
    let (_free, held) = stuck();
    let log = AccessLog::new(vec![held]);
    log.put(&flow("one"));
    log.close();
    // Nothing more is taken.
    log.put(&flow("two"));
    assert_eq!(log.sinks()[0].written, 0);
}

fn log_to(sinks: Vec<Sink>) -> Log {
    Log {
        access: sinks,
        ..Log::default()
    }
}

#[test]
fn a_reload_keeps_what_stays_and_ends_what_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();
    let (one, two) = (Sink::File(path("one")), Sink::File(path("two")));
    let log = AccessLog::open(&log_to(vec![one.clone()])).unwrap();
    log.put(&flow("first"));
    eventually("the first is written", || read("one").lines().count() == 1);
    // One that cannot be opened leaves everything as it was.
    let wrong = Sink::File(path("missing/three"));
    let error = log.prepare(&log_to(vec![two.clone(), wrong])).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("missing/three\": its directory does not exist: make it"),
        "{error}"
    );
    assert_eq!(log.sinks().len(), 1);
    log.put_in_force(log.prepare(&log_to(vec![two.clone(), one])).unwrap());
    log.put(&flow("second"));
    eventually("both are written", || {
        read("one").lines().count() == 2 && read("two").lines().count() == 1
    });
    let kept = log.sinks().into_iter().find(|one| one.written == 2);
    assert!(kept.is_some(), "{:?}", log.sinks());
    let mut smaller = log_to(vec![two]);
    smaller.rotation = Rotation {
        size: Some(100),
        keep: 1,
    };
    log.put_in_force(log.prepare(&smaller).unwrap());
    log.put(&flow("third"));
    eventually("the size holds for the file that was kept", || {
        read("two.1").contains("second") && read("two").contains("third")
    });
    log.close();
    assert!(!read("one").contains("third"));
    assert_eq!(log.lost(), 0);
}

#[test]
fn files_that_were_moved_aside_are_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access");
    let aside = folder.path().join("aside");
    let log = AccessLog::open(&log_to(vec![Sink::File(path.clone())])).unwrap();
    std::fs::rename(&path, &aside).unwrap();
    log.reopen();
    eventually("there is a new file", || path.exists());
    log.put(&flow("one"));
    log.close();
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), "");
    assert!(std::fs::read_to_string(&path).unwrap().contains("one"));
}

#[test]
fn journald_and_syslog_daemons_that_come_late_get_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, syslog) = (folder.path().join("journal"), folder.path().join("log"));
    let mut settings = log_to(vec![
        Sink::Journald(journal.clone()),
        Sink::SyslogUnix(syslog.clone()),
    ]);
    settings.when_full = WhenFull::Block;
    let log = AccessLog::open(&settings).unwrap();
    log.put(&flow("one"));
    eventually("both fail", || {
        log.sinks()
            .iter()
            .all(|one| one.state == "failing" && one.errors > 0)
    });
    assert!(log.refuses());
    for (path, begins, holds) in [
        (journal, "MESSAGE={\"v\":1,", "\nSLUICE_RULE=one\n"),
        (syslog, "<133>1 ", " flow [meta sequenceId=\"1\"]"),
    ] {
        let server = UnixDatagram::bind(&path).unwrap();
        let mut buffer = vec![0; 64 << 10];
        server
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let length = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with(begins) && text.contains(holds), "{text}");
    }
    eventually("both are well", || {
        log.sinks()
            .iter()
            .all(|one| one.state == "ok" && one.written == 1)
    });
    assert!(!log.refuses());
    log.close();
}

#[test]
fn g9_a_server_that_reads_nothing_holds_nobody_up_and_gets_what_waits() {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = log_to(vec![Sink::SyslogTcp(Server {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    })]);
    settings.when_full = WhenFull::Block;
    settings.queue_limit = 1 << 20;
    let log = AccessLog::open(&settings).unwrap();
    let rule = "x".repeat(40 << 10);
    let put = std::cell::Cell::new(0);
    // The buffers of the connection come first.
    eventually("it is stalled and its queue half full", || {
        let refuses = log.refuses();
        if !refuses {
            log.put(&flow(&rule));
            put.set(put.get() + 1);
        }
        refuses && log.sinks()[0].state == "stalled"
    });
    let (mut stream, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard
    });
    eventually("flows go on", || !log.refuses());
    log.close();
    drop(log);
    let heard = reader.join().unwrap();
    let count = heard
        .windows(b"sluice ".len() + 4)
        .filter(|part| part.starts_with(b"[origin"))
        .count();
    assert_eq!(count, put.get());
}
