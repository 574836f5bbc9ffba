//! Configurations, and waiting for what is to come true.

use std::{
    env,
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sluice_tests::{dial, family::Family, lab::Lab, netns::Netns, sluice::Sluice};

/// How long anything may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The recipe as it is shipped.
const RECIPE: &str = include_str!("../../../userspace/gateway/examples/skype.toml");

/// Everything that is steered passes, whatever its first bytes are.
pub(crate) const OPEN: &str = r#"
[gateway]
drain_timeout = "20s"
[steer]
hello_timeout = "1s"
silent_timeout = "1s"
[policy]
default = "allow"
default_unidentified = "allow"
"#;

/// The shipped recipe with the lab's member in its group, and with deadlines that a test can wait
/// for.
pub(crate) fn recipe() -> String {
    let mut table: toml::Table = RECIPE.parse().unwrap();
    let members = Family::ALL.map(|family| toml::Value::from(family.member().to_string()));
    table["group"][0]["members"] = members.to_vec().into();
    table["gateway"].as_table_mut().unwrap().remove("lan");
    let steer = table["steer"].as_table_mut().unwrap();
    for key in ["hello_timeout", "silent_timeout"] {
        steer.insert(key.to_owned(), "600ms".into());
    }
    table.to_string()
}

/// Waits until a condition holds, and returns after how long.
///
/// # Panics
///
/// With `what`, when it does not come true in time.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

/// Connects from a client of the first LAN.
#[track_caller]
pub(crate) fn connect(lab: &Lab, from: IpAddr, to: SocketAddr) -> TcpStream {
    match dial::tcp(lab.client(), from, to, PATIENCE) {
        Ok(stream) => stream,
        Err(error) => panic!("{from} to {to}: {error}"),
    }
}

/// What a command printed, whichever way.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|text| String::from_utf8_lossy(text))
        .concat()
}

/// A program, from the path or from where `cargo xtask setup` puts it.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = env::current_exe().unwrap();
    let tools = own.ancestors().map(|dir| dir.join("tools").join("bin"));
    env::split_paths(&path)
        .chain(tools)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: `cargo xtask setup` installs it"))
}

/// Runs `sluice VERB --config ...` with the lab's configuration and expects it to succeed.
#[track_caller]
pub(crate) fn sluice(lab: &Lab, verb: &str) -> String {
    let output = try_sluice(lab, &[verb]);
    assert!(output.status.success(), "{verb}: {}", said(&output));
    said(&output)
}

/// Runs `ip -6` in a namespace, whose rules a batch cannot name.
#[track_caller]
pub(crate) fn ip6(netns: &Netns, args: &str) {
    let mut ip = Command::new("ip");
    let output = netns.output(ip.arg("-6").args(args.split(' ')));
    assert!(output.status.success(), "ip -6 {args}: {}", said(&output));
}

/// Runs `sluice ARGS --config ...` with the lab's configuration, whatever comes of it.
pub(crate) fn try_sluice(lab: &Lab, args: &[&str]) -> Output {
    let config = lab.dir().join("sluice.toml");
    let mut all = args.to_vec();
    let config = config.to_str().unwrap();
    all.extend(["--config", config]);
    lab.sluice(&all)
}

/// What `sluice status --json` says of the lab's gateway.
#[track_caller]
pub(crate) fn status(lab: &Lab) -> Value {
    // The configuration may be one that a test has spoiled.
    let bpffs = lab.bpffs().to_str().unwrap();
    let output = lab.sluice(&["status", "--json", "--bpffs", bpffs]);
    // What it ends with says how all of it fares, and the daemon may not run or not be asked here.
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(status["abi"].is_u64(), "{}", said(&output));
    status
}

/// Packets that the kernel programs counted on a hook for a reason.
#[track_caller]
pub(crate) fn packets(lab: &Lab, hook: &str, reason: &str) -> u64 {
    let status = status(lab);
    let counters = status["counters"].as_array().unwrap();
    counters
        .iter()
        .filter(|counter| counter["hook"] == hook && counter["reason"] == reason)
        .map(|counter| counter["packets"].as_u64().unwrap())
        .sum()
}

/// Flows that the daemon counted by verdict and one more label.
pub(crate) fn flows(sluice: &Sluice, verdict: &str, label: (&str, &str)) -> f64 {
    let labels = [("verdict", verdict), label];
    sluice.metrics().sum("sluice_flows_total", &labels)
}

/// Whether a process has ended, also when nobody has asked for its status yet.
pub(crate) fn has_ended(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit(") ")
            .next()
            .is_none_or(|rest| rest.starts_with('Z'))
    })
}
