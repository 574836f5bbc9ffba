//! Every metric that there is: what is served, and what is documented, is made of this table.

use std::fmt::Write as _;

/// What kind of a metric it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only grows, and begins at 0 with the daemon, or, for those of the kernel, with its maps.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by bounds that they do not exceed.
    Histogram,
    /// Always 1; its labels tell.
    Info,
}

impl Kind {
    /// The word used in documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// The base unit of a metric, which its name ends with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// It is a number of things.
    None,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The word in the name; `None` where there is none.
    #[must_use]
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Bytes => Some("bytes"),
            Self::None => None,
            Self::Seconds => Some("seconds"),
        }
    }
}

/// What can be relied on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stability {
    /// Name and labels may change with any version.
    Experimental,
    /// Name and labels change with a major version alone; values of labels may be added.
    Stable,
}

impl Stability {
    /// The word used in documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Stable => "stable",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// Its name as it is queried, unit and `_total` or `_info` included; of a histogram without
    /// `_bucket`, `_count` and `_sum`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What can be relied on.
    pub stability: Stability,
    /// One sentence.
    pub help: &'static str,
}

impl Metric {
    /// The name without unit and suffix, as encoders want it.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let name = self.name.strip_suffix(suffix).unwrap_or(self.name);
        match self.unit.suffix() {
            Some(unit) => name
                .strip_suffix(unit)
                .and_then(|name| name.strip_suffix('_'))
                .unwrap_or(name),
            None => name,
        }
    }

    /// The names of its series.
    #[must_use]
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Histogram => ["_bucket", "_count", "_sum"]
                .map(|suffix| format!("{}{suffix}", self.name))
                .to_vec(),
            Kind::Counter | Kind::Gauge | Kind::Info => vec![self.name.to_owned()],
        }
    }
}

macro_rules! metrics {
    ($($id:ident = $name:literal $kind:ident $unit:ident [$($label:literal),*] $stability:ident $help:literal;)+) => {
        /// Which metric; the order is that of [`METRICS`].
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Id {
            $(#[doc = $help] $id,)+
        }

        impl Id {
            /// What there is to know of it.
            #[must_use]
            pub const fn metric(self) -> Metric {
                match self {
                    $(Self::$id => Metric {
                        name: $name,
                        kind: Kind::$kind,
                        unit: Unit::$unit,
                        labels: &[$($label),*],
                        stability: Stability::$stability,
                        help: $help,
                    },)+
                }
            }
        }

        /// Every metric, in the order in which they are served.
        pub const METRICS: &[Metric] = &[$(Id::$id.metric(),)+];
    };
}

metrics! {
    BuildInfo = "sluice_build_info" Info None ["version"] Stable
        "Always 1; the label tells the version.";
    Uptime = "sluice_uptime_seconds" Gauge Seconds [] Stable
        "Time since the daemon began.";
    Ready = "sluice_ready" Gauge None [] Stable
        "1 while flows are accepted and judged, else 0.";
    Generation = "sluice_generation" Gauge None [] Stable
        "Number of the policy in force, which each reload raises by one.";
    WorkerIdle = "sluice_worker_turn_age_seconds" Gauge Seconds ["worker"] Stable
        "Time since a worker thread last had a turn; one that hangs does not have any.";
    Reloads = "sluice_reload_total" Counter None ["result"] Stable
        "Reloads of the configuration, by what became of them.";
    ReloadSuccessful = "sluice_config_last_reload_successful" Gauge None [] Stable
        "1 where the last configuration that was read is in force, 0 where it was refused.";
    ReloadTime = "sluice_last_reload_success_timestamp_seconds" Gauge Seconds [] Stable
        "When the configuration in force was put in force, in seconds since 1970.";

    ActiveFlows = "sluice_active_flows" Gauge None [] Stable
        "Flows that are being served.";
    Flows = "sluice_flows_total" Counter None ["verdict", "reason", "tls"] Stable
        "Flows that are over, by verdict, why, and what is known of the negotiation.";
    FlowEnds = "sluice_flow_ends_total" Counter None ["reason"] Stable
        "Flows that are over, by what ended them.";
    Requests = "sluice_requests_total" Counter None ["verdict", "reason"] Stable
        "Requests of decrypted and cleartext flows, by what became of them and why.";
    RuleHits = "sluice_rule_hits_total" Counter None ["rule", "of"] Stable
        "Flows and requests that a rule decided; rules beyond the first thousand are counted together as other.";
    ShadowFlows = "sluice_shadow_flows_total" Counter None ["result"] Stable
        "Flows that are over, by whether the shadow policy would have done the same.";
    FlowBytes = "sluice_flow_bytes_total" Counter Bytes ["path", "to"] Stable
        "Bytes that the peer took, of flows that are over, by the way they went.";
    RelayedBytes = "sluice_relayed_bytes_total" Counter Bytes ["path"] Stable
        "Bytes relayed unread so far, of flows that go on as well, by whether they left the kernel.";
    FlowPanics = "sluice_flow_panics_total" Counter None [] Stable
        "Flows that a fault of sluice itself ended.";
    LimitHits = "sluice_limit_hits_total" Counter None ["limit"] Stable
        "What was refused or put off because a limit was reached, by limit.";

    Peek = "sluice_peek_seconds" Histogram Seconds [] Stable
        "From the first look at a flow until the client's first bytes are known.";
    Decision = "sluice_decision_seconds" Histogram Seconds ["stage"] Stable
        "Time that the policy takes, by the stage that it is asked at.";
    Connect = "sluice_connect_seconds" Histogram Seconds [] Stable
        "Time until the origin accepts.";
    ServerHello = "sluice_server_hello_seconds" Histogram Seconds [] Stable
        "From the ClientHello being sent to the origin until its answer is known.";
    OriginHandshake = "sluice_origin_handshake_seconds" Histogram Seconds [] Stable
        "Handshakes of the gateway's own with origins, for interception.";
    ClientHandshake = "sluice_client_handshake_seconds" Histogram Seconds [] Stable
        "Handshakes of clients with the gateway.";
    Mint = "sluice_mint_seconds" Histogram Seconds [] Stable
        "Time until a leaf is there, be it minted or cached.";
    Request = "sluice_request_seconds" Histogram Seconds [] Stable
        "From a request's head until that of its answer.";
    Quantiles = "sluice_latency_quantile_seconds" Gauge Seconds ["of", "at"] Stable
        "Quantiles, to two digits, of each of the times above, since the daemon began.";

    CaNotAfter = "sluice_ca_not_after_timestamp_seconds" Gauge Seconds ["ca"] Stable
        "When a certificate of the CA is over, in seconds since 1970: of the one that signs, and of the next.";
    Leaves = "sluice_leaves_total" Counter None ["result"] Stable
        "Leaves that were asked for and not there, by whether they were minted or refused to a client that asks for too many.";
    LeafCacheEntries = "sluice_leaf_cache_entries" Gauge None [] Stable
        "Leaves that are kept.";
    LeafCacheLimit = "sluice_leaf_cache_max_entries" Gauge None [] Stable
        "Leaves that are kept at most.";
    LeafCacheHits = "sluice_leaf_cache_hits_total" Counter None [] Stable
        "Leaves that were asked for and there.";
    LeafCacheMisses = "sluice_leaf_cache_misses_total" Counter None [] Stable
        "Leaves that were asked for and not there.";
    LeafCacheEvictions = "sluice_leaf_cache_evictions_total" Counter None [] Stable
        "Leaves that went because others came.";
    RejectedLeaves = "sluice_rejected_leaves_total" Counter None [] Stable
        "Leaves that clients refused though they were in order.";
    RejectedRemembered = "sluice_rejected_ca_remembered" Gauge None [] Stable
        "Clients and places of which it is remembered that the CA was refused.";
    Probes = "sluice_probes_total" Counter None ["result"] Stable
        "Wishes to know an origin's certificate without decrypting, by what they came to.";
    ProbesActive = "sluice_active_probes" Gauge None [] Stable
        "Probes that are under way.";
    ProbesKnown = "sluice_probe_cache_entries" Gauge None [] Stable
        "Outcomes of probes that are remembered.";
    Authentications = "sluice_authentications_total" Counter None ["provider", "outcome"] Stable
        "Credentials that clients showed to proxy listeners, by the provider that was asked about them and what it said.";
    CredentialsAsked = "sluice_proxy_credentials_asked_total" Counter None [] Stable
        "Requests to proxy listeners that were answered by asking who makes them.";
    CredentialsUnread = "sluice_credentials_unread_total" Counter None ["why"] Stable
        "Credentials that no provider was asked about.";
    ProviderDown = "sluice_provider_down" Gauge None ["provider"] Stable
        "1 where a provider does not answer.";
    ProviderTime = "sluice_provider_seconds" Histogram Seconds ["provider"] Stable
        "Time that a provider took to answer.";

    IdentityAddresses = "sluice_identity_addresses" Gauge None ["source"] Stable
        "Addresses that stand for a user, by how that came to be believed.";
    IdentityDisplaced = "sluice_identity_displaced_total" Counter None [] Stable
        "Addresses that stood for a user no longer, or were not learned, for want of room.";

    RecordsLost = "sluice_access_records_lost_total" Counter None [] Stable
        "Access records that could not be written.";
    RecordsWritten = "sluice_access_records_written_total" Counter None ["sink"] Stable
        "Access records that a sink took.";
    RecordsDropped = "sluice_access_records_dropped_total" Counter None ["sink"] Stable
        "Access records that found no room in the queue of a sink, or could never be delivered.";
    RecordBytes = "sluice_access_bytes_total" Counter Bytes ["sink"] Stable
        "Bytes of the access records that a sink took.";
    RecordErrors = "sluice_access_errors_total" Counter None ["sink"] Stable
        "Attempts to deliver access records to a sink that failed.";
    RecordQueue = "sluice_access_queue_bytes" Gauge Bytes ["sink"] Stable
        "Bytes of access records that wait for a sink.";
    SinkState = "sluice_access_sink_state" Gauge None ["sink", "state"] Stable
        "1 for the state that a sink is in.";

    Pipes = "sluice_pipes" Gauge None ["state"] Experimental
        "Open pipes, by whether a flow has them.";
    PipesCreated = "sluice_pipes_created_total" Counter None [] Experimental
        "Pipes made.";
    PipeRefusals = "sluice_pipe_refusals_total" Counter None [] Experimental
        "Times that bytes were copied because there was no pipe to be had.";

    Packets = "sluice_packets_total" Counter None ["hook", "verdict", "reason"] Stable
        "Packets that the kernel programs judged.";
    PacketBytes = "sluice_packet_bytes_total" Counter Bytes ["hook", "verdict", "reason"] Stable
        "Bytes of the packets that the kernel programs judged, from the network header on.";
    Events = "sluice_events_total" Counter None ["result"] Stable
        "Refused packets that were to be told of, by what became of the event.";
    MapEntries = "sluice_map_entries" Gauge None ["map"] Stable
        "Entries of the kernel's maps, expired ones that nothing has removed yet among them; up to ten seconds old.";
    MapLimit = "sluice_map_max_entries" Gauge None ["map"] Stable
        "Entries that the kernel's maps can hold.";
    KernelGeneration = "sluice_kernel_generation" Gauge None [] Stable
        "Number of the policy that the kernel programs follow, which outlives the daemon.";
    HeartbeatAge = "sluice_heartbeat_age_seconds" Gauge Seconds [] Stable
        "Time since the daemon last told the kernel programs that it lives.";
    HeartbeatLimit = "sluice_heartbeat_limit_seconds" Gauge Seconds [] Stable
        "Age from which on the kernel programs take the daemon for gone.";
    FailOpen = "sluice_fail_open" Gauge None [] Stable
        "1 where steered flows are forwarded while the daemon is gone, 0 where they are refused.";
    Devices = "sluice_attached_devices" Gauge None [] Stable
        "LAN devices whose packets are judged.";

    ProcessCpu = "process_cpu_seconds_total" Counter Seconds [] Stable
        "Time of all processors that the daemon used, of user and system.";
    ProcessResident = "process_resident_memory_bytes" Gauge Bytes [] Stable
        "Memory of the daemon that is resident.";
    ProcessVirtual = "process_virtual_memory_bytes" Gauge Bytes [] Stable
        "Address space of the daemon.";
    ProcessFds = "process_open_fds" Gauge None [] Stable
        "File descriptors that the daemon has open.";
    ProcessFdLimit = "process_max_fds" Gauge None [] Stable
        "File descriptors that the daemon may have open.";
    ProcessThreads = "process_threads" Gauge None [] Stable
        "Threads of the daemon.";
    ProcessStart = "process_start_time_seconds" Gauge Seconds [] Stable
        "When the daemon was started, in seconds since 1970.";
}

/// The table as documentation, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         What `/metrics` serves. Written from `userspace/gateway/src/daemon/export/table.rs`.\n\n\
         A histogram has the series `_bucket`, `_count` and `_sum` behind its name. Names and labels \
         of stable metrics change with a major version alone; experimental ones with any. No label \
         holds a user, an address or a host that clients name.\n\n\
         | name | kind | labels | stability | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.stability.name(),
            metric.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_say_kind_and_unit_and_are_unique() {
        let mut names = BTreeSet::new();
        for metric in METRICS {
            let Metric {
                name, kind, unit, ..
            } = metric;
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), *kind == Kind::Info, "{name}");
            let rebuilt = [Some(metric.stem()), unit.suffix()];
            let rebuilt: Vec<_> = rebuilt.into_iter().flatten().collect();
            let bare = name.trim_end_matches("_total").trim_end_matches("_info");
            assert_eq!(rebuilt.join("_"), bare);
            assert!(name.starts_with("sluice_") || name.starts_with("process_"));
            let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            for label in metric.labels {
                assert!(label.bytes().all(word), "{name}: {label}");
                assert!(!["le", "quantile"].contains(label), "{name}: {label}");
            }
        }
    }

    #[test]
    fn every_help_is_one_plain_sentence() {
        for Metric { name, help, .. } in METRICS {
            assert!(help.ends_with('.'), "{name}");
            // What the formats would have to escape.
            assert!(!help.contains(['\\', '\n', '"', '|']), "{name}");
        }
    }
}
